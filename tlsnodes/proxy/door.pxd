"""Where the clients of a vserver come in."""

from tlsnodes.proxy.vserver cimport VserverProxy
from tlsnodes.stream.listener cimport Listener


cdef class Door(Listener):
    cdef public VserverProxy vserver
    cdef int highest  # file descriptor that a client may have
    cdef double told_at
