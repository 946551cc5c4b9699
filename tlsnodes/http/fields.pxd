from libc.stdint cimport uint8_t, uint32_t

# What a name means; everything but ORDINARY and SET_COOKIE is not passed on as it is.
cdef enum Kind:
    ORDINARY, REMOVED, CLAIM, HOST, COOKIE, SET_COOKIE, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, EXPECT
    UPGRADE, TE
    KINDS        # how many there are

cdef struct Span:
    const uint8_t *at
    Py_ssize_t size

cdef struct FieldLine:
    Span name
    Span value          # without the whitespace around it
    Kind kind
    bint tidy           # exactly one space after the colon and none at the end

cdef class FieldTable:
    cdef list _entries                  # keeps the names alive
    cdef uint32_t _initials[32]         # by length of name: which letters the names begin with
    cdef int _first[33]                 # by length: where its names begin below
    cdef const uint8_t *_names[96]
    cdef uint8_t _kinds[96]
    cdef const uint8_t *_prefixes[8]
    cdef int _prefix_sizes[8]
    cdef int _prefix_count
    cdef uint32_t _prefix_initials
    cdef bint _fold
    cdef Kind kind(self, const uint8_t *name, Py_ssize_t size) noexcept

cdef const char *read_line(const uint8_t *line, Py_ssize_t size, FieldTable table, FieldLine *out) noexcept
cdef bint same(const uint8_t *data, Py_ssize_t size, const char *lower, Py_ssize_t lower_size) noexcept
cdef bint clean(const uint8_t *data, Py_ssize_t size) noexcept
cdef Py_ssize_t token_size(const uint8_t *data, Py_ssize_t size) noexcept
cdef long long decimal(Span value) noexcept
cdef bytes copied(Span value)
cdef bint is_authority(Span value) noexcept
cdef bint is_target(Span value) noexcept
