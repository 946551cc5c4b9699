"""What the connections of one vserver of mode https or http share."""

from tlsnodes.proxy.base cimport ProxyBase
from tlsnodes.tls.sessions cimport SessionSettings


cdef class VserverProxy(ProxyBase):
    """A vserver of mode https or http."""

    cdef readonly object rules
    cdef readonly object pool
    cdef SessionSettings tls  # None: plain HTTP
    cdef object scheduler
    cdef object injection
    cdef object sessions  # `ApplicationSessions`; None: session ids bind nobody
    cdef bint tickets_bind
    cdef object forwarding
    cdef object head_limits
    cdef object request_ids  # `RequestIds`; None: requests have none
    cdef object redirect  # `Redirect`; None: requests go to servers
    cdef dict backends  # server id → Backend
    cdef bytes via, via_1_0
    cdef bytes explain  # the field that says why responses come from their server; None: none does
    cdef double header_s, keepalive_s
    cdef long long max_requests, max_body
    cdef long long in_progress  # requests

    cdef int refused(self, str peer, int status, str sentence) except -1
