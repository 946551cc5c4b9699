# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Heads of messages: reading them strictly, and what is known of them afterwards.

A head is read in one go, from its first octet: nothing is kept of one that is not whole. No object is made of a field
that is only passed on.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memchr, memcmp

from tlsnodes.http.fields cimport (
    CLAIM, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, REMOVED, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE, Span,
    clean, copied, decimal, is_authority, is_target, same, token_size,
)  # fmt: skip
from tlsnodes.http.section cimport (
    Section, claims_of, grammar, kept_lines, line_size, read_section, tokens, too_large, values_of, without_nominated,
)  # fmt: skip

from tlsnodes.http.messages import BadMessage, Framing
from tlsnodes.http.names import CLAIM_PREFIXES, CLAIMS, HOP_BY_HOP, METHODS

cdef dict _METHODS = {method: method for method in METHODS}
cdef bytes _GET = b"GET"
cdef bytes _POST = b"POST"
cdef tuple _FRAMINGS = tuple(Framing)

cdef dict _REQUEST_KINDS = {
    **{name: REMOVED for name in HOP_BY_HOP},
    **{name: CLAIM for name in CLAIMS},
    b"host": HOST,
    b"cookie": COOKIE,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"expect": EXPECT,
    b"upgrade": UPGRADE,
    b"te": TE,
}
cdef dict _RESPONSE_KINDS = {
    **{name: REMOVED for name in HOP_BY_HOP},
    b"set-cookie": SET_COOKIE,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"upgrade": UPGRADE,
}
cdef FieldTable _RESPONSE_TABLE = FieldTable(_RESPONSE_KINDS, fold=False)


def request_table(removed=()):
    """What the names of a request's fields mean.

    Args:
        removed: names that clients must not send, either; at most 31 octets each.

    Raises:
        ValueError: one is longer, or they are more than some fifty.
    """
    more = {name.lower().replace(b"_", b"-"): CLAIM for name in removed}
    return FieldTable({**more, **_REQUEST_KINDS}, CLAIM_PREFIXES, fold=True)


cdef class Head:
    """What requests and responses have in common; see the stub."""

    @property
    def framing(self):
        return _FRAMINGS[<int>self.body]

    @property
    def content_length(self):
        return None if self.length < 0 else self.length

    def fields(self):
        """The fields that are passed on, as (name, value) in the order received."""
        parts = [line.partition(b":") for line in self.lines.split(b"\r\n") if line]
        return [(name, value[1:]) for name, _, value in parts]

    def get(self, bytes name not None):
        """The value of the first field of that lower-case name among those that are passed on, or None."""
        cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(self.lines)
        cdef const uint8_t *end = at + PyBytes_GET_SIZE(self.lines)
        cdef const uint8_t *after
        cdef Py_ssize_t size = PyBytes_GET_SIZE(name)
        while at < end:
            after = <const uint8_t *>memchr(at, c"\n", end - at) + 1
            if after - at > size + 2 and at[size] == c":" and same(at, size, PyBytes_AS_STRING(name), size):
                at += size + 1
                if at[0] == c" ":
                    at += 1
                return PyBytes_FromStringAndSize(<const char *>at, after - 2 - at)
            at = after
        return None

    def _values(self):
        raise NotImplementedError

    def __eq__(self, other):
        return type(self) is type(other) and self._values() == (<Head>other)._values()

    __hash__ = None

    def __repr__(self):
        return f"{type(self).__name__}{self._values()}"


@cython.final
cdef class RequestHead(Head):
    """A request that passed all checks; see the stub."""

    def _values(self):
        return (
            self.method, self.target, self.authority, self.http_1_0, self.lines, self.cookie, self.claims,
            self.framing, self.length, self.keep_alive, self.expects_continue, self.takes_trailers, self.upgrade,
        )  # fmt: skip


@cython.final
cdef class ResponseHead(Head):
    """A response that passed all checks; see the stub."""

    def _values(self):
        return (
            self.status, self.reason, self.http_1_0, self.lines, self.set_cookies, self.framing, self.length,
            self.keep_alive, self.upgrade,
        )  # fmt: skip


