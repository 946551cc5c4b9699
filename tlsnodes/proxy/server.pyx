"""Connections to servers: opened, kept while idle, handed out."""

from collections import deque

import structlog

from libc.stdint cimport uint8_t

from tlsnodes.http.heads cimport RequestHead, ResponseHead
from tlsnodes.http.reader cimport DATA, END, HEAD, NEED_MORE, Event, ResponseReader
from tlsnodes.stream.stream cimport OPEN, PEER_CLOSED

MAX_IDLE_PER_SERVER = 256
MAX_IDLE_S = 30.0

cdef str _CUT = "the server closed the connection before its response was whole"

_log = structlog.get_logger()


cdef class Requester:
    """Who waits for a response. After `response_end`, `server_failed` or `tunnel_end` nothing more comes."""

    cdef bint is_slow(self) noexcept:
        """What came last has not left yet: read no more until `ServerConnection.resume`."""
        return False

    cdef int server_ready(self) except -1:
        """The connection is there."""
        return 0

    cdef int server_unreachable(self, str reason) except -1:
        """The connection could not be made."""
        return 0

    cdef int server_writable(self) except -1:
        """The server has caught up with the request."""
        return 0

    cdef int response_head(self, ResponseHead head) except -1:
        """An interim response, or the head of the final one."""
        return 0

    cdef int response_data(self, const uint8_t *data, Py_ssize_t size) except -1:
        """A part of the body."""
        return 0

    cdef int response_part_over(self) except -1:
        """All that came in one read was handed over."""
        return 0

    cdef int response_end(self) except -1:
        """The response is whole."""
        return 0

    cdef int server_failed(self, str sentence, bint was_silent) except -1:
        """The response broke the protocol or off; `was_silent`: nothing of it had come, on a connection used before."""
        return 0

    cdef int tunnel_end(self) except -1:
        """After 101: the server ended its side."""
        return 0


cdef class ServerConnection(Stream):
    """One connection to a server: idle in its `Backend`, or in use by one requester."""

    def __init__(self, Backend backend):
        self.backend = backend
        self.reader = ResponseReader(backend.limits)

    cdef int begin(self, Requester requester, RequestHead head) except -1:
        """Hand the connection to a requester, for one request."""
        self.requester = requester
        self.served += 1
        self.heard = False
        self.reader.begin(head.method, head.upgrade)
        return 0

    cdef int release(self) except -1:
        """The response is whole and the connection can carry another one: back among the idle."""
        if self.spoilt or self.state != OPEN:
            self.discard()
            return 0
        self.requester = None
        return self.backend.keep(self)

    cdef void discard(self) noexcept:
        """Nobody wants what may still come."""
        self.requester = None
        self.abort()

    cdef int resume(self) except -1:
        """The requester has caught up."""
        return self.read() if self.readable else 0

    cdef void on_readable(self) noexcept:
        try:
            self.read()
        except Exception as error:
            self.fault(error)

    cdef void on_open(self) noexcept:
        try:
            self.requester.server_ready()
        except Exception as error:
            self.fault(error)

    cdef void on_writable(self) noexcept:
        try:
            if self.requester is not None:
                self.requester.server_writable()
        except Exception as error:
            self.fault(error)

    cdef void on_lost(self) noexcept:
        try:
            self.lost()
        except Exception as error:
            self.fault(error)

    cdef int fault(self, error) except -1:
        """An error of ours costs this connection, and what waits for it."""
        cdef Requester requester = self.requester
        self.discard()
        _log.error("internal error", server=self.backend.server.name, exc_info=error)
        if requester is not None:
            try:
                requester.server_failed("internal error", False)
            except Exception as again:
                _log.error("internal error", server=self.backend.server.name, exc_info=again)
        return 0

    cdef int read(self) except -1:
        cdef const uint8_t *data = NULL
        cdef Py_ssize_t size
        cdef Requester requester
        if self.reading:  # the requester resumes us from within what we tell it: the loop below goes on
            return 0
        self.reading = True
        try:
            while self.readable and not self.input_over:
                requester = self.requester
                if requester is not None and requester.is_slow():
                    return 0
                size = self.receive(&data)
                if size > 0:
                    if requester is None:  # a response to nothing
                        return self.lost()
                    self.heard = True
                    self.reader.give(data, size)
                    self.take_response()
                elif self.state == PEER_CLOSED:
                    return self.lost()
                elif not self.readable:
                    return 0
        finally:
            self.reading = False
        return 0

    cdef int take_response(self) except -1:
        cdef Requester requester = self.requester
        cdef ResponseReader reader = self.reader
        cdef Event event
        while True:
            event = reader.next()
            if event == DATA:
                requester.response_data(reader.data, reader.size)
            elif event == HEAD:
                self.is_tunnel = reader.head.status == 101
                requester.response_head(reader.head)
            elif event == END:
                self.spoilt = reader.pending() > 0  # the response is whole; what is wrong is what came after it
                return requester.response_end()
            elif event == NEED_MORE:
                break
            else:
                return requester.server_failed(reader.violation.sentence, False)
            if self.requester is not requester:
                return 0
        reader.keep_rest()
        return requester.response_part_over()

    cdef int lost(self) except -1:
        """The server ended its side, or the connection broke."""
        cdef Requester requester = self.requester
        if self.input_over:
            return 0
        self.input_over = True
        if requester is None:
            self.backend.forget(self)
            self.abort()
        elif not self.served:
            self.requester = None
            self.close()
            requester.server_unreachable(self.failure or "closed at once")
        elif self.is_tunnel:
            requester.tunnel_end()
        elif self.state == PEER_CLOSED and self.reader.finish() == END:
            self.spoilt = True
            requester.response_end()
        else:
            sentence = _CUT if self.failure is None else f"{_CUT}: {self.failure}"
            requester.server_failed(sentence, self.served > 1 and not self.heard)
        return 0


