"""Where the clients of a vserver come in."""

from tlsnodes.proxy.base cimport ProxyBase
from tlsnodes.stream.listener cimport Listener


cdef class Door(Listener):
    cdef public ProxyBase vserver
    cdef int highest  # file descriptor that a client may have
    cdef double told_at
