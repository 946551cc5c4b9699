"""A server that keeps its TLS 1.2 sessions itself, under ids that it is told how to make [P6].

It makes no tickets: the session id is all that a client resumes by (RFC 5246, 7.3).
"""

from libc.string cimport memcpy

import time

from tlsnodes.stream.stream cimport Stream
from tlsnodes.tls.binding cimport ServerSettings
from tlsnodes.tls.openssl cimport *

cdef enum:
    DEFAULT_LIFETIME_S = 300
    TRIES = 8
    MAX_ID_SIZE = 32
    UNFINISHED_FACTOR = 2  # ids are given out before handshakes succeed


cdef class KeptSessions(ServerSettings):
    """The server's side of TLS 1.2 connections, with the sessions that clients may resume.

    Args:
        make_id: a new session id of up to 32 bytes, or None: the session is not to be resumed.
        capacity: how many sessions are kept; beyond that the oldest goes.
    """

    cdef object make_id
    cdef dict expiries  # id → seconds since 1970
    cdef readonly int lifetime_s
    cdef int capacity

    def __init__(self, make_id not None, *, int capacity):
        self.make_id = make_id
        self.expiries = {}
        self.capacity = capacity
        self.set_lifetime(DEFAULT_LIFETIME_S)
        SSL_CTX_set_options(self.context, SSL_OP_NO_TICKET)
        SSL_CTX_set_max_proto_version(self.context, TLS1_2_VERSION)
        SSL_CTX_set_session_cache_mode(self.context, SSL_SESS_CACHE_SERVER)
        SSL_CTX_sess_set_cache_size(self.context, capacity)
        SSL_CTX_set_app_data(self.context, <void *>self)
        SSL_CTX_set_generate_session_id(self.context, _make_id)
        SSL_CTX_set_not_resumable_session_callback(self.context, _is_not_resumable)
        SSL_CTX_sess_set_remove_cb(self.context, _removed)

    def __dealloc__(self):
        # Runs before the context is freed, which would tell of each session.
        if self.context is not NULL:
            SSL_CTX_sess_set_remove_cb(self.context, NULL)

    def set_lifetime(self, int lifetime_s):
        """How long sessions last that begin from now on."""
        self.lifetime_s = lifetime_s
        SSL_CTX_set_timeout(self.context, lifetime_s)

    def in_use(self):
        """The ids that may still be resumed, and when each can no longer be, in seconds since 1970."""
        _forget_expired(self)
        return dict(self.expiries)


def session_of(Stream stream not None):
    """The id of a stream's session, empty when it cannot be resumed, and whether it was resumed; after the handshake.

    Raises:
        ValueError: it has no session.
    """
    cdef SSL_SESSION *session = SSL_get_session(stream.ssl) if stream.ssl is not NULL else NULL
    cdef const unsigned char *name
    cdef unsigned int size
    if session is NULL:
        raise ValueError("the stream has no TLS session")
    name = SSL_SESSION_get_id(session, &size)
    return name[:size], SSL_session_reused(stream.ssl) == 1


cdef int _forget_expired(KeptSessions kept) except -1:
    now_s = time.time()
    kept.expiries = {name: expires_s for name, expires_s in kept.expiries.items() if expires_s >= now_s}
    return 0


cdef int _make_id(SSL *ssl, unsigned char *name, unsigned int *size) noexcept:
    """1: done. The bytes are random where no id is to be issued: `_is_not_resumable` keeps them from being sent."""
    cdef KeptSessions kept = <KeptSessions>SSL_get_app_data(ssl)
    cdef bytes made = None
    try:
        if len(kept.expiries) >= UNFINISHED_FACTOR * kept.capacity:
            _forget_expired(kept)
        if len(kept.expiries) < UNFINISHED_FACTOR * kept.capacity:
            for _ in range(TRIES):
                made = kept.make_id()
                if made is None or made not in kept.expiries:
                    break
            else:
                made = None
        if made is not None and 0 < len(made) <= MAX_ID_SIZE:
            # OpenSSL counts whole seconds from the beginning of this one, and the last one counts.
            kept.expiries[made] = int(time.time()) + kept.lifetime_s + 1
            memcpy(name, <const unsigned char *>made, len(made))
            size[0] = len(made)
            return 1
    except Exception:  # nothing may be raised here: the session is not resumable
        pass
    return RAND_bytes(name, size[0])


cdef int _is_not_resumable(SSL *ssl, int is_forward_secure) noexcept:
    """Called before the ServerHello is made, when all else about the session is settled."""
    cdef KeptSessions kept = <KeptSessions>SSL_get_app_data(ssl)
    cdef SSL_SESSION *session = SSL_get_session(ssl)
    cdef unsigned int size
    cdef const unsigned char *name = SSL_SESSION_get_id(session, &size)
    if name[:size] in kept.expiries:
        return 0
    # OpenSSL itself would only leave the session out of its cache; without an id the client knows, too.
    SSL_SESSION_set1_id(session, name, 0)
    return 1


cdef void _removed(SSL_CTX *context, SSL_SESSION *session) noexcept:
    """Expired, dropped for want of room, or forbidden by a fatal alert (RFC 5246, 7.2.2)."""
    cdef KeptSessions kept = <KeptSessions>SSL_CTX_get_app_data(context)
    cdef unsigned int size
    cdef const unsigned char *name = SSL_SESSION_get_id(session, &size)
    kept.expiries.pop(name[:size], None)
