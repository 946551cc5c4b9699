# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Octets of a connection → events. Strict: what is not HTTP/1.1 to the letter is a `Violation`.

Input is read where it lies, and copied only when the reader is told to keep what it cannot use yet.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcpy, memmove

from tlsnodes.http.fields cimport clean
from tlsnodes.http.heads cimport BODY_CHUNKED, BODY_LENGTH, BODY_UNTIL_CLOSE, read_request, read_response
from tlsnodes.http.section cimport grammar, line_size, read_trailers, too_large

from tlsnodes.http import messages
from tlsnodes.http.heads import request_table
from tlsnodes.http.messages import BadMessage, Marker, Violation

MAX_EMPTY_LINES = 4
MAX_INTERIM_RESPONSES = 8
cdef int _MAX_EMPTY_LINES = MAX_EMPTY_LINES
cdef int _MAX_INTERIM_RESPONSES = MAX_INTERIM_RESPONSES

RequestEvent = RequestHead | bytes | Marker | Violation
ResponseEvent = ResponseHead | bytes | Marker | Violation

cdef FieldTable _REQUEST_TABLE = request_table()
cdef object _END = messages.END


cdef class MessageReader:
    """What both directions share; see the stub."""

    def __init__(self, limits):
        self._bounds.size = limits.size
        self._bounds.fields = limits.fields
        self._bounds.line = limits.line
        self._bounds.chunk_line = limits.chunk_line
        self.trailers = b""

    def __dealloc__(self):
        free(self._own)

    @property
    def in_head(self):
        """A message has begun and its head is not whole yet."""
        return self._state == IN_HEAD

    def feed(self, bytes data not None):
        """The events that `data`, any part of the stream, completes. After a `Violation` nothing may be fed."""
        cdef list events = []
        cdef Event event
        self.give(<const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        while True:
            event = self.next()
            if event == NEED_MORE:
                break
            if event == DATA:
                events.append(PyBytes_FromStringAndSize(<const char *>self.data, self.size))
            elif event == HEAD:
                events.append(self.head)
            elif event == END:
                events.append(_END)
            else:
                events.append(self.violation)
                break
        self.keep_rest()
        return events

    cdef int give(self, const uint8_t *data, Py_ssize_t size) except -1:
        cdef Py_ssize_t rest = self._end - self._at
        cdef uint8_t *larger
        if rest == 0:
            self._at = data
            self._end = data + size
            self._kept = False
            return 0
        assert self._kept, "what was given before is still borrowed"
        if self._end - self._own + size > self._own_size:
            memmove(self._own, self._at, rest)
            self._at = self._own
            if rest + size > self._own_size:
                larger = <uint8_t *>realloc(self._own, rest + size)
                if larger == NULL:
                    self._end = self._at + rest
                    raise MemoryError
                self._at = self._own = larger
                self._own_size = rest + size
        memcpy(<uint8_t *>self._at + rest, data, size)
        self._end = self._at + rest + size
        return 0

    cdef int keep_rest(self) except -1:
        cdef Py_ssize_t rest = self._end - self._at
        if rest and self._kept:
            return 0
        free(self._own)
        self._own = NULL
        self._own_size = 0
        self._kept = False
        if rest:
            self._own = <uint8_t *>malloc(rest)
            if self._own == NULL:
                self._at = self._end = NULL
                raise MemoryError
            memcpy(self._own, self._at, rest)
            self._own_size = rest
            self._kept = True
        self._at = self._own
        self._end = self._own + rest
        return 0

    cdef Py_ssize_t pending(self) noexcept:
        return self._end - self._at

    cpdef void tunnel(self) noexcept:
        self._state = UNTIL_CLOSE

    cdef Event next(self) except? VIOLATION:
        try:
            return self._next()
        except BadMessage as bad:
            self._state = BROKEN
            self.violation = bad.violation
            if self._response:
                self.violation = Violation(status=502, sentence=bad.violation.sentence)
            return VIOLATION

    cdef Event _next(self) except? VIOLATION:
        cdef Head head
        cdef Py_ssize_t used = 0
        while True:
            if self._state == AFTER_BODY:
                self._state = WAITING if self._response else STARTING
                return END
            if self._state == BROKEN:
                return VIOLATION
            if self._at == self._end:
                return NEED_MORE
            if self._state == STARTING:
                if not self._begins():
                    return NEED_MORE
                self._state = IN_HEAD
                self._searched = 0
            if self._state == IN_HEAD:
                head = self._read_head(&used) if self._grown() else None
                if head is None:
                    return NEED_MORE
                self._at += used
                self._remaining = head.length
                self._head_over()
                return HEAD
            if self._state == IN_LENGTH or self._state == IN_CHUNK or self._state == UNTIL_CLOSE:
                return self._part()
            if self._state == AFTER_CHUNK:
                if self._at[0] != c"\r" or (self._end - self._at > 1 and self._at[1] != c"\n"):
                    grammar("a chunk that does not end where it said", self._response)
                if self._end - self._at == 1:
                    return NEED_MORE
                self._at += 2
                self._state = IN_CHUNK_LINE
            elif self._state == IN_CHUNK_LINE:
                if not self._read_chunk_line():
                    return NEED_MORE
            elif self._state == IN_TRAILERS:
                if not self._read_trailers():
                    return NEED_MORE
            else:
                raise BadMessage(502, "the server sent more than its response")

    cdef bint _begins(self) except -1:
        """What comes is the beginning of a head."""
        return True

    cdef Head _read_head(self, Py_ssize_t *used):
        """Sets and returns `head` if it is whole, else None."""
        raise NotImplementedError

    cdef int _head_over(self) except -1:
        """The state that `head` leads to."""
        raise NotImplementedError

    cdef Event _part(self) noexcept:
        """The part of the body that is there."""
        self.data = self._at
        self.size = self._end - self._at
        if self._state != UNTIL_CLOSE:
            if self.size >= self._remaining:
                self.size = <Py_ssize_t>self._remaining
                self._state = AFTER_BODY if self._state == IN_LENGTH else AFTER_CHUNK
            self._remaining -= self.size
        self._at += self.size
        return DATA

    cdef bint _grown(self) noexcept:
        """Whether an unfinished head or trailers have a new line or reached a limit: else reading again is in vain."""
        cdef Py_ssize_t before = self._searched
        cdef Py_ssize_t now = self._end - self._at
        self._searched = now
        return (
            memchr(self._at + before, c"\n", now - before) != NULL
            or before < self._bounds.size <= now
            or before < self._bounds.line <= now
        )

    cdef bint _read_chunk_line(self) except -1:
        """chunk-size [ chunk-ext ] CRLF (RFC 9112, 7.1); False if it is not whole. Extensions are dropped."""
        cdef Py_ssize_t size = line_size(self._at, self._end - self._at, self._bounds.chunk_line, self._response)
        cdef Py_ssize_t digits = 0
        cdef long long number = 0
        cdef uint8_t octet
        if size == -3:
            too_large(self._bounds.chunk_line, "a chunk's line")
        if size < 0:
            return False
        while digits < size:
            octet = self._at[digits]
            if c"0" <= octet <= c"9":
                octet -= c"0"
            elif c"a" <= octet | 0x20 <= c"f":
                octet = (octet | 0x20) - c"a" + 10
            else:
                break
            digits += 1
            if digits > 15:
                grammar("a chunk size that is too large", self._response)
            number = number * 16 + octet
        if digits == 0 or (digits < size and self._at[digits] != c";") or not clean(self._at, size):
            grammar("a bad chunk size", self._response)
        self._extensions += size - digits
        if self._extensions > self._bounds.size:
            too_large(self._bounds.size, "chunk extensions")
        self._at += size + 2
        self._remaining = number
        self._searched = 0
        self._state = IN_CHUNK if number else IN_TRAILERS
        return True

    cdef bint _read_trailers(self) except -1:
        cdef Py_ssize_t used = 0
        cdef bytes trailers = None
        if self._grown():
            trailers = read_trailers(self._at, self._end - self._at, &self._bounds, self._response, &used)
        if trailers is None:
            return False
        self.trailers = trailers
        self._at += used
        self._state = AFTER_BODY
        return True


cdef class RequestReader(MessageReader):
    """Reads the requests of one client connection; see the stub."""

    def __init__(self, limits, table=None):
        MessageReader.__init__(self, limits)
        self._state = STARTING
        self._table = _REQUEST_TABLE if table is None else table

    cdef bint _begins(self) except -1:
        """Empty lines may come before a request (RFC 9112, 2.2)."""
        while self._at < self._end and (self._at[0] == c"\r" or self._at[0] == c"\n"):
            if self._at[0] == c"\n":
                grammar("a line feed without a carriage return", False)
            if self._end - self._at == 1:
                return False
            if self._at[1] != c"\n":
                grammar("a bad request line", False)
            self._empty_lines += 1
            if self._empty_lines > _MAX_EMPTY_LINES:
                raise BadMessage(431, f"more than {MAX_EMPTY_LINES} empty lines before a request")
            self._at += 2
        return self._at < self._end

    cdef Head _read_head(self, Py_ssize_t *used):
        cdef RequestHead head = read_request(self._at, self._end - self._at, &self._bounds, self._table, used)
        if head is not None:
            self.head = head
        return head

    cdef int _head_over(self) except -1:
        self._empty_lines = 0
        self._extensions = 0
        self.trailers = b""
        if self.head.body == BODY_CHUNKED:
            self._state = IN_CHUNK_LINE
        else:
            self._state = IN_LENGTH if self.head.length > 0 else AFTER_BODY
        return 0


cdef class ResponseReader(MessageReader):
    """Reads the responses of one server connection, one `begin` each; see the stub."""

    def __init__(self, limits):
        MessageReader.__init__(self, limits)
        self._response = True
        self._state = WAITING

    cpdef begin(self, bytes method, bytes upgrade=None):
        assert self._state == WAITING or self._state == BROKEN, "the response before is not over"
        if self._state == WAITING:
            self._state = STARTING
        self._to_head = method == b"HEAD"
        self._upgrade = upgrade
        self._interim = 0
        self._extensions = 0
        self.trailers = b""

    def eof(self):
        """The server closed its side: END if that is how this response ends, else a `Violation`."""
        return _END if self.finish() == END else self.violation

    cdef Event finish(self) except? VIOLATION:
        if self._state == UNTIL_CLOSE:
            self._state = WAITING
            return END
        self._state = BROKEN
        self.violation = Violation(
            status=502, sentence="the server closed the connection before its response was whole"
        )
        return VIOLATION

    cdef Head _read_head(self, Py_ssize_t *used):
        cdef ResponseHead head = read_response(
            self._at, self._end - self._at, &self._bounds, self._to_head, self._upgrade, used
        )
        if head is not None:
            self.head = head
        return head

    cdef int _head_over(self) except -1:
        if self.head.status == 101:
            self._state = UNTIL_CLOSE
        elif self.head.status < 200:
            self._interim += 1
            if self._interim > _MAX_INTERIM_RESPONSES:
                raise BadMessage(502, f"the server sent more than {MAX_INTERIM_RESPONSES} interim responses")
            self._state = STARTING
        elif self.head.body == BODY_UNTIL_CLOSE:
            self._state = UNTIL_CLOSE
        elif self.head.body == BODY_CHUNKED:
            self._state = IN_CHUNK_LINE
        else:
            self._state = IN_LENGTH if self.head.body == BODY_LENGTH and self.head.length > 0 else AFTER_BODY
        return 0
