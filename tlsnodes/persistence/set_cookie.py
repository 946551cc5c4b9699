"""Reading a Set-Cookie field as browsers do (RFC 6265, 5.1.1 and 5.2)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

_DELIMITERS = re.compile(rb"[\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME = re.compile(rb"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\D.*)?\Z", re.DOTALL)
_DAY = re.compile(rb"(\d{1,2})(?:\D.*)?\Z", re.DOTALL)
_YEAR = re.compile(rb"(\d{2,4})(?:\D.*)?\Z", re.DOTALL)
_SECONDS = re.compile(rb"-?[0-9]+\Z")
_MONTHS = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")


class SetCookie(NamedTuple):
    """One Set-Cookie field.

    Attributes:
        name: of the cookie, stripped.
        value: stripped.
        attributes: from the first semicolon on, byte for byte; may be empty.
    """

    name: bytes
    value: bytes
    attributes: bytes


def parse_set_cookie(field: bytes) -> SetCookie:
    """Split a Set-Cookie field's value; without an equals sign the name is empty."""
    pair, semicolon, rest = field.partition(b";")
    name, equals, value = pair.partition(b"=")
    if not equals:
        name, value = b"", pair
    return SetCookie(name.strip(b" \t"), value.strip(b" \t"), semicolon + rest)


def cookie_expiry(attributes: bytes, now_s: float) -> float | None:
    """When a cookie with these attributes ends, in seconds since the epoch; None: with the browser's session.

    Max-Age goes before Expires; of several of one kind the last counts (RFC 6265, 5.3). A time that is not after
    `now_s` means that the cookie is deleted.
    """
    expires: float | None = None
    max_age: float | None = None
    for attribute in attributes.split(b";"):
        name, _, value = attribute.partition(b"=")
        name, value = name.strip(b" \t").lower(), value.strip(b" \t")
        if name == b"max-age" and _SECONDS.match(value):
            seconds = int(value[:12])
            max_age = now_s + seconds if seconds > 0 else 0.0
        elif name == b"expires":
            date = parse_cookie_date(value)
            expires = expires if date is None else date
    return expires if max_age is None else max_age


def parse_cookie_date(text: bytes) -> float | None:
    """Seconds since the epoch of a cookie-date (RFC 6265, 5.1.1); None when it is not one."""
    clock: tuple[int, int, int] | None = None
    day = month = year = None
    for token in _DELIMITERS.split(text):
        if clock is None and (match := _TIME.match(token)):
            clock = (int(match[1]), int(match[2]), int(match[3]))
        elif day is None and (match := _DAY.match(token)):
            day = int(match[1])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and (match := _YEAR.match(token)):
            year = int(match[1])
    if clock is None or day is None or month is None or year is None:
        return None
    if year < 100:
        year += 1900 if year >= 70 else 2000
    try:
        return datetime(year, month, day, *clock, tzinfo=UTC).timestamp() if year >= 1601 else None
    except ValueError:
        return None
