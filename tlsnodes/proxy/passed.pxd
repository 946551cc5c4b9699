"""Connections that are passed on without being decrypted [P5]: a client's, and the one to its server."""

from libc.stdint cimport uint8_t

from tlsnodes.proxy.passthrough cimport PassthroughProxy
from tlsnodes.stream.stream cimport Stream


cdef enum Phase:
    HELLO  # the ClientHello is coming
    HELD  # it is whole, and its server is being looked up or connected to
    RELAY
    LINGER  # we closed; input is read and dropped


cdef class PassedConnection(Stream):
    cdef PassthroughProxy proxy
    cdef ServerSide other  # None: there is none yet, or no more
    cdef Phase phase
    cdef object reader  # `HelloReader`
    cdef object hello  # `ClientHello`; None before it is whole
    cdef object wanted  # `ChosenBy` while the session that the client wants to resume is looked up, else None
    cdef object flight  # `ServerFlight`; None: there is nothing to learn, or no more
    cdef list first  # what came before the server was there
    cdef object pool
    cdef object server  # `ServerState`; None when none is chosen
    cdef object by  # `ChosenBy`; None before a server was chosen
    cdef tuple tried
    cdef bint input_over
    cdef bint reading
    cdef bint spoke  # the client has answered the server
    cdef readonly int port
    cdef readonly bytes address
    cdef str reason  # why we closed; for the log
    cdef double started_at, answered_at, deadline, patience_s
    cdef double progress_at  # since when the client is waited for; negative: it is not
    cdef long long progress  # how many bytes had moved then
    cdef long long received, sent

    cdef int begin(self, PassthroughProxy proxy, int fd, bytes address, int port) except -1
    cdef int read(self) except -1
    cdef int take_hello(self, bytes piece) except -1
    cdef int choose(self) except -1
    cdef int choose_bound(self, record, by) except -1
    cdef int learn(self) except -1
    cdef int no_server(self, str reason) except -1
    cdef int connect_to(self, server) except -1
    cdef int server_ready(self) except -1
    cdef int server_unreachable(self, str reason) except -1
    cdef int server_data(self, const uint8_t *data, Py_ssize_t size) except -1
    cdef int server_ended(self) except -1
    cdef int server_lost(self, str reason) except -1
    cdef int input_ended(self) except -1
    cdef int half_ended(self) except -1
    cdef int over(self) except -1
    cdef int refuse(self, alert, str reason) except -1
    cdef int close_in_order(self) except -1
    cdef int let_go(self) except -1
    cdef int end(self) except -1
    cdef object describe(self)
    cdef int fault(self, error) except -1
    cdef int pass_deadline(self) except -1
    cdef int check_rate(self, double now) except -1


cdef class ServerSide(Stream):
    cdef PassedConnection client
    cdef bint input_over
    cdef bint reading

    cdef int read(self) except -1
    cdef void discard(self) noexcept
    cdef int fault(self, error) except -1