cdef int _read_connection(Head head, Section *section, FieldTable table) except -1:
    """keep_alive, and for requests takes_trailers and upgrade; what it nominates leaves the lines."""
    cdef frozenset connection
    head.keep_alive = not head.http_1_0
    if section.count[<int>CONNECTION] == 0:
        return 0
    if section.count[<int>CONNECTION] == 1:  # nearly all there ever is
        if same(section.first[<int>CONNECTION].at, section.first[<int>CONNECTION].size, b"keep-alive", 10):
            head.keep_alive = True
            return 0
        if same(section.first[<int>CONNECTION].at, section.first[<int>CONNECTION].size, b"close", 5):
            head.keep_alive = False
            return 0
    connection = tokens(values_of(section, CONNECTION, table))
    head.keep_alive = b"close" not in connection and (head.keep_alive or b"keep-alive" in connection)
    head.lines = without_nominated(head.lines, connection)
    if head.http_1_0:  # RFC 9110, 7.8
        return 0
    if b"upgrade" in connection and section.count[<int>UPGRADE]:
        protocols = tokens(values_of(section, UPGRADE, table)) - {b"h2c"}  # RFC 9113, 3.1: no longer in use
        if len(protocols) == 1:
            (head.upgrade,) = protocols
        elif protocols and not section.response:
            raise BadMessage(501, "an upgrade to a choice of protocols is not supported")
    if not section.response and b"te" in connection and section.count[<int>TE]:
        (<RequestHead>head).takes_trailers = b"trailers" in tokens(values_of(section, TE, table))
    return 0


cdef inline bint is_digit(uint8_t octet) noexcept:
    return c"0" <= octet <= c"9"


cdef bytes _method(const uint8_t *data, Py_ssize_t size):
    """Raises:
        BadMessage: for one that we do not know.
    """
    if size == 3 and memcmp(data, b"GET", 3) == 0:
        return _GET
    if size == 4 and memcmp(data, b"POST", 4) == 0:
        return _POST
    name = PyBytes_FromStringAndSize(<const char *>data, size)
    method = _METHODS.get(name)
    if method is None:
        if name == b"CONNECT" or name == b"TRACE":
            raise BadMessage(501, f"method {name.decode()} is not supported")
        if name == b"PRI":
            grammar("the preface of HTTP/2", False)
        raise BadMessage(501, "the request method is not known")
    return method


cdef RequestHead read_request(
    const uint8_t *data, Py_ssize_t size, const Bounds *bounds, FieldTable table, Py_ssize_t *used
):
    cdef Section section
    cdef Span target, host
    cdef Py_ssize_t length
    cdef RequestHead head
    cdef Py_ssize_t line = line_size(data, size, min(bounds.line, bounds.size), False)
    if line < 0:
        if line == -3:
            if bounds.line < bounds.size:
                raise BadMessage(414, f"a request line of more than {bounds.line} bytes")
            too_large(bounds.size, "a header")
        return None

    # request-line = method SP request-target SP HTTP-version (RFC 9112, 3)
    length = token_size(data, line)
    if length == 0 or data[length] != c" ":
        grammar("a bad request line", False)
    head = RequestHead.__new__(RequestHead)
    head.method = _method(data, length)
    target.at = data + length + 1
    target.size = line - length - 1 - 9
    if target.size <= 0 or memcmp(target.at + target.size, b" HTTP/1.1", 9) != 0:
        head.http_1_0 = _is_http_1_0(&target, line - length - 1)
    if not is_target(target) or target.size == 0:
        grammar("the request target is not valid", False)

    section.data = data + line + 2
    section.kind = b"header"
    section.response = False
    if not read_section(&section, size - line - 2, line + 2, bounds, table):
        return None
    used[0] = line + 2 + section.size
    head.lines = kept_lines(&section)
    head.claims = claims_of(&section, table) if section.count[<int>CLAIM] else b""

    if section.count[<int>HOST] != 1:  # RFC 9112, 3.2
        raise BadMessage(
            400,
            f"{section.count[<int>HOST]} Host fields, expected one" if section.count[<int>HOST] else "no Host field",
        )
    host = section.first[<int>HOST]
    if target.at[0] == c"/":
        head.target = copied(target)
    else:
        _read_other_form(head, target, &host)
    if not is_authority(host):
        raise BadMessage(400, "the host name is not valid")
    head.authority = copied(host)
    _read_connection(head, &section, table)
    _frame_request(head, &section)
    if section.count[<int>EXPECT] and not head.http_1_0:  # RFC 9110, 10.1.1: from HTTP/1.0 it is ignored
        if tokens(values_of(&section, EXPECT, table)) != {b"100-continue"}:
            raise BadMessage(417, "an expectation other than 100-continue")
        head.expects_continue = head.body != BODY_NONE
    if section.count[<int>COOKIE] == 1:
        head.cookie = copied(section.first[<int>COOKIE])
    elif section.count[<int>COOKIE]:  # RFC 6265, 5.4
        head.cookie = b"; ".join(values_of(&section, COOKIE, table))
    if head.upgrade is not None and (head.length > 0 or head.body == BODY_CHUNKED):
        raise BadMessage(400, "a request for an upgrade that has a body")
    return head


