"""A listening TCP socket that hands out accepted sockets."""

from tlsnodes.stream.poller cimport Poller, Watcher


cdef class Listener(Watcher):
    """Accepts a connection a turn; can be paused, then the kernel's backlog holds what comes."""

    cdef readonly bint paused
    cdef public object handler  # for Python: the hooks below call methods of their names
    cdef Poller poller
    cdef object socket

    # Hooks. `fd` is the hook's own now: non-blocking, without Nagle's delay. `address` is packed, as the family has it.
    cdef void on_accepted(self, int fd, bytes address, int port) noexcept
    # File descriptors or memory have run out, and the listener has paused itself: resume() it in a while.
    cdef void on_starved(self, int error) noexcept
