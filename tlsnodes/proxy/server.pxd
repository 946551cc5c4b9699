from libc.stdint cimport uint8_t

from tlsnodes.http.heads cimport RequestHead, ResponseHead
from tlsnodes.http.reader cimport ResponseReader
from tlsnodes.stream.poller cimport Poller
from tlsnodes.stream.stream cimport Stream
from tlsnodes.tls.binding cimport TlsSettings


cdef class Requester:
    cdef bint is_slow(self) noexcept
    cdef int server_ready(self) except -1
    cdef int server_unreachable(self, str reason) except -1
    cdef int server_writable(self) except -1
    cdef int response_head(self, ResponseHead head) except -1
    cdef int response_data(self, const uint8_t *data, Py_ssize_t size) except -1
    cdef int response_part_over(self) except -1
    cdef int response_end(self) except -1
    cdef int server_failed(self, str sentence, bint was_silent) except -1
    cdef int tunnel_end(self) except -1


cdef class ServerConnection(Stream):
    cdef Backend backend
    cdef ResponseReader reader
    cdef Requester requester
    cdef bint heard  # something of the response came
    cdef bint is_tunnel
    cdef bint spoilt  # it can carry no other request
    cdef bint reading
    cdef bint input_over
    cdef int served
    cdef double idle_since

    cdef int begin(self, Requester requester, RequestHead head) except -1
    cdef int release(self) except -1
    cdef void discard(self) noexcept
    cdef int resume(self) except -1
    cdef int read(self) except -1
    cdef int take_response(self) except -1
    cdef int lost(self) except -1
    cdef int fault(self, error) except -1


cdef class Backend:
    cdef public object server  # ServerState
    cdef readonly Poller poller
    cdef readonly object limits
    cdef bytes address
    cdef int port
    cdef TlsSettings tls
    cdef object route
    cdef readonly object destination  # see `Route`
    cdef bint retired
    cdef object idle

    cdef ServerConnection maybe_idle(self)
    cdef ServerConnection connect(self, Requester requester, bytes preamble)
    cdef int keep(self, ServerConnection connection) except -1
    cdef void forget(self, ServerConnection connection)
    cpdef close_idle(self, double before)
