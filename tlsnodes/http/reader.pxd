from libc.stdint cimport uint8_t

from tlsnodes.http.fields cimport FieldTable
from tlsnodes.http.heads cimport Head, RequestHead, ResponseHead
from tlsnodes.http.section cimport Bounds

cdef enum Event:
    NEED_MORE    # nothing else in what was given: keep_rest(), then give() more
    HEAD         # `head`
    DATA         # `data`, `size`: a part of the body, never empty; valid until give() or keep_rest()
    END          # of the message; `trailers` are those of a chunked body
    VIOLATION    # `violation`; and again at each further call

cdef enum State:
    STARTING        # a message may begin
    IN_HEAD
    AFTER_BODY      # END is due
    IN_LENGTH
    IN_CHUNK_LINE
    IN_CHUNK
    AFTER_CHUNK
    IN_TRAILERS
    UNTIL_CLOSE
    WAITING         # no response is awaited: whatever comes is a violation
    BROKEN

cdef class MessageReader:
    cdef readonly bytes trailers         # lines of the message that END ended; b"" if there were none
    cdef readonly object violation       # `Violation`, or None
    cdef const uint8_t *data
    cdef Py_ssize_t size

    cdef Bounds _bounds
    cdef bint _response
    cdef State _state
    cdef const uint8_t *_at              # what is not used yet, up to _end
    cdef const uint8_t *_end
    cdef uint8_t *_own                   # a buffer of ours, or NULL
    cdef Py_ssize_t _own_size
    cdef bint _kept                      # _at points into it
    cdef Py_ssize_t _searched            # octets of an unfinished head or trailers that were looked at
    cdef long long _remaining            # octets of the body, or of the chunk
    cdef Py_ssize_t _extensions          # octets of chunk extensions

    # Input, borrowed until it is used up or keep_rest(). What was given before must be one or the other.
    cdef int give(self, const uint8_t *data, Py_ssize_t size) except -1
    cdef Event next(self) except? VIOLATION
    # Copies what is not used yet; without any, frees the buffer. What is kept is at most a head or a chunk's line
    # if next() said NEED_MORE, else what was given and not asked for.
    cdef int keep_rest(self) except -1
    # Octets given and not used.
    cdef Py_ssize_t pending(self) noexcept
    # From here on all input is DATA: after 101 (the response reader does so by itself).
    cpdef void tunnel(self) noexcept

    cdef Event _next(self) except? VIOLATION
    cdef Event _part(self) noexcept
    cdef bint _begins(self) except -1
    cdef Head _read_head(self, Py_ssize_t *used)
    cdef int _head_over(self) except -1
    cdef bint _grown(self) noexcept
    cdef bint _read_chunk_line(self) except -1
    cdef bint _read_trailers(self) except -1

cdef class RequestReader(MessageReader):
    cdef readonly RequestHead head
    cdef FieldTable _table
    cdef int _empty_lines

cdef class ResponseReader(MessageReader):
    cdef readonly ResponseHead head
    cdef bint _to_head
    cdef bytes _upgrade
    cdef int _interim
    # Before each response: the request's method, and the protocol if it asked for an upgrade.
    cpdef begin(self, bytes method, bytes upgrade=*)
    # The server closed and nothing is pending: END if that is how the response ends, else VIOLATION.
    cdef Event finish(self) except? VIOLATION
