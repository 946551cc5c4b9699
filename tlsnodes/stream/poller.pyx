"""The poller: see poller.pxd for what a module that is compiled against it may call."""

from libc.errno cimport EINTR, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close, read, write

cdef extern from "<sys/epoll.h>" nogil:
    enum:
        EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLET
        EPOLL_CTL_ADD, EPOLL_CTL_DEL
        EPOLL_CLOEXEC
    ctypedef union epoll_data_t:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout)

cdef extern from "<sys/eventfd.h>" nogil:
    enum:
        EFD_CLOEXEC, EFD_NONBLOCK
    int eventfd(unsigned int initval, int flags)

# After which the loop has its turn, whoever waits here.
cdef double TURN_S = 0.02

# Some 64 requests, a millisecond or two; what is left makes the asyncio loop call again, after its own work.
cdef enum:
    BATCH = 64


cdef class Watcher:
    """Something with a file descriptor that a poller calls."""

    def __cinit__(self):
        self.fd = -1

    cdef void ready(self, uint32_t events) noexcept:
        """Overridden: `events` are EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR; 0 after Poller.again()."""

    def fileno(self):
        """The file descriptor; -1 when there is none."""
        return self.fd


cdef class Poller:
    """Calls watchers when the kernel says so. For use from one thread.

    Args:
        linger_ms: how long run() waits for more after something has come, for `TURN_S` in all. Going through the loop
            costs two more system calls each time; but what else is in the loop waits as long.
    """

    def __cinit__(self, int linger_ms=0):
        self.linger_ms = linger_ms
        self.epoll_fd = self.wake_fd = -1
        self.watchers = []
        self.waiting = []
        self.forgotten = []
        self.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll_fd < 0:
            raise OSError(errno, "epoll_create1")
        self.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.wake_fd < 0:
            raise OSError(errno, "eventfd")
        _watch(self.epoll_fd, self.wake_fd, EPOLLIN, 0)
        self.now = _monotonic()

    def __dealloc__(self):
        _close(self)

    cdef int add(self, Watcher watcher) except -1:
        return self.add_for(watcher, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

    cdef int add_for(self, Watcher watcher, uint32_t events) except -1:
        cdef int fd = watcher.fd
        if fd < 0:
            raise ValueError("nothing to watch: no file descriptor")
        # 0 is the poller's own; a number comes again after four thousand million connections.
        self.registrations += 1
        if self.registrations == 0:
            self.registrations = 1
        while len(self.watchers) <= fd:
            self.watchers.append(None)
        _watch(self.epoll_fd, fd, events, self.registrations)
        watcher.registration = self.registrations
        self.watchers[fd] = watcher
        return 0

    cdef void remove(self, Watcher watcher) noexcept:
        if watcher.registration == 0:
            return
        epoll_ctl(self.epoll_fd, EPOLL_CTL_DEL, watcher.fd, NULL)
        self.forget(watcher)

    cdef void forget(self, Watcher watcher) noexcept:
        if watcher.registration == 0:
            return
        watcher.registration = 0
        if not self.forgotten and not self.running:
            _wake(self)
        self.forgotten.append(watcher)
        self.watchers[watcher.fd] = None

    cdef int again(self, Watcher watcher) except -1:
        if watcher.waiting_again:
            return 0
        if not self.waiting and not self.running:
            _wake(self)
        self.waiting.append(watcher)
        watcher.waiting_again = True
        return 0

    def fileno(self):
        """Readable when run() has something to do; -1 when closed."""
        return self.epoll_fd

    def tick(self):
        """Look at the clock, for those who work with `now` outside of run(); gives it back."""
        self.now = _monotonic()
        return self.now

    def run(self):
        """Call what is ready; give it to the loop: `loop.add_reader(poller.fileno(), poller.run)`."""
        cdef epoll_event events[BATCH]
        cdef double until = 0
        cdef int count
        cdef int timeout_ms = 0
        self.running = True
        try:
            while True:
                with nogil:
                    count = epoll_wait(self.epoll_fd, events, BATCH, timeout_ms)
                if count < 0:
                    if errno == EINTR:
                        return
                    raise OSError(errno, "epoll_wait")
                self.now = _monotonic()
                if until == 0:
                    until = self.now + TURN_S
                _dispatch(self, events, count)
                if self.waiting:
                    _run_waiting(self)
                self.forgotten.clear()
                if self.linger_ms == 0 or self.epoll_fd < 0 or self.now >= until or (count == 0 and timeout_ms > 0):
                    return
                timeout_ms = 0 if self.waiting else self.linger_ms
        finally:
            self.running = False
            if self.waiting:
                _wake(self)

    def close(self):
        """Let go of all watchers, which keep their file descriptors; take it out of the loop first."""
        cdef Watcher watcher
        for watcher in self.watchers:
            if watcher is not None:
                watcher.registration = 0
        self.watchers = []
        self.waiting = []
        self.shared = None
        _close(self)


cdef double _monotonic() noexcept:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec + time.tv_nsec * 1e-9


cdef int _watch(int epoll_fd, int fd, uint32_t events, uint32_t registration) except -1:
    cdef epoll_event event
    memset(&event, 0, sizeof(event))
    event.events = events
    event.data.u64 = (<uint64_t>registration << 32) | <uint32_t>fd
    if epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0:
        raise OSError(errno, "epoll_ctl")
    return 0


cdef int _dispatch(Poller poller, epoll_event *events, int count) except -1:
    cdef Watcher watcher
    cdef uint64_t key, woken
    cdef int fd, i
    for i in range(count):
        if poller.epoll_fd < 0:
            return 0  # closed by someone in this batch
        key = events[i].data.u64
        fd = <int>(key & 0xFFFFFFFF)
        if key >> 32 == 0:
            read(poller.wake_fd, &woken, sizeof(woken))
            continue
        # Someone earlier in this batch may have closed it, or closed it and opened another with its number.
        watcher = poller.watchers[fd]
        if watcher is not None and watcher.registration == key >> 32:
            watcher.ready(events[i].events)
    return 0


cdef int _run_waiting(Poller poller) except -1:
    cdef Watcher watcher
    cdef list waiting = poller.waiting
    poller.waiting = []
    for watcher in waiting:
        watcher.waiting_again = False
        if watcher.registration:
            watcher.ready(0)
    return 0


cdef void _wake(Poller poller) noexcept:
    """Make the loop call run()."""
    cdef uint64_t one = 1
    if poller.wake_fd >= 0:
        write(poller.wake_fd, &one, sizeof(one))


cdef void _close(Poller poller) noexcept:
    if poller.epoll_fd >= 0:
        close(poller.epoll_fd)
    if poller.wake_fd >= 0:
        close(poller.wake_fd)
    poller.epoll_fd = poller.wake_fd = -1
