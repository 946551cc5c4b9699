# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Heads and chunks as the other side gets them: made anew, never what was received as it was."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport realloc
from libc.string cimport memcpy

from tlsnodes.http.fields cimport copied
from tlsnodes.http.heads cimport BODY_CHUNKED, BODY_LENGTH, BODY_UNTIL_CLOSE

from tlsnodes.http.messages import Framing

LAST_CHUNK = b"0\r\n\r\n"
cdef tuple _FRAMINGS = tuple(Framing)

cdef uint8_t *_buffer = NULL
cdef Py_ssize_t _capacity = 0
cdef uint8_t *_at = NULL


cdef inline int _begin(Py_ssize_t size) except -1:
    """Make room for `size` octets."""
    global _buffer, _capacity, _at
    cdef uint8_t *larger
    if size > _capacity:
        larger = <uint8_t *>realloc(_buffer, 2 * size)
        if larger == NULL:
            raise MemoryError
        _buffer = larger
        _capacity = 2 * size
    _at = _buffer
    return 0


cdef inline void _put(const void *data, Py_ssize_t size) noexcept:
    global _at
    memcpy(_at, data, size)
    _at += size


cdef inline void _put_bytes(bytes data) noexcept:
    _put(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef inline Py_ssize_t _size(bytes data) noexcept:
    return PyBytes_GET_SIZE(data) if data is not None else 0


cdef void _put_number(unsigned long long number) noexcept:
    cdef uint8_t digits[20]
    cdef int index = 20
    while True:
        index -= 1
        digits[index] = <uint8_t>(c"0" + number % 10)
        number //= 10
        if number == 0:
            break
    _put(digits + index, 20 - index)


cdef inline Span _written() noexcept:
    cdef Span span
    span.at = _buffer
    span.size = _at - _buffer
    return span


cdef Span request_octets(RequestHead head, bytes cookie, bytes proxy_fields) except *:
    _begin(
        256
        + _size(head.method)
        + _size(head.target)
        + _size(head.authority)
        + _size(head.lines)
        + _size(cookie)
        + _size(head.upgrade)
        + _size(proxy_fields)
    )
    _put_bytes(head.method)
    _put(b" ", 1)
    _put_bytes(head.target)
    _put(b" HTTP/1.1\r\nHost: ", 17)
    _put_bytes(head.authority)
    _put(b"\r\n", 2)
    _put_bytes(head.lines)
    if cookie is not None:
        _put(b"Cookie: ", 8)
        _put_bytes(cookie)
        _put(b"\r\n", 2)
    if head.body == BODY_LENGTH:
        _put(b"Content-Length: ", 16)
        _put_number(head.length)
        _put(b"\r\n", 2)
    elif head.body == BODY_CHUNKED:
        _put(b"Transfer-Encoding: chunked\r\n", 28)
    if head.expects_continue:
        _put(b"Expect: 100-continue\r\n", 22)
    if head.upgrade is not None:
        _put(b"Connection: upgrade\r\nUpgrade: ", 30)
        _put_bytes(head.upgrade)
        _put(b"\r\n", 2)
    _put_bytes(proxy_fields)
    _put(b"\r\n", 2)
    return _written()


cdef Body client_body(ResponseHead head, bint http_1_0) noexcept:
    if head.body == BODY_CHUNKED or head.body == BODY_UNTIL_CLOSE:
        return BODY_UNTIL_CLOSE if http_1_0 else BODY_CHUNKED
    return head.body


cdef Span response_octets(
    ResponseHead head, bytes proxy_fields, bint keep_alive, bint http_1_0, tuple set_cookies
) except *:
    cdef Py_ssize_t size = 256 + _size(head.reason) + _size(head.lines) + _size(head.upgrade) + _size(proxy_fields)
    for value in set_cookies:
        size += len(value) + 14
    _begin(size)
    _put(b"HTTP/1.1 ", 9)
    _put_number(head.status)
    _put(b" ", 1)
    _put_bytes(head.reason)
    _put(b"\r\n", 2)
    _put_bytes(head.lines)
    for value in set_cookies:
        _put(b"Set-Cookie: ", 12)
        _put_bytes(value)
        _put(b"\r\n", 2)
    if head.status >= 200:
        if head.length >= 0:
            _put(b"Content-Length: ", 16)
            _put_number(head.length)
            _put(b"\r\n", 2)
        elif client_body(head, http_1_0) == BODY_CHUNKED:
            _put(b"Transfer-Encoding: chunked\r\n", 28)
        if not keep_alive:
            _put(b"Connection: close\r\n", 19)
        elif http_1_0:
            _put(b"Connection: keep-alive\r\n", 24)
    elif head.upgrade is not None:
        _put(b"Connection: upgrade\r\nUpgrade: ", 30)
        _put_bytes(head.upgrade)
        _put(b"\r\n", 2)
    _put_bytes(proxy_fields)
    _put(b"\r\n", 2)
    return _written()


def encode_request(RequestHead head not None, *, bytes cookie, bytes proxy_fields not None):
    """The head of the request as the server gets it: HTTP/1.1, connection to be kept.

    Args:
        head: the client's request.
        cookie: the Cookie field's value, if there shall be one.
        proxy_fields: lines that the proxy adds, see `tlsnodes.http.forwarding`.
    """
    return copied(request_octets(head, cookie, proxy_fields))


def encode_response(
    ResponseHead head not None,
    *,
    bytes proxy_fields not None,
    bint keep_alive=True,
    bint http_1_0=False,
    tuple set_cookies=(),
):
    """The head of a response, interim ones too, as the client gets it.

    Args:
        head: the server's response.
        proxy_fields: lines that the proxy adds.
        keep_alive: the client's connection stays.
        http_1_0: the client speaks HTTP/1.0.
        set_cookies: values of Set-Cookie fields to add.
    """
    return copied(response_octets(head, proxy_fields, keep_alive, http_1_0, set_cookies))


def client_framing(ResponseHead head not None, *, bint http_1_0):
    """How the body goes to the client: of unknown length it is chunked, to HTTP/1.0 until the connection closes."""
    return _FRAMINGS[<int>client_body(head, http_1_0)]


cdef Py_ssize_t write_chunk_line(uint8_t *out, size_t size) noexcept:
    cdef int digits = 1
    cdef int index
    while digits < 16 and size >> (4 * digits):
        digits += 1
    for index in range(digits):
        out[index] = <uint8_t>b"0123456789abcdef"[(size >> (4 * (digits - 1 - index))) & 15]
    out[digits] = c"\r"
    out[digits + 1] = c"\n"
    return digits + 2


def encode_chunk(bytes data not None):
    """One chunk of RFC 9112, 7.1; `data` must not be empty, which would be the last one."""
    cdef uint8_t line[18]
    cdef Py_ssize_t size = write_chunk_line(line, PyBytes_GET_SIZE(data))
    return PyBytes_FromStringAndSize(<const char *>line, size) + data + b"\r\n"


def last_chunk(bytes trailers not None):
    """What ends a chunked body; `trailers` are lines, or b""."""
    return b"0\r\n" + trailers + b"\r\n" if trailers else LAST_CHUNK
