"""The session id that an application gives its clients: where a request shows it, where a response sets it [P2].

A request has it in a parameter of the URL, be it of the path (RFC 3986, 3.3) as in `/cart;jsessionid=4711` or of the
query as in `/cart?sid=4711`, or in a field of its header. A response says it in the same field, in the URL of its
Location, or in a cookie.
"""

from __future__ import annotations

import re
from enum import Enum
from urllib.parse import unquote_to_bytes

from tlsnodes.persistence.set_cookie import cookie_expiry, parse_set_cookie

MAX_ID_BYTES = 256

_VISIBLE = re.compile(rb"[!-~]+\Z")
_LOCATION = re.compile(rb"^location:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


class IdRefusal(Enum):
    """Why an id counts as absent."""

    TOO_LONG = "too_long"  # more than MAX_ID_BYTES
    MALFORMED = "malformed"  # other octets than visible ASCII
    AMBIGUOUS = "ambiguous"  # the request has several, and which of them the server takes is not known


class ApplicationId:
    """Where the id of one vserver's application stands.

    Args:
        parameter: of URLs; None: there it does not stand.
        header: the name of the field; None: there is none.
        cookie: that responses set it in; None: they don't.
    """

    __slots__ = ("_cookie", "_field", "_in_path", "_in_query", "_parameter")

    def __init__(self, *, parameter: str | None, header: str | None, cookie: str | None) -> None:
        self._cookie = None if cookie is None else cookie.encode()
        self._parameter = None if parameter is None else parameter.encode() + b"="
        name = re.escape(self._parameter or b"")
        self._in_path = re.compile(rb";%b([^;/]*)" % name)
        self._in_query = re.compile(rb"(?:^|&)%b([^&]*)" % name)
        self._field = None
        if header is not None:
            # The lines of a head are checked: a name that begins one can't stand within a value.
            lines = rb"^%b:[ \t]*([^\r\n]*)" % re.escape(header.encode())
            self._field = re.compile(lines, re.IGNORECASE | re.MULTILINE)

    def in_request(self, target: bytes, lines: bytes) -> bytes | IdRefusal | None:
        """The id that a request shows; None: it shows none.

        Args:
            target: in origin-form.
            lines: the fields of the header, `Name: value` CRLF each.
        """
        found: list[bytes] = [] if self._field is None else self._field.findall(lines)
        found += self._in_url(target)
        ids = {value for value in found if value}
        if not ids:
            return None
        if len(ids) > 1:
            return IdRefusal.AMBIGUOUS
        return _checked(ids.pop())

    def in_response(self, lines: bytes, set_cookies: tuple[bytes, ...], now_s: float) -> bytes | None:
        """The id that a response sets; None: it sets none that is of use.

        Args:
            lines: the fields of the header, `Name: value` CRLF each.
            set_cookies: values of the Set-Cookie fields.
            now_s: seconds since the epoch.
        """
        values: list[bytes] = [] if self._field is None else self._field.findall(lines)
        if self._parameter is not None and self._parameter in lines:
            values += [value for url in _LOCATION.findall(lines) for value in self._in_url(url.partition(b"#")[0])]
        if self._cookie is not None:
            values += self._in_cookies(set_cookies, now_s)
        for value in values:
            found = _checked(value)
            if isinstance(found, bytes):
                return found
        return None

    def _in_url(self, url: bytes) -> list[bytes]:
        if self._parameter is None or self._parameter not in url:
            return []
        path, _, query = url.partition(b"?")
        return [unquote_to_bytes(value) for value in self._in_path.findall(path) + self._in_query.findall(query)]

    def _in_cookies(self, set_cookies: tuple[bytes, ...], now_s: float) -> list[bytes]:
        found = []
        for field in set_cookies:
            cookie = parse_set_cookie(field)
            if cookie.name == self._cookie:
                expiry_s = cookie_expiry(cookie.attributes, now_s)
                if expiry_s is None or expiry_s > now_s:  # else it is taken away
                    found.append(cookie.value)
        return found


def _checked(value: bytes) -> bytes | IdRefusal:
    if len(value) > MAX_ID_BYTES:
        return IdRefusal.TOO_LONG
    return value if _VISIBLE.match(value) else IdRefusal.MALFORMED
