"""Where the clients of a vserver come in: see door.pxd."""

import resource

import structlog

from libc.errno cimport EMFILE
from libc.string cimport strerror

from tlsnodes.stream.listener cimport Listener

cdef double _STARVED_LOG_S = 10.0  # so often the log says that no more clients can be accepted

_log = structlog.get_logger()


cdef class Door(Listener):
    """A listening socket of a vserver; `vserver` may be exchanged while it is open.

    Clients get no more than half of the file descriptors: each needs another one for its server. Those who come then
    wait in the backlog.

    Args:
        vserver: whom those who come are shown to.
        sock: a listening TCP socket, which it closes in the end.
    """

    def __init__(self, ProxyBase vserver not None, sock):
        Listener.__init__(self, vserver.poller, sock)
        self.vserver = vserver
        self.highest = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
        self.told_at = -_STARVED_LOG_S

    cdef void on_accepted(self, int fd, bytes address, int port) noexcept:
        try:
            self.vserver.accept(fd, address, port)
            if fd >= self.highest:  # the kernel gives the lowest that is free
                self.pause()
                self.on_starved(EMFILE)
        except Exception as error:
            _log.error("internal error", vserver=self.vserver.name, exc_info=error)

    cdef void on_starved(self, int error) noexcept:
        if self.poller.now - self.told_at >= _STARVED_LOG_S:
            self.told_at = self.poller.now
            _log.error("cannot accept", vserver=self.vserver.name, error=strerror(error).decode())
