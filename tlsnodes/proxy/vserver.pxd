"""What the connections of one vserver share."""

from tlsnodes.proxy.statistics cimport VserverStatistics
from tlsnodes.stream.poller cimport Poller
from tlsnodes.tls.binding cimport TlsSettings


cdef class VserverProxy:
    """One vserver as a worker runs it."""

    cdef readonly Poller poller
    cdef readonly str name
    cdef readonly object rules
    cdef readonly object pool
    cdef readonly VserverStatistics statistics
    cdef readonly set connections
    cdef readonly bint draining
    cdef TlsSettings tls  # None: plain HTTP
    cdef object scheduler
    cdef object injection
    cdef bint tickets_bind
    cdef object forwarding
    cdef object head_limits
    cdef object request_ids  # `RequestIds`; None: requests have none
    cdef object redirect  # `Redirect`; None: requests go to servers
    cdef object log
    cdef object budget  # `LogBudget`
    cdef dict backends  # server id → Backend
    cdef bytes via, via_1_0
    cdef bytes explain  # the field that says why responses come from their server; None: none does
    cdef double handshake_s, header_s, keepalive_s, connect_s, response_s, tunnel_s
    cdef double min_rate, min_rate_after_s
    cdef long long max_requests, max_connections, max_per_client, max_body
    cdef long long in_progress  # requests
    cdef dict of_client  # packed address → open connections; only where they are bounded

    cdef double wall(self) noexcept
    cdef int handshake_failed(self, str reason) except -1
    cdef int ended(self, connection) except -1
    cdef int refused(self, str peer, int status, str sentence) except -1
    cdef bint admit(self, connection, bytes address) except -1
