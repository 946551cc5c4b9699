"""How often the peer of a TLS connection changes its keys (KeyUpdate, RFC 8446, 4.6.3)."""

from tlsnodes.stream.buffers cimport Scratch
from tlsnodes.tls.openssl cimport SSL

cdef enum:
    MAX_KEY_UPDATES = 32  # a second


cdef struct KeyUpdates:
    int count  # in the second that began at:
    double since
    const double *now
    Scratch *scratch


# Counts those of a connection. The one that is too many ends the read of what is in `scratch`.
cdef void count_key_updates(SSL *ssl, KeyUpdates *updates, Scratch *scratch, const double *now) noexcept
