"""Where a client of plain HTTP finds the same thing over TLS (pure)."""

from __future__ import annotations

HTTPS_PORT = 443


def https_location(authority: bytes, target: bytes, port: int) -> bytes:
    """The URL of a request's target at the same host over https.

    Args:
        authority: the request's, checked by the reader; its port is left out.
        target: in origin-form, or `*`, which has no path.
        port: of https; not written when it is the default.
    """
    end = authority.find(b":", authority.find(b"]") + 1)
    host = authority if end < 0 else authority[:end]
    place = b"" if port == HTTPS_PORT else b":%d" % port
    return b"https://%b%b%b" % (host, place, b"" if target == b"*" else target)
