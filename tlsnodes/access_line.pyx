"""One line of the access log, as JSON: see tlsnodes.access_log, whose every request comes by here."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport llrint
from libc.stdint cimport uint8_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from json.encoder import encode_basestring_ascii

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object) noexcept
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL

cdef enum:
    ESCAPED = 6  # the most that becomes of an octet, which is \u00ff
    FIXED = 640  # keys, numbers, brackets and quotes, with room to spare

cdef const char *_HEX = b"0123456789abcdef"


def encode_access(access, bytes time not None):
    """The line; `access` is an `Access`, `time` its `ended_at` up to the second, in ISO 8601."""
    cdef Py_ssize_t room = FIXED + len(time)
    cdef char *line
    cdef char *at
    cdef str text
    cdef double ended_at
    if not isinstance(access, tuple):
        raise TypeError(f"an Access is wanted, not {access!r}")
    # Without a check, since Cython's wants a tuple and nothing made of it.
    ended_at, vserver, client, tls, method, host, target, status, server, chosen_by, bytes_in, bytes_out, \
        first_byte_s, duration_s, retries, refused, request_id = <tuple>access
    for text in (vserver, client, tls, server, chosen_by, refused):
        room += ESCAPED * 2 * len(text)  # beyond the basic plane a character becomes a pair
    for octets in (method, host, target, request_id):
        room += ESCAPED * len(octets)
    line = at = <char *>malloc(room)
    if line is NULL:
        raise MemoryError
    try:
        at += snprintf(
            at, FIXED, '{"time":"%s.%03dZ","vserver":', PyBytes_AS_STRING(time), <int>((ended_at % 1) * 1000)
        )
        at = _text(at, vserver)
        at = _text(_raw(at, b',"client":'), client)
        at = _text(_raw(at, b',"tls":'), tls)
        at = _octets(_raw(at, b',"method":'), method)
        at = _octets(_raw(at, b',"host":'), host)
        at = _octets(_raw(at, b',"target":'), target)
        at += snprintf(at, FIXED, ',"status":%d,"server":', <int>status)
        at = _text(at, server)
        at = _text(_raw(at, b',"chosen_by":'), chosen_by)
        at += snprintf(
            at, FIXED, ',"bytes_in":%lld,"bytes_out":%lld,"first_byte_ms":', <long long>bytes_in, <long long>bytes_out
        )
        at = _raw(at, b"null") if first_byte_s is None else _milliseconds(at, first_byte_s)
        at = _milliseconds(_raw(at, b',"duration_ms":'), duration_s)
        at += snprintf(at, FIXED, ',"retries":%d,"refused":', <int>retries)
        at = _text(at, refused)
        at = _octets(_raw(at, b',"request_id":'), request_id)
        at = _raw(at, b"}\n")
        return PyBytes_FromStringAndSize(line, at - line)
    finally:
        free(line)


cdef char *_raw(char *at, bytes octets) noexcept:
    memcpy(at, PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))
    return at + PyBytes_GET_SIZE(octets)


cdef char *_milliseconds(char *at, double seconds) noexcept:
    cdef long long micros = llrint(seconds * 1e6)
    return at + snprintf(at, 32, "%lld.%03lld", micros // 1000, micros % 1000)


cdef char *_text(char *at, str text) except NULL:
    cdef Py_ssize_t size
    cdef const char *octets
    if PyUnicode_IS_COMPACT_ASCII(text):
        octets = PyUnicode_AsUTF8AndSize(text, &size)
        return _quoted(at, <const uint8_t *>octets, size)
    return _raw(at, encode_basestring_ascii(text).encode())


cdef char *_octets(char *at, bytes octets) noexcept:
    """What a client sent: each octet is the character of its number."""
    return _quoted(at, <const uint8_t *>PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))


cdef char *_quoted(char *at, const uint8_t *octets, Py_ssize_t size) noexcept:
    """A string of JSON (RFC 8259, 7), in ASCII."""
    cdef Py_ssize_t i
    cdef uint8_t octet
    at[0] = c'"'
    at += 1
    for i in range(size):
        octet = octets[i]
        if octet == c'"' or octet == c"\\":
            at[0] = c"\\"
            at[1] = octet
            at += 2
        elif c" " <= octet <= c"~":
            at[0] = octet
            at += 1
        else:
            memcpy(at, b"\\u00", 4)
            at[4] = _HEX[octet >> 4]
            at[5] = _HEX[octet & 15]
            at += 6
    at[0] = c'"'
    return at + 1
