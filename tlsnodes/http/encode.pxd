from libc.stdint cimport uint8_t

from tlsnodes.http.fields cimport Span
from tlsnodes.http.heads cimport Body, RequestHead, ResponseHead

# Heads as the other side gets them. The octets lie in one shared buffer, until the next of these calls.
cdef Span request_octets(RequestHead head, bytes cookie, bytes proxy_fields) except *
cdef Span response_octets(
    ResponseHead head, bytes proxy_fields, bint keep_alive, bint http_1_0, tuple set_cookies
) except *
# How the body goes to the client: of unknown length it is chunked, to HTTP/1.0 until the connection closes.
cdef Body client_body(ResponseHead head, bint http_1_0) noexcept
# The line before a chunk's data, which CRLF must follow: at most 18 octets to `out`; how many.
cdef Py_ssize_t write_chunk_line(uint8_t *out, size_t size) noexcept