cdef bint _is_http_1_0(Span *target, Py_ssize_t rest) except -1:
    """What the request line has in place of HTTP/1.1; raises unless it is HTTP/1.0."""
    cdef const uint8_t *version
    if memchr(target.at, c" ", rest) == NULL and rest > 0:
        raise BadMessage(505, "HTTP/0.9 is not supported")
    if target.size <= 0:
        grammar("a bad request line", False)
    version = target.at + target.size
    if memcmp(version, b" HTTP/1.0", 9) == 0:
        return True
    if memcmp(version, b" HTTP/", 6) == 0 and version[7] == c"." and is_digit(version[6]) and is_digit(version[8]):
        if version[6] != c"1":
            raise BadMessage(505, f"HTTP/{chr(version[6])}.{chr(version[8])} is not supported")
    grammar("a bad version", False)


cdef int _read_other_form(RequestHead head, Span target, Span *host) except -1:
    """A target that is not in origin-form (RFC 9112, 3.2.2 to 3.2.4)."""
    cdef Py_ssize_t scheme = 0
    cdef Span authority
    if target.size == 1 and target.at[0] == c"*":
        if head.method != b"OPTIONS":
            raise BadMessage(400, "the target * is for OPTIONS only")
        head.target = b"*"
        return 0
    if target.size > 7 and same(target.at, 7, b"http://", 7):
        scheme = 7
    elif target.size > 8 and same(target.at, 8, b"https://", 8):
        scheme = 8
    else:
        grammar("the request target is not valid", False)
    authority.at = target.at + scheme
    authority.size = 0
    while scheme + authority.size < target.size and authority.at[authority.size] not in (c"/", c"?"):
        authority.size += 1
    # The RFC lets the target win; two opinions about the host are how caches get poisoned, so they are refused.
    if copied(authority).lower() != copied(host[0]).lower():
        raise BadMessage(400, "the target and the Host field disagree")
    host[0] = authority
    path = PyBytes_FromStringAndSize(
        <const char *>authority.at + authority.size, target.size - scheme - authority.size
    )
    if not path.startswith(b"/"):
        path = b"/" + path if path or head.method != b"OPTIONS" else b"*"
    head.target = path
    return 0


cdef int _frame_request(RequestHead head, Section *section) except -1:
    """RFC 9112, 6.3."""
    cdef Span coding = section.first[<int>TRANSFER_ENCODING]
    if section.count[<int>TRANSFER_ENCODING]:
        if section.count[<int>CONTENT_LENGTH]:
            grammar("both Transfer-Encoding and Content-Length", False)
        if head.http_1_0:  # RFC 9112, 6.1
            grammar("Transfer-Encoding in an HTTP/1.0 request", False)
        if section.count[<int>TRANSFER_ENCODING] > 1:
            grammar("more than one Transfer-Encoding", False)
        if not same(coding.at, coding.size, b"chunked", 7):
            raise BadMessage(501, "a transfer coding other than chunked")
        head.body = BODY_CHUNKED
    elif section.count[<int>CONTENT_LENGTH]:
        if section.count[<int>CONTENT_LENGTH] > 1:
            grammar("more than one Content-Length", False)
        head.length = decimal(section.first[<int>CONTENT_LENGTH])
        if head.length < 0:
            grammar("Content-Length is not a number", False)
        head.body = BODY_LENGTH
    return 0


