"""Cookie injection [P1]: a second cookie that follows the session cookie and names the server."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from tlsnodes.persistence.set_cookie import cookie_expiry, parse_set_cookie
from tlsnodes.persistence.token import Refusal, TokenCodec

REMEMBERED = 4096
"""How many cookies that name a server are remembered: one of a connection that stays comes with each request."""
MAX_REMEMBERED_BYTES = 512
"""The longest of them, so that what is remembered has a bound."""


class Binding(NamedTuple):
    """What a request's cookies say.

    Attributes:
        server_id: the server that the client belongs to; None when it belongs to none.
        refusal: why there is none although a server cookie came.
        cookie: the Cookie field's value for the server: the others byte for byte, None when none is left.
    """

    server_id: int | None
    refusal: Refusal | None
    cookie: bytes | None


class CookieInjection:
    """The rules of one vserver.

    Args:
        session_cookie: the application's own cookie.
        server_cookie: the one that is added.
        codec: how the latter names a server.
    """

    __slots__ = ("_codec", "_older", "_recent", "_server_cookie", "_session_cookie")

    def __init__(self, *, session_cookie: str, server_cookie: str, codec: TokenCodec) -> None:
        self._session_cookie = session_cookie.encode()
        self._server_cookie = server_cookie.encode()
        self._codec = codec
        # Cookie field → when what is bound by it ends, and what it says; two generations of half the number each.
        self._recent: dict[bytes, tuple[float, Binding]] = {}
        self._older: dict[bytes, tuple[float, Binding]] = {}

    def read_request(self, cookie: bytes | None, now_s: float) -> Binding:
        """Take the server cookie out of a Cookie field; of several the first that is valid counts."""
        if cookie is None or self._server_cookie not in cookie:
            return Binding(None, None, cookie)
        known = self._recent.get(cookie) or self._older.get(cookie)
        if known is not None and now_s < known[0]:
            return known[1]
        expires_s, binding = self._read(cookie, now_s)
        if binding.server_id is not None and len(cookie) <= MAX_REMEMBERED_BYTES:
            if len(self._recent) >= REMEMBERED // 2:
                self._older, self._recent = self._recent, {}
            self._recent[cookie] = (expires_s, binding)
        return binding

    def examine(self, cookie: bytes | None, now_s: float) -> Binding:
        """What `read_request` would say; nothing is remembered."""
        return Binding(None, None, None) if cookie is None else self._read(cookie, now_s)[1]

    def _read(self, cookie: bytes, now_s: float) -> tuple[float, Binding]:
        kept: list[bytes] = []
        expires_s = inf
        server_id: int | None = None
        refusal: Refusal | None = None
        for part in cookie.split(b";"):
            key, equals, value = part.partition(b"=")
            if not equals or key.strip(b" \t") != self._server_cookie:
                kept.append(part)
            elif server_id is None:
                found = self._codec.decode(value.strip(b" \t"), now_s)
                if isinstance(found, Refusal):
                    refusal = refusal or found
                else:
                    (server_id, expires_s), refusal = found, None
        rest = b";".join(kept).lstrip(b" \t")
        return expires_s, Binding(server_id, refusal, rest or None)

    def read_response(self, set_cookies: tuple[bytes, ...], server_id: int, now_s: float) -> tuple[bytes, ...]:
        """The Set-Cookie values to add to a response of `server_id` that has these.

        One for each that sets the session cookie, with the same attributes byte for byte; where that deletes the
        session cookie, they delete this one too.
        """
        added: tuple[bytes, ...] = ()
        for field in set_cookies:
            session = parse_set_cookie(field)
            if session.name != self._session_cookie:
                continue
            expiry_s = cookie_expiry(session.attributes, now_s)
            if expiry_s is not None and expiry_s <= now_s:
                token = b""
            else:
                token = self._codec.encode(server_id, None if expiry_s is None else int(expiry_s))
            added += (b"%b=%b%b" % (self._server_cookie, token, session.attributes),)
        return added
