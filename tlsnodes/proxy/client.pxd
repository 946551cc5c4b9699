from tlsnodes.http.reader cimport RequestReader
from tlsnodes.proxy.exchange cimport Exchange
from tlsnodes.proxy.vserver cimport VserverProxy
from tlsnodes.stream.stream cimport Stream
from tlsnodes.tls.tickets cimport TicketBearer


cdef enum Phase:
    SECURING  # the TLS handshake
    IDLE  # between requests
    REQUEST_HEAD  # a request's head is coming
    EXCHANGE  # a request is being served
    TUNNEL  # the protocol was changed
    LINGER  # we closed; input is read and dropped


cdef class ClientConnection(Stream):
    cdef VserverProxy vserver
    cdef RequestReader reader  # None before the first request
    cdef Exchange exchange  # None before the first request
    cdef TicketBearer bearer  # None where tickets bind nobody
    cdef Phase phase
    cdef bint held  # the reader has input whose time has not come
    cdef bint taking
    cdef bint input_over
    cdef readonly int port
    cdef readonly bytes address
    cdef str peer_text  # None until somebody asks
    cdef object fields  # `ClientFields`; None before the first request
    cdef double deadline
    cdef double progress_at  # since when the client is waited for; negative: it is not
    cdef long long progress  # how many bytes had moved then

    cdef int begin(self, VserverProxy vserver, int fd, bytes address, int port) except -1
    cdef int bind_to(self, object server, object by) except -1
    cdef int read(self) except -1
    cdef bint server_is_slow(self) noexcept
    cdef int take_requests(self) except -1
    cdef int go_on(self) except -1
    cdef int await_request(self) except -1
    cdef int input_ended(self) except -1
    cdef int refuse(self, int status, str sentence, bytes extra=*) except -1
    cdef object fields_of_client(self)
    cdef str tls_version(self)
    cdef int log_unread(self, int status, long long sent, str refused) except -1
    cdef int answer(self, int status, str sentence, bytes extra, str refused) except -1
    cdef int close_in_order(self) except -1
    cdef int end(self) except -1
    cdef int fault(self, error) except -1
    cdef int pass_deadline(self) except -1
    cdef int check_rate(self, double now) except -1
