# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""One field line: its grammar (RFC 9110, 5; RFC 9112, 5) and what its name means."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcpy, memset

# One octet each: 0 if it cannot stand in a token, else what it is compared as ("_" as "-", upper case as lower).
cdef uint8_t FOLDED[256]
cdef uint8_t HOST_CHARACTER[256]


def _fill_tables():
    memset(FOLDED, 0, 256)
    memset(HOST_CHARACTER, 0, 256)
    letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    for octet in letters + b"!#$%&'*+-.^_`|~":
        FOLDED[octet] = ord(chr(octet).lower().replace("_", "-"))
    for octet in letters + b"._~!$&'()*+,;=%-":
        HOST_CHARACTER[octet] = 1


_fill_tables()


cdef class FieldTable:
    """Names and what they mean; made once, used for every message.

    Args:
        kinds: lower-case name → kind.
        prefixes: every name that begins like this is a CLAIM.
        fold: a name that differs from a known one by "_" for "-" is REMOVED.
    """

    def __init__(self, dict kinds, prefixes=(), *, bint fold):
        cdef int index = 0
        self._fold = fold
        self._entries = sorted(kinds, key=len)
        memset(self._initials, 0, sizeof(self._initials))
        if len(kinds) > 96 or len(prefixes) > 8:
            raise ValueError("too many names")
        if any([not 0 < len(name) < 32 for name in kinds]):
            raise ValueError("a name that is too long, or empty")
        for size in range(33):
            self._first[size] = index
            while index < len(self._entries) and len(self._entries[index]) == size:
                name = self._entries[index]
                self._names[index] = <const uint8_t *><const char *>name
                self._kinds[index] = kinds[name]
                self._initials[size] |= <uint32_t>1 << (name[0] & 31)
                index += 1
        prefixes = tuple(prefixes)
        self._entries.append(prefixes)
        self._prefix_count = len(prefixes)
        self._prefix_initials = 0
        for index, prefix in enumerate(prefixes):
            self._prefixes[index] = <const uint8_t *><const char *>prefix
            self._prefix_sizes[index] = len(prefix)
            self._prefix_initials |= <uint32_t>1 << (prefix[0] & 31)

    cdef Kind kind(self, const uint8_t *name, Py_ssize_t size) noexcept:
        cdef uint32_t initial = <uint32_t>1 << (name[0] & 31)
        cdef int index
        if size < 32 and self._initials[size] & initial:
            for index in range(self._first[size], self._first[size + 1]):
                if _folds_to(name, self._names[index], size):
                    if memchr(name, c"_", size) != NULL:
                        return REMOVED if self._fold else ORDINARY
                    return <Kind>self._kinds[index]
        if self._prefix_initials & initial:
            for index in range(self._prefix_count):
                if size > self._prefix_sizes[index] and _folds_to(
                    name, self._prefixes[index], self._prefix_sizes[index]
                ):
                    return REMOVED if memchr(name, c"_", size) != NULL else CLAIM
        return ORDINARY


cdef inline bint _folds_to(const uint8_t *name, const uint8_t *known, Py_ssize_t size) noexcept:
    cdef Py_ssize_t index
    for index in range(size):
        if FOLDED[name[index]] != known[index]:
            return False
    return True


cdef const char *read_line(const uint8_t *line, Py_ssize_t size, FieldTable table, FieldLine *out) noexcept:
    """Take a line apart; `line[size]` must be its CR. Returns what is wrong with it, NULL if nothing is."""
    cdef Py_ssize_t colon = 0
    cdef Py_ssize_t start
    cdef Py_ssize_t end = size
    while FOLDED[line[colon]]:  # the CR ends it
        colon += 1
    if colon == 0 or line[colon] != c":":
        if colon == 0 and (line[0] == c" " or line[0] == c"\t"):
            return b"a line that begins with whitespace"
        if colon < size and (line[colon] == c" " or line[colon] == c"\t"):
            return b"whitespace before a colon"
        return b"a bad field name"
    start = colon + 1
    out.tidy = start == size or line[start] == c" "
    if start < size and line[start] == c" ":
        start += 1
        out.tidy = start < size
    while start < end and (line[start] == c" " or line[start] == c"\t"):
        start += 1
        out.tidy = False
    while end > start and (line[end - 1] == c" " or line[end - 1] == c"\t"):
        end -= 1
        out.tidy = False
    if not clean(line + start, end - start):
        return b"a control character in a field's value"
    out.name.at = line
    out.name.size = colon
    out.value.at = line + start
    out.value.size = end - start
    out.kind = table.kind(line, colon)
    return NULL


