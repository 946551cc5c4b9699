# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Field lines up to an empty line, as heads and trailers have them.

Line by line they are checked, and those that are passed on are copied to one buffer, of which an object is made once.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport realloc
from libc.string cimport memchr, memcpy, memset

from tlsnodes.http.fields cimport CLAIM, ORDINARY, REMOVED, SET_COOKIE, FieldLine, copied, read_line

from tlsnodes.http.messages import BadMessage
from tlsnodes.http.names import CLAIM_PREFIXES, CLAIMS, HOP_BY_HOP, NOT_IN_TRAILERS

cdef frozenset _NEVER_NOMINATED = frozenset((b"close", b"keep-alive", b"upgrade", b"te"))
cdef dict _TRAILER_KINDS = {name: REMOVED for name in (*HOP_BY_HOP, *CLAIMS, *NOT_IN_TRAILERS)}
cdef FieldTable _TRAILER_TABLE = FieldTable(_TRAILER_KINDS, CLAIM_PREFIXES, fold=True)

# Lines to be passed on, while a section is read: shared by all, since nothing else runs meanwhile.
cdef uint8_t *_scratch = NULL
cdef Py_ssize_t _scratch_size = 0


cdef int grammar(str what, bint response) except -1:
    """Raise for what is no HTTP/1.1."""
    if response:
        raise BadMessage(502, f"the server's response is not HTTP/1.1: {what}")
    raise BadMessage(400, f"not HTTP/1.1: {what}")


cdef int too_large(Py_ssize_t size, str what) except -1:
    raise BadMessage(431, f"{what} of more than {size} bytes")


cdef Py_ssize_t line_size(
    const uint8_t *data, Py_ssize_t size, Py_ssize_t limit, bint response
) except -2:
    """Octets of the line at `data` without its CRLF; -1: not whole, -3: more than `limit` with it."""
    cdef const uint8_t *feed = <const uint8_t *>memchr(data, c"\n", min(size, limit))
    if feed == NULL:
        return -3 if size >= limit else -1
    if feed == data or (feed - 1)[0] != c"\r":
        grammar("a line feed without a carriage return", response)
    return feed - 1 - data


cdef inline int _keep(const void *data, Py_ssize_t size, Py_ssize_t at) except -1:
    """Copy to the scratch buffer at `at`."""
    global _scratch, _scratch_size
    cdef uint8_t *larger
    if at + size > _scratch_size:
        larger = <uint8_t *>realloc(_scratch, 2 * (at + size) + 4096)
        if larger == NULL:
            raise MemoryError
        _scratch = larger
        _scratch_size = 2 * (at + size) + 4096
    memcpy(_scratch + at, data, size)
    return 0


cdef int _keep_line(FieldLine *line, Py_ssize_t *kept) except -1:
    """Copy a field line as it is passed on."""
    cdef Py_ssize_t size
    if line.tidy:  # with its CRLF
        size = line.value.at + line.value.size + 2 - line.name.at
        _keep(line.name.at, size, kept[0])
        kept[0] += size
        return 0
    _keep(line.name.at, line.name.size, kept[0])
    kept[0] += line.name.size
    _keep(b": ", 2, kept[0])
    kept[0] += 2 if line.value.size else 1
    _keep(line.value.at, line.value.size, kept[0])
    kept[0] += line.value.size
    _keep(b"\r\n", 2, kept[0])
    kept[0] += 2
    return 0


cdef bint read_section(
    Section *section, Py_ssize_t size, Py_ssize_t before, const Bounds *bounds, FieldTable table
) except -1:
    """Read field lines at `section.data` up to the empty one; False if it is not there.

    Args:
        section: `data`, `kind` and `response` are set.
        size: octets that are there.
        before: octets of the start line.
        bounds: of the head.
        table: what the names mean.
    """
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t length
    cdef int fields = 0
    cdef FieldLine line
    cdef const char *fault
    memset(section.count, 0, sizeof(section.count))
    section.kept = 0
    while True:
        length = line_size(section.data + at, size - at, bounds.size - before - at, section.response)
        if length < 0:
            if length == -3:
                too_large(bounds.size, f"a {section.kind.decode()}")
            return False
        if length == 0:
            section.size = at + 2
            return True
        fields += 1
        if fields > bounds.fields:
            raise BadMessage(431, f"more than {bounds.fields} {section.kind.decode()} fields")
        fault = read_line(section.data + at, length, table, &line)
        if fault != NULL:
            grammar(fault.decode(), section.response)
        if line.kind == ORDINARY or line.kind == SET_COOKIE:
            _keep_line(&line, &section.kept)
        if line.kind != ORDINARY:
            if section.count[<int>line.kind] == 0:
                section.first[<int>line.kind] = line.value
            section.count[<int>line.kind] += 1
        at += length + 2


cdef list values_of(Section *section, Kind kind, FieldTable table):
    """The values of all fields of a kind, of a section that was read."""
    cdef FieldLine line
    cdef list values = []
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t length
    while at < section.size - 2:
        length = <const uint8_t *>memchr(section.data + at, c"\n", section.size - at) - 1 - (section.data + at)
        read_line(section.data + at, length, table, &line)
        if line.kind == kind:
            values.append(copied(line.value))
        at += length + 2
    return values


cdef bytes claims_of(Section *section, FieldTable table):
    """The lines of kind CLAIM, of a section that was read and whose kept lines are no longer needed."""
    cdef FieldLine line
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t kept = 0
    cdef Py_ssize_t length
    while at < section.size - 2:
        length = <const uint8_t *>memchr(section.data + at, c"\n", section.size - at) - 1 - (section.data + at)
        read_line(section.data + at, length, table, &line)
        if line.kind == CLAIM:
            _keep_line(&line, &kept)
        at += length + 2
    return PyBytes_FromStringAndSize(<const char *>_scratch, kept)


cdef bytes kept_lines(Section *section):
    """The lines that are passed on, of the section that was read last."""
    return PyBytes_FromStringAndSize(<const char *>_scratch if section.kept else NULL, section.kept)


cdef frozenset tokens(list values):
    """The elements of a list field, lower case (RFC 9110, 5.6.1)."""
    return frozenset([token.strip(b" \t").lower() for value in values for token in value.split(b",")]) - {b""}


cdef bytes without_nominated(bytes lines, frozenset connection):
    """The lines that the Connection field does not name as hop-by-hop (RFC 9110, 7.6.1)."""
    nominated = connection - _NEVER_NOMINATED
    if not nominated:
        return lines
    return b"".join(
        [line for line in lines.splitlines(True) if line.partition(b":")[0].lower() not in nominated]
    )


cdef bytes read_trailers(const uint8_t *data, Py_ssize_t size, const Bounds *bounds, bint response, Py_ssize_t *used):
    """The trailers at `data` that may be passed on, as lines; None if they are not whole."""
    cdef Section section
    section.data = data
    section.kind = b"trailer"
    section.response = response
    if not read_section(&section, size, 0, bounds, _TRAILER_TABLE):
        return None
    used[0] = section.size
    return kept_lines(&section)
