"""Tokens, Set-Cookie and cookie injection [P1]."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from math import inf

import pytest

from tlsnodes.persistence.cookie import REMEMBERED, Binding, CookieInjection
from tlsnodes.persistence.set_cookie import cookie_expiry, parse_cookie_date, parse_set_cookie
from tlsnodes.persistence.token import AuthenticatedToken, PlainToken, Refusal

NOW = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
CODEC = AuthenticatedToken(secret=b"s" * 32, vserver_id=3, vserver_name="web")
INJECTION = CookieInjection(session_cookie="SESSION", server_cookie="SpServer", codec=CODEC)
TOKEN = CODEC.encode(7, None)


def test_a_token_names_its_server_until_it_expires() -> None:
    token = CODEC.encode(7, int(NOW) + 60)
    assert len(token) == 32
    assert CODEC.decode(token, NOW) == (7, NOW + 60)
    assert CODEC.decode(token, NOW + 59) == (7, NOW + 60)
    assert CODEC.decode(token, NOW + 60) is Refusal.EXPIRED
    assert CODEC.decode(TOKEN, NOW + 10**9) == (7, inf)


def test_every_changed_bit_is_noticed() -> None:
    raw = urlsafe_b64decode(TOKEN)
    for bit in range(8 * len(raw)):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        expected = Refusal.FOREIGN if bit < 16 else Refusal.FORGED
        assert CODEC.decode(urlsafe_b64encode(changed), NOW) is expected


def test_every_truncation_and_other_garbage_is_malformed() -> None:
    for length in range(len(TOKEN)):
        assert CODEC.decode(TOKEN[:length], NOW) is Refusal.MALFORMED
    for token in (TOKEN + b"A", b"!" * 32, b"\xff" * 32, TOKEN[:-1] + b"=", b"=" * 32, b" " + TOKEN[:31]):
        assert CODEC.decode(token, NOW) is Refusal.MALFORMED


@pytest.mark.parametrize(
    ("other", "refusal"),
    [
        (AuthenticatedToken(secret=b"s" * 32, vserver_id=4, vserver_name="shop"), Refusal.FOREIGN),
        (AuthenticatedToken(secret=b"s" * 32, vserver_id=3, vserver_name="shop"), Refusal.FORGED),
        (AuthenticatedToken(secret=b"t" * 32, vserver_id=3, vserver_name="web"), Refusal.FORGED),
    ],
)
def test_tokens_of_other_vservers_and_secrets(other: AuthenticatedToken, refusal: Refusal) -> None:
    assert CODEC.decode(other.encode(7, None), NOW) is refusal


def test_the_expiry_of_a_token_fits_for_ever() -> None:
    assert CODEC.decode(CODEC.encode(7, 10**15), NOW) == (7, 2**32 - 1)


def test_plain_tokens() -> None:
    plain = PlainToken()
    assert plain.encode(12, 99) == b"12"
    assert plain.decode(b"12", NOW) == (12, inf)
    for bad in (b"", b"x", b"-1", b"1.0", b"1" * 6, "\u0661".encode()):
        assert plain.decode(bad, NOW) is Refusal.MALFORMED


@pytest.mark.parametrize(
    ("cookie", "expected"),
    [
        (None, Binding(None, None, None)),
        (b"a=1; b=2", Binding(None, None, b"a=1; b=2")),
        (b"SpServer=" + TOKEN, Binding(7, None, None)),
        (b"SpServer=" + TOKEN + b"; a=1", Binding(7, None, b"a=1")),
        (b"a=1; SpServer=" + TOKEN, Binding(7, None, b"a=1")),
        (b'a=1;  b="x;y" ; SpServer=' + TOKEN + b";c = 3", Binding(7, None, b'a=1;  b="x;y" ;c = 3')),
        (b"a=1;SpServer=" + TOKEN + b";b=2", Binding(7, None, b"a=1;b=2")),
        (b"SpServer=bad; SpServer=" + TOKEN + b"; a=1", Binding(7, None, b"a=1")),
        (b"SpServer=bad; a=1; SpServer=worse", Binding(None, Refusal.MALFORMED, b"a=1")),
        (b"xSpServer=" + TOKEN, Binding(None, None, b"xSpServer=" + TOKEN)),
        (b"spserver=" + TOKEN, Binding(None, None, b"spserver=" + TOKEN)),
        (b"SpServer", Binding(None, None, b"SpServer")),
        (b"a=SpServer=1", Binding(None, None, b"a=SpServer=1")),
        (b" SpServer = " + TOKEN + b" ", Binding(7, None, None)),
    ],
)
def test_the_server_cookie_is_read_and_taken_out(cookie: bytes | None, expected: Binding) -> None:
    assert INJECTION.read_request(cookie, NOW) == expected


def test_what_is_remembered_of_a_cookie_ends_with_its_token() -> None:
    cookie = b"a=1; SpServer=" + CODEC.encode(7, int(NOW) + 60)
    for _ in range(2):
        assert INJECTION.read_request(cookie, NOW + 59) == Binding(7, None, b"a=1")
    assert INJECTION.read_request(cookie, NOW + 60) == Binding(None, Refusal.EXPIRED, b"a=1")


def test_more_cookies_than_are_remembered_are_read_all_the_same() -> None:
    plain = CookieInjection(session_cookie="SESSION", server_cookie="SpServer", codec=PlainToken())
    for _ in range(2):
        for number in range(REMEMBERED + 2):
            assert plain.read_request(b"SpServer=%d; a=%d" % (number, number), NOW) == (number, None, b"a=%d" % number)


@pytest.mark.parametrize(
    "attributes",
    [
        b"",
        b"; Path=/; HttpOnly",
        b"; Domain=example.test; Path=/app; Secure; HttpOnly; SameSite=None; Partitioned; Max-Age=3600",
        b"; Expires=Sun, 01 Mar 2026 01:00:00 GMT; path=/",
        b";Max-Age=600 ;  Expires=Thu, 01 Jan 1970 00:00:00 GMT",  # Max-Age goes first
        b"; Max-Age=junk; Unknown=1",
    ],
)
def test_the_server_cookie_gets_the_same_attributes(attributes: bytes) -> None:
    (added,) = INJECTION.read_response((b"SESSION=abc" + attributes,), 7, NOW)
    name, _, rest = added.partition(b"=")
    token, kept = rest[:32], rest[32:]
    assert (name, kept) == (b"SpServer", attributes)
    assert CODEC.decode(token, NOW) == (7, cookie_expiry(attributes, NOW) or inf)


@pytest.mark.parametrize(
    "attributes",
    [
        b"; Max-Age=0; Path=/",
        b"; Max-Age=-5",
        b"; Path=/; Expires=Thu, 01-Jan-1970 00:00:00 GMT",
        b"; Expires=Sunday, 28-Feb-26 23:59:59 GMT",
        b"; Max-Age=60; Max-Age=0",
    ],
)
def test_the_server_cookie_is_deleted_with_the_session_cookie(attributes: bytes) -> None:
    assert INJECTION.read_response((b"SESSION=" + attributes,), 7, NOW) == (b"SpServer=" + attributes,)


def test_the_token_expires_with_the_session_cookie() -> None:
    (added,) = INJECTION.read_response((b"SESSION=x; Max-Age=60",), 7, NOW)
    token = added[len(b"SpServer=") :][:32]
    assert CODEC.decode(token, NOW + 59) == (7, NOW + 60)
    assert CODEC.decode(token, NOW + 61) is Refusal.EXPIRED


def test_other_cookies_bring_no_server_cookie() -> None:
    others = (b"OTHER=1", b"SESSION", b"=SESSION", b"session=1", b"x=SESSION=1", b"")
    assert INJECTION.read_response(others, 7, NOW) == ()


def test_each_session_cookie_is_followed() -> None:
    added = INJECTION.read_response((b"SESSION=1; Path=/a", b"x=1", b"SESSION=2; Path=/b"), 7, NOW)
    assert [a.partition(b"; ")[2] for a in added] == [b"Path=/a", b"Path=/b"]


def test_set_cookie_is_split_as_browsers_do() -> None:
    assert parse_set_cookie(b" a = b=c ; x; y") == (b"a", b"b=c", b"; x; y")
    assert parse_set_cookie(b"novalue; x") == (b"", b"novalue", b"; x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"Sun, 06 Nov 1994 08:49:37 GMT", datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)),
        (b"Sun Nov  6 08:49:37 1994", datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)),
        (b"6 november 2069 1:2:3", datetime(2069, 11, 6, 1, 2, 3, tzinfo=UTC)),
        (b"6 Nov 69 1:2:3", datetime(2069, 11, 6, 1, 2, 3, tzinfo=UTC)),
        (b"31 Feb 2020 00:00:00", None),
        (b"6 Nov 2020 24:00:00", None),
        (b"6 Nov 1600 00:00:00", None),
        (b"6 Nov 2020", None),
        (b"0", None),
        (b"", None),
    ],
)
def test_cookie_dates(text: bytes, expected: datetime | None) -> None:
    assert parse_cookie_date(text) == (expected.timestamp() if expected else None)


def test_expiry_of_a_session_cookie_and_of_one_for_ever() -> None:
    assert cookie_expiry(b"; Path=/; Expires=never", NOW) is None
    forever = cookie_expiry(b"; Max-Age=" + b"9" * 5000, NOW)
    assert forever is not None
    assert forever > NOW + 10**9