cdef bint clean(const uint8_t *data, Py_ssize_t size) noexcept:
    """No control characters but the tab. Eight octets at a time; a borrow can only find too much, never too little."""
    cdef uint64_t word, low, deleted
    cdef const uint8_t *end = data + size
    while end - data >= 8:
        memcpy(&word, data, 8)
        low = (word - <uint64_t>0x2020202020202020) & ~word  # below 0x20
        deleted = word ^ <uint64_t>0x7F7F7F7F7F7F7F7F  # 0x7F becomes 0
        deleted = (deleted - <uint64_t>0x0101010101010101) & ~deleted
        if (low | deleted) & <uint64_t>0x8080808080808080:
            break
        data += 8
    while data < end:
        if (data[0] < 0x20 and data[0] != 9) or data[0] == 0x7F:
            return False
        data += 1
    return True


cdef bint same(const uint8_t *data, Py_ssize_t size, const char *lower, Py_ssize_t lower_size) noexcept:
    """Equal but for case; `lower` is lower case and has no underscore."""
    cdef Py_ssize_t index
    cdef uint8_t octet
    if size != lower_size:
        return False
    for index in range(size):
        octet = data[index]
        if c"A" <= octet <= c"Z":
            octet |= 0x20
        if octet != <uint8_t>lower[index]:
            return False
    return True


cdef Py_ssize_t token_size(const uint8_t *data, Py_ssize_t size) noexcept:
    """How many octets of a token `data` begins with."""
    cdef Py_ssize_t index = 0
    while index < size and FOLDED[data[index]]:
        index += 1
    return index


cdef long long decimal(Span value) noexcept:
    """RFC 9110, 8.6: decimal digits and nothing else, fewer than 19 so that nothing overflows; else -1."""
    cdef long long number = 0
    cdef Py_ssize_t index
    if not 0 < value.size < 19:
        return -1
    for index in range(value.size):
        if not c"0" <= value.at[index] <= c"9":
            return -1
        number = number * 10 + (value.at[index] - c"0")
    return number


cdef bytes copied(Span value):
    return PyBytes_FromStringAndSize(<const char *>value.at, value.size)


cdef bint is_authority(Span value) noexcept:
    """uri-host [":" port] of RFC 9110, 7.2 without user information; brackets hold an IPv6 address."""
    cdef Py_ssize_t index = 0
    cdef uint8_t octet
    if value.size and value.at[0] == c"[":
        index = 1
        while index < value.size and value.at[index] != c"]":
            octet = value.at[index]
            if not (c"0" <= octet <= c":" or octet == c"." or c"a" <= octet | 0x20 <= c"f"):
                return False
            index += 1
        if index == 1 or index == value.size:
            return False
        index += 1
    else:
        while index < value.size and HOST_CHARACTER[value.at[index]]:
            index += 1
        if index == 0:
            return False
    if index == value.size:
        return True
    if value.at[index] != c":" or not 1 < value.size - index < 7:
        return False
    for index in range(index + 1, value.size):
        if not c"0" <= value.at[index] <= c"9":
            return False
    return True


cdef bint is_target(Span value) noexcept:
    """Visible ASCII but "#", which is for the client alone (RFC 9112, 3.2; RFC 3986, 3.5)."""
    cdef Py_ssize_t index
    for index in range(value.size):
        if not 0x21 <= value.at[index] <= 0x7E or value.at[index] == c"#":
            return False
    return True
