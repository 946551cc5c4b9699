"""How a server is named in a cookie: a token that only the array can make [P1].

    vserver id (16 bits) · server id (16) · expiry (32, seconds since the epoch, 0 for none) · MAC (128)

in URL-safe base64, 32 characters. The MAC is HMAC-SHA256 cut to 128 bits (RFC 2104, 5) under a key of the vserver's
own, derived from the secret and the vserver's name. The plain form, as in the DLBA, is the server id in decimal.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from enum import Enum
from math import inf
from struct import Struct
from typing import NamedTuple, Protocol

_BODY = Struct(">HHI")
_MAC_SIZE = 16
_TOKEN_SIZE = (_BODY.size + _MAC_SIZE) * 4 // 3
_LABEL = b"pentaflow server token 1 "
_LAST_EXPIRY = 2**32 - 1


class Refusal(Enum):
    """Why a token counts as absent."""

    MALFORMED = "malformed"  # not a token: wrong length or alphabet
    FOREIGN = "foreign"  # it names another vserver
    FORGED = "forged"  # the MAC is wrong
    EXPIRED = "expired"


class NamedServer(NamedTuple):
    """What a valid token says; `expires_s`: since the epoch, infinite for none."""

    server_id: int
    expires_s: float


class TokenCodec(Protocol):
    """A way to name a server in a cookie value."""

    def encode(self, server_id: int, expiry_s: int | None) -> bytes:
        """The value for a server; `expiry_s` is in seconds since the epoch, None for the browser's session."""
        ...

    def decode(self, token: bytes, now_s: float) -> NamedServer | Refusal:
        """The server in a value that came from a client."""
        ...


class AuthenticatedToken:
    """The authenticated form.

    Args:
        secret: at least 16 bytes, the same on all nodes.
        vserver_id: 16 bits.
        vserver_name: what the key is derived for.
    """

    __slots__ = ("_key", "_vserver_id")

    def __init__(self, *, secret: bytes, vserver_id: int, vserver_name: str) -> None:
        self._key = hmac.digest(secret, _LABEL + vserver_name.encode(), "sha256")
        self._vserver_id = vserver_id

    def encode(self, server_id: int, expiry_s: int | None) -> bytes:
        """See `TokenCodec`."""
        body = _BODY.pack(self._vserver_id, server_id, min(expiry_s or 0, _LAST_EXPIRY))
        return urlsafe_b64encode(body + self._mac(body))

    def decode(self, token: bytes, now_s: float) -> NamedServer | Refusal:
        """See `TokenCodec`; the MAC is compared in constant time."""
        if len(token) != _TOKEN_SIZE:
            return Refusal.MALFORMED
        try:
            raw = urlsafe_b64decode(token)
        except ValueError:
            return Refusal.MALFORMED
        if len(raw) != _BODY.size + _MAC_SIZE:  # what is not in the alphabet was skipped
            return Refusal.MALFORMED
        body = raw[: _BODY.size]
        vserver_id, server_id, expiry_s = _BODY.unpack(body)
        if vserver_id != self._vserver_id:
            return Refusal.FOREIGN
        if not hmac.compare_digest(raw[_BODY.size :], self._mac(body)):
            return Refusal.FORGED
        if expiry_s and expiry_s <= now_s:
            return Refusal.EXPIRED
        return NamedServer(server_id, expiry_s or inf)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_MAC_SIZE]


class PlainToken:
    """The plain-integer form: a client can choose its server."""

    __slots__ = ()

    def encode(self, server_id: int, expiry_s: int | None) -> bytes:
        """See `TokenCodec`; the expiry is left to the browser."""
        return b"%d" % server_id

    def decode(self, token: bytes, now_s: float) -> NamedServer | Refusal:
        """See `TokenCodec`."""
        return NamedServer(int(token), inf) if token.isdigit() and len(token) <= 5 else Refusal.MALFORMED
