"""Changes of keys, counted: see key_updates.pxd.

With nothing but KeyUpdates, 2 MB/s of them, a peer would take a core, and OpenSSL 3.0 lets it. A limit for the whole
life of a connection would hurt long ones, and one that data starts anew would cost an attacker nothing. In a second not
even the fastest line needs another key.
"""

from libc.stdint cimport uint8_t

from tlsnodes.stream.buffers cimport Scratch
from tlsnodes.tls.openssl cimport (
    SSL,
    SSL3_MT_KEY_UPDATE,
    SSL3_RT_HANDSHAKE,
    SSL_set_msg_callback,
    SSL_set_msg_callback_arg,
)


cdef void count_key_updates(SSL *ssl, KeyUpdates *updates, Scratch *scratch, const double *now) noexcept:
    updates.scratch = scratch
    updates.now = now
    SSL_set_msg_callback(ssl, _message_seen)
    SSL_set_msg_callback_arg(ssl, updates)


cdef void _message_seen(
    int is_sent, int version, int content, const void *message, size_t size, SSL *ssl, void *argument
) noexcept:
    cdef KeyUpdates *updates = <KeyUpdates *>argument
    if content != SSL3_RT_HANDSHAKE or is_sent or (<const uint8_t *>message)[0] != SSL3_MT_KEY_UPDATE:
        return
    if updates.now[0] - updates.since >= 1:
        updates.since = updates.now[0]
        updates.count = 0
    updates.count += 1
    if updates.count > MAX_KEY_UPDATES:
        updates.scratch.taken_size = 0