cdef ResponseHead read_response(
    const uint8_t *data, Py_ssize_t size, const Bounds *bounds, bint to_head, bytes upgrade, Py_ssize_t *used
):
    cdef Section section
    cdef ResponseHead head
    cdef Py_ssize_t line = line_size(data, size, bounds.size, True)
    if line < 0:
        if line == -3:
            too_large(bounds.size, "a header")
        return None

    # status-line = HTTP-version SP status-code SP [ reason-phrase ] (RFC 9112, 4); the last SP is often left out
    head = ResponseHead.__new__(ResponseHead)
    if (
        line < 12 or memcmp(data, b"HTTP/", 5) != 0 or not is_digit(data[5]) or data[6] != c"."
        or not is_digit(data[7]) or data[8] != c" " or not is_digit(data[9]) or not is_digit(data[10])
        or not is_digit(data[11]) or not (line == 12 or data[12] == c" ") or not clean(data, line)
    ):  # fmt: skip
        grammar("a bad status line", True)
    if data[5] != c"1" or data[7] > c"1":
        raise BadMessage(502, f"the server speaks HTTP/{chr(data[5])}.{chr(data[7])}")
    head.http_1_0 = data[7] == c"0"
    head.status = (data[9] - c"0") * 100 + (data[10] - c"0") * 10 + data[11] - c"0"
    head.reason = PyBytes_FromStringAndSize(<const char *>data + 13, line - 13) if line > 13 else b""

    section.data = data + line + 2
    section.kind = b"header"
    section.response = True
    if not read_section(&section, size - line - 2, line + 2, bounds, _RESPONSE_TABLE):
        return None
    used[0] = line + 2 + section.size
    head.lines = kept_lines(&section)
    head.set_cookies = ()
    if section.count[<int>SET_COOKIE]:
        head.set_cookies = tuple(values_of(&section, SET_COOKIE, _RESPONSE_TABLE))
    _read_connection(head, &section, _RESPONSE_TABLE)
    if head.status < 100 or (head.status == 101 and (upgrade is None or head.upgrade != upgrade)):
        raise BadMessage(502, f"the server answered with status {head.status}")
    if head.status != 101:
        head.upgrade = None
    _frame_response(head, &section, to_head)
    return head


cdef int _frame_response(ResponseHead head, Section *section, bint to_head) except -1:
    """RFC 9112, 6.3."""
    cdef Span coding = section.first[<int>TRANSFER_ENCODING]
    head.length = -1
    if section.count[<int>CONTENT_LENGTH]:
        if section.count[<int>TRANSFER_ENCODING] or section.count[<int>CONTENT_LENGTH] > 1:
            grammar("two lengths", True)
        head.length = decimal(section.first[<int>CONTENT_LENGTH])
        if head.length < 0:
            grammar("Content-Length is not a number", True)
    if head.status < 200 or head.status == 204 or head.status == 304 or to_head:  # no body, whatever the fields say
        head.body = BODY_NONE
        if head.status < 200 or head.status == 204:
            head.length = -1
    elif section.count[<int>TRANSFER_ENCODING]:
        if (
            head.http_1_0
            or section.count[<int>TRANSFER_ENCODING] > 1
            or not same(coding.at, coding.size, b"chunked", 7)
        ):
            raise BadMessage(502, "the server's response has a transfer coding other than chunked")
        head.body = BODY_CHUNKED
    elif head.length >= 0:
        head.body = BODY_LENGTH
    else:
        head.body = BODY_UNTIL_CLOSE
        head.keep_alive = False
    return 0
