from libc.stdint cimport uint8_t

from tlsnodes.http.fields cimport KINDS, FieldTable, Kind, Span

cdef struct Bounds:
    Py_ssize_t size
    Py_ssize_t line
    Py_ssize_t chunk_line
    int fields

cdef struct Section:             # field lines up to the empty one
    const uint8_t *data
    Py_ssize_t size              # with the empty line, once it has been read
    const char *kind             # "header" or "trailer", for sentences
    bint response
    Span first[<int>KINDS]              # by Kind: value of the first one
    int count[<int>KINDS]               # by Kind: how many there are
    Py_ssize_t kept              # octets in the scratch buffer: the lines to be passed on

cdef int grammar(str what, bint response) except -1
cdef int too_large(Py_ssize_t size, str what) except -1
cdef Py_ssize_t line_size(const uint8_t *data, Py_ssize_t size, Py_ssize_t limit, bint response) except -2
cdef bint read_section(
    Section *section, Py_ssize_t size, Py_ssize_t before, const Bounds *bounds, FieldTable table
) except -1
cdef bytes kept_lines(Section *section)
cdef list values_of(Section *section, Kind kind, FieldTable table)
cdef bytes claims_of(Section *section, FieldTable table)
cdef frozenset tokens(list values)
cdef bytes without_nominated(bytes lines, frozenset connection)
# The trailers at `data` that may be passed on, as lines; None if they are not whole.
cdef bytes read_trailers(const uint8_t *data, Py_ssize_t size, const Bounds *bounds, bint response, Py_ssize_t *used)
