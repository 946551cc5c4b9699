"""Listeners: see listener.pxd."""

from libc.errno cimport EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport uint32_t
from posix.unistd cimport close as close_fd

import socket as sockets

from tlsnodes.stream.poller cimport Poller, Watcher
from tlsnodes.stream.sockets cimport (
    AF_INET,
    AF_INET6,
    EPOLLIN,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    accept4,
    ntohs,
    sockaddr,
    sockaddr_in,
    sockaddr_in6,
    sockaddr_storage,
    socklen_t,
)

cdef class Listener(Watcher):
    """Accepts connections of a socket that listens already, and which it keeps open until close().

    Args:
        poller: calls it.
        sock: a listening TCP socket.
    """

    def __init__(self, Poller poller not None, sock):
        self.poller = poller
        self.socket = sock
        sock.setblocking(False)
        # Accepted sockets inherit it.
        sock.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        self.fd = sock.fileno()
        self.paused = True
        self.resume()

    def pause(self):
        """Leave connections to the backlog."""
        if not self.paused:
            self.paused = True
            self.poller.remove(self)

    def resume(self):
        """Accept again; nothing happens when it does, or is closed."""
        if self.paused and self.fd >= 0:
            self.poller.add_for(self, EPOLLIN)
            self.paused = False

    def close(self):
        """Close the socket; what is in the backlog is reset unless others hold the socket, too."""
        self.pause()
        self.fd = -1
        self.socket.close()
        self.handler = None

    cdef void ready(self, uint32_t events) noexcept:
        cdef sockaddr_storage storage
        cdef socklen_t size
        cdef int fd
        # One a turn: the event stays as long as somebody waits, and who is served already has his turn as well.
        size = sizeof(storage)
        fd = accept4(self.fd, <sockaddr *>&storage, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd >= 0:
            _hand_out(self, fd, &storage)
        elif errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
            # The connection stays in the backlog, and the event with it: without a pause this would spin.
            self.paused = True
            self.poller.remove(self)
            self.on_starved(errno)
        # Anything else is about one connection, gone before it was accepted (accept(2)), or somebody else has it.

    cdef void on_accepted(self, int fd, bytes address, int port) noexcept:
        if self.handler is None:
            close_fd(fd)
        else:
            self.handler.on_accepted(fd, address, port)

    cdef void on_starved(self, int error) noexcept:
        if self.handler is not None:
            self.handler.on_starved(error)


cdef void _hand_out(Listener listener, int fd, sockaddr_storage *storage) noexcept:
    cdef sockaddr_in *v4 = <sockaddr_in *>storage
    cdef sockaddr_in6 *v6 = <sockaddr_in6 *>storage
    if storage.ss_family == AF_INET:
        listener.on_accepted(fd, (<const char *>&v4.sin_addr)[:4], ntohs(v4.sin_port))
    elif storage.ss_family == AF_INET6:
        listener.on_accepted(fd, (<const char *>&v6.sin6_addr)[:16], ntohs(v6.sin6_port))
    else:
        listener.on_accepted(fd, b"", 0)
