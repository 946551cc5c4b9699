"""What sockets need beyond a system call."""

from libc.errno cimport EINPROGRESS, errno
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset


cdef bint start_connecting(int fd, bytes address, int port) noexcept:
    cdef sockaddr_in v4
    cdef sockaddr_in6 v6
    cdef int result
    cdef int one = 1
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    if len(address) == 4:
        memset(&v4, 0, sizeof(v4))
        v4.sin_family = AF_INET
        v4.sin_port = htons(port)
        memcpy(&v4.sin_addr, <const uint8_t *>address, 4)
        result = connect(fd, <sockaddr *>&v4, sizeof(v4))
    else:
        memset(&v6, 0, sizeof(v6))
        v6.sin6_family = AF_INET6
        v6.sin6_port = htons(port)
        memcpy(&v6.sin6_addr, <const uint8_t *>address, 16)
        result = connect(fd, <sockaddr *>&v6, sizeof(v6))
    return result == 0 or errno == EINPROGRESS
