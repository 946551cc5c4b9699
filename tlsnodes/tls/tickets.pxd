"""TLS sessions that are resumed by ticket, with what binds their client to servers in it."""

from libc.stdint cimport uint8_t

from tlsnodes.tls.binding cimport ServerSettings
from tlsnodes.tls.openssl cimport SSL


cdef class TicketSettings(ServerSettings):
    """The server's side, with the keys of its tickets and what is said in them."""

    cdef bytes ticket_keys  # of 80 bytes each, or empty: OpenSSL's own
    cdef bint issues_tickets
    cdef bint late  # in TLS 1.3 not within the handshake
    cdef object codec  # `AffinityCodec`; None: nothing is said
    cdef list counts  # by `TicketOutcome`
    cdef long lifetime_s
    cdef bint renew

    # How many tickets TLS 1.3 gives in the handshake.
    cdef void count_in_handshake(self) noexcept


cdef class TicketBearer:
    """One connection whose tickets bind its client. It must live as long as the connection's SSL."""

    cdef object chooser
    cdef bytes address
    cdef public object affinity  # `Affinity`; None: the client is not bound yet
    cdef public object by  # `ChosenBy`: where that comes from
    cdef object server  # the `ServerState` that the connection's newest ticket names first; None: there is none yet

    # From now on the callbacks below find it.
    cdef int hold(self, SSL *ssl) except -1
    # Whether a ticket can be made now.
    cdef bint may_issue(self, SSL *ssl) noexcept
    # The handshake is over.
    cdef int opened(self, SSL *ssl) except -1
    # What a ticket of TLS 1.2 says.
    cdef object in_handshake(self, SSL *ssl)


# Of a connection; None: it has none.
cdef TicketBearer bearer_of(SSL *ssl)
# The host name in a ClientHello that OpenSSL has not read yet; empty: none, or more than one.
cdef bytes name_asked_for(SSL *ssl)
