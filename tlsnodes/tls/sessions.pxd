"""TLS 1.2 sessions that are resumed by id, at whatever worker of whatever node."""

from tlsnodes.tls.openssl cimport SSL
from tlsnodes.tls.tickets cimport TicketSettings


cdef class SessionSettings(TicketSettings):
    """The server's side, with sessions that others share."""

    cdef readonly object sessions  # `SharedSessions`; None: sessions have no ids

    # `stream`, which owns the connection, can wait for the store.
    cdef int follow(self, SSL *ssl, stream) except -1
    # The handshake is over.
    cdef int opened(self, SSL *ssl) except -1