cdef class Backend:
    """A server's connections from one worker.

    Args:
        poller: watches them.
        server: whose (`ServerState`).
        route: how it is reached (`Route`).
        limits: of its responses' heads.
    """

    def __init__(self, Poller poller not None, server, route, limits):
        self.poller = poller
        self.server = server
        self.route = route
        self.address = route.address
        self.port = route.port
        self.tls = route.tls
        self.destination = route.destination
        self.limits = limits
        self.idle = deque()  # the longest idle first

    def serves(self, server, Backend other not None):
        """Whether it leads to that server in the same way as `other`, so that its connections can go on."""
        return self.server is server and self.route == other.route

    cdef ServerConnection maybe_idle(self):
        """The idle connection that was used last: the one that its server least likely is about to close."""
        cdef ServerConnection connection
        while self.idle:
            connection = self.idle.pop()
            if connection.state == OPEN:
                return connection
        return None

    cdef ServerConnection connect(self, Requester requester, bytes preamble):
        """Begin a new connection; `requester` is told when it is there, or can't be made.

        Args:
            requester: who waits for it.
            preamble: is sent before everything else; None: nothing is.

        Raises:
            OSError: there is no socket to be had.
        """
        cdef ServerConnection connection = ServerConnection(self)
        connection.requester = requester
        connection.preamble = preamble
        Stream.connect(connection, self.poller, self.address, self.port, self.tls)
        return connection

    cdef int keep(self, ServerConnection connection) except -1:
        """Put a connection among the idle; the longest idle one goes when they are too many."""
        cdef ServerConnection oldest
        if self.retired or self.destination is not None:
            connection.finish()
            connection.close()
            return 0
        connection.idle_since = self.poller.now
        self.idle.append(connection)
        if len(self.idle) > MAX_IDLE_PER_SERVER:
            oldest = self.idle.popleft()
            oldest.close()
        return 0

    cdef void forget(self, ServerConnection connection):
        """The connection closed by itself."""
        try:
            self.idle.remove(connection)
        except ValueError:
            pass

    def retire(self):
        """Keep no connection any more: another one leads to the server."""
        self.retired = True
        self.close_idle(self.poller.now)

    cpdef close_idle(self, double before):
        """Close what has been idle since `before` or longer."""
        cdef ServerConnection oldest
        while self.idle:
            oldest = self.idle[0]
            if oldest.idle_since > before:
                break
            self.idle.popleft()
            oldest.close()
