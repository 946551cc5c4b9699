"""Where an application's session id stands in requests and responses, and what is none."""

from __future__ import annotations

import pytest

from tlsnodes.persistence.application_id import MAX_ID_BYTES, ApplicationId, IdRefusal

BOTH = ApplicationId(parameter="sid", header="X-Session", cookie="APPLICATION")
LONG = b"x" * MAX_ID_BYTES


@pytest.mark.parametrize(
    ("target", "lines", "expected"),
    [
        (b"/", b"", None),
        (b"*", b"", None),
        (b"/a;sid=1", b"", b"1"),
        (b"/a;sid=1/b;c=2?sid2=3", b"", b"1"),
        (b"/a;x=1;sid=2;y=3", b"", b"2"),
        (b"/a?sid=1", b"", b"1"),
        (b"/a?b=c&sid=1&d", b"", b"1"),
        (b"/a?sid=1;2/3?4", b"", b"1;2/3?4"),
        (b"/a?sid=", b"", None),
        (b"/a;sid=", b"", None),
        (b"/sid=1", b"", None),
        (b"/a?xsid=1&sidx=1&SID=1;sid=1", b"", None),
        (b"/a;sid=1;sid=1?sid=%31", b"", b"1"),
        (b"/a?sid=a%3D%3d", b"", b"a=="),
        (b"/a;sid=1?sid=2", b"", IdRefusal.AMBIGUOUS),
        (b"/a?sid=" + LONG, b"", LONG),
        (b"/a?sid=" + LONG + b"x", b"", IdRefusal.TOO_LONG),
        (b"/a?sid=%20", b"", IdRefusal.MALFORMED),
        (b"/a?sid=%", b"", b"%"),
        (b"/", b"Accept: a\r\nx-session: 1\r\nB: c\r\n", b"1"),
        (b"/", b"X-Session:\r\n", None),
        (b"/", b"X-Session: 1 2\r\n", IdRefusal.MALFORMED),
        (b"/", b"X-Session: caf\xe9\r\n", IdRefusal.MALFORMED),
        (b"/", b"X-Session: 1\r\nX-SESSION: 2\r\n", IdRefusal.AMBIGUOUS),
        (b"/?sid=1", b"X-Session: 1\r\n", b"1"),
        (b"/?sid=2", b"X-Session: 1\r\n", IdRefusal.AMBIGUOUS),
        (b"/", b"X-Session-Other: 1\r\nY: X-Session: 2\r\nX.Session: 3\r\n", None),
    ],
)
def test_requests(target: bytes, lines: bytes, expected: bytes | IdRefusal | None) -> None:
    assert BOTH.in_request(target, lines) == expected


@pytest.mark.parametrize(
    ("lines", "set_cookies", "expected"),
    [
        (b"", (), None),
        (b"X-Session: 1\r\n", (), b"1"),
        (b"X-Session:\r\n", (), None),
        (b"Location: /a;sid=1#sid=2\r\n", (), b"1"),
        (b"location: https://a.example/?sid=1\r\n", (), b"1"),
        (b"Location: /#?sid=1\r\n", (), None),
        (b"Link: </a?sid=1>\r\n", (), None),
        (b"", (b"APPLICATION=1; Path=/",), b"1"),
        (b"", (b"OTHER=1", b"application=2", b"APPLICATION=; Max-Age=0"), None),
        (b"", (b"APPLICATION=gone; Max-Age=0", b"APPLICATION=1; Max-Age=5"), b"1"),
        (b"X-Session: " + LONG + b"x\r\n", (b"APPLICATION=1",), b"1"),
        (b"X-Session: 1\r\n", (b"APPLICATION=2",), b"1"),
    ],
)
def test_responses(lines: bytes, set_cookies: tuple[bytes, ...], expected: bytes | None) -> None:
    assert BOTH.in_response(lines, set_cookies, 1000.0) == expected


def test_only_what_is_configured_counts() -> None:
    target, lines, cookies = b"/;sid=1", b"X-Session: 2\r\nLocation: /?sid=3\r\n", (b"APPLICATION=4",)
    for where, request, response in (
        (ApplicationId(parameter="sid", header=None, cookie=None), b"1", b"3"),
        (ApplicationId(parameter=None, header="x-session", cookie=None), b"2", b"2"),
        (ApplicationId(parameter="other", header=None, cookie="APPLICATION"), None, b"4"),
    ):
        assert where.in_request(target, lines) == request
        assert where.in_response(lines, cookies, 0.0) == response


def test_names_are_no_patterns() -> None:
    where = ApplicationId(parameter="s.d", header="X.Session", cookie=None)
    assert where.in_request(b"/;sid=1?s.d=2", b"X-Session: 3\r\n") == b"2"
