from libc.stdint cimport uint8_t

from tlsnodes.http.fields cimport FieldTable
from tlsnodes.http.section cimport Bounds

# How the end of a body is known (RFC 9112, 6.3); the order is that of `Framing` in messages.py.
cdef enum Body:
    BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_UNTIL_CLOSE

cdef class Head:
    cdef readonly bytes lines            # the fields that are passed on: "Name: value\r\n"…
    cdef readonly bint http_1_0
    cdef readonly bint keep_alive
    cdef readonly bytes upgrade          # protocol, lower case; None
    cdef Body body
    cdef long long length                # see content_length

cdef class RequestHead(Head):
    cdef readonly bytes method
    cdef readonly bytes target
    cdef readonly bytes authority
    cdef readonly bytes cookie           # None if there is none
    cdef readonly bytes claims           # lines that a proxy may set, as the client sent them; b"" if there are none
    cdef readonly bint expects_continue
    cdef readonly bint takes_trailers

cdef class ResponseHead(Head):
    cdef readonly int status
    cdef readonly bytes reason
    cdef readonly tuple set_cookies

# The head at `data`, *used octets long; None if it is not whole.
cdef RequestHead read_request(
    const uint8_t *data, Py_ssize_t size, const Bounds *bounds, FieldTable table, Py_ssize_t *used
)
cdef ResponseHead read_response(
    const uint8_t *data, Py_ssize_t size, const Bounds *bounds, bint to_head, bytes upgrade, Py_ssize_t *used
)
