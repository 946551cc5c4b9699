"""One edge-triggered epoll for all sockets of a worker, whose own fd is watched by the asyncio loop."""

from libc.stdint cimport uint32_t


cdef class Watcher:
    """Something with a file descriptor that a poller calls. The fd is -1 when there is none."""

    cdef int fd
    cdef uint32_t registration  # tells an event of this registration from one of an earlier owner of the fd
    cdef bint waiting_again
    cdef object __weakref__

    cdef void ready(self, uint32_t events) noexcept


cdef class Poller:
    """Calls watchers when the kernel says so, a bounded number of them in each run()."""

    cdef int epoll_fd
    cdef int wake_fd
    cdef int linger_ms
    cdef bint running
    cdef uint32_t registrations
    cdef list watchers  # by fd; None where nobody watches
    cdef list waiting
    cdef list forgotten  # until nobody is within them any more
    cdef readonly double now  # monotonic seconds (CLOCK_MONOTONIC), taken once a run()
    cdef object shared  # what the streams of this poller have in common

    # Edge-triggered for everything; the poller keeps a reference until remove() or forget(), and then until the turn
    # ends: methods in C borrow their object, and one of a watcher's own may have led to it.
    cdef int add(self, Watcher watcher) except -1
    # The same for these events only, level-triggered unless EPOLLET is among them.
    cdef int add_for(self, Watcher watcher, uint32_t events) except -1
    # No more calls, from this moment on. Safe at any time, in ready() too, and for others of the same batch.
    cdef void remove(self, Watcher watcher) noexcept
    # remove() for an fd that the caller closes next: the kernel then forgets by itself.
    cdef void forget(self, Watcher watcher) noexcept
    # ready(0) in the next run(): for work that is left over, with no event to come.
    cdef int again(self, Watcher watcher) except -1
