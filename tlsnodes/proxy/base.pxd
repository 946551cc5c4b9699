"""What the proxies of all modes have in common: clients that are let in, counted and closed."""

from tlsnodes.proxy.statistics cimport VserverStatistics
from tlsnodes.stream.poller cimport Poller


cdef class ProxyBase:
    """One vserver as a worker runs it."""

    cdef readonly Poller poller
    cdef readonly str name
    cdef readonly VserverStatistics statistics
    cdef readonly set connections
    cdef readonly bint draining
    cdef set tasks  # what waits for the store
    cdef object log
    cdef object budget  # `LogBudget`
    cdef double handshake_s, connect_s, response_s, tunnel_s
    cdef double min_rate, min_rate_after_s
    cdef long long max_connections, max_per_client
    cdef dict of_client  # packed address → open connections; only where they are bounded

    # Serve whoever was accepted; the connection is closed at once when there is no room for it.
    cdef int accept(self, int fd, bytes address, int port) except -1
    cdef double wall(self) noexcept
    cdef int handshake_failed(self, str reason) except -1
    cdef int ended(self, connection) except -1
    cdef int run(self, coroutine) except -1
    cdef bint admit(self, connection, bytes address) except -1


# Of a client, for logs and servers; "unknown" if the socket did not say it.
cdef str address_text(bytes packed)
cdef long long bound(limit) except -1
