"""A vserver whose TLS is passed on without being decrypted [P5]."""

from tlsnodes.proxy.base cimport ProxyBase
from tlsnodes.proxy.passed cimport PassedConnection


cdef class PassthroughProxy(ProxyBase):
    """A vserver of mode passthrough."""

    cdef readonly tuple pools  # the first one is for names that have no route
    cdef readonly object names  # `NameTable`: server name → pool
    cdef public object session_ids  # `SessionIdTable` of its own pool; None without one
    cdef readonly bint source
    cdef readonly object learnt  # `LearntSessions`; None: none are learnt
    cdef dict ways  # pool's name → server id → `Route`
    cdef PassthroughProxy successor  # None as long as it has no other

    cdef PassthroughProxy current(self)
    cdef object choose(self, PassedConnection connection, tuple tried)
    cdef tuple choose_by_id(self, PassedConnection connection, tuple tried)
