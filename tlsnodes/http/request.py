"""Checking a request's head and building the one that the server gets.

llhttp has already refused what breaks the grammar: bare CR and LF, obs-fold, whitespace before a colon, control
characters, Content-Length twice or beside Transfer-Encoding. Here is what it lets through.
"""

from __future__ import annotations

import re

from tlsnodes.http.fields import HOP_BY_HOP, content_length, tokens, without_nominated
from tlsnodes.http.messages import CHUNKED, LENGTH, NO_BODY, BadMessage, Field, Framing, RequestHead

_AUTHORITY = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\Z")
_TARGET = re.compile(rb"/[!\"$-~]*\Z")  # visible ASCII but "#"
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)\Z", re.IGNORECASE | re.DOTALL)

# Set by the proxy itself: what a client says of them is a claim that servers would believe.
_OURS = frozenset((b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"))
_LOOKED_AT = frozenset((b"host", b"cookie", b"content-length", b"expect"))
_SPECIAL = HOP_BY_HOP | _OURS | _LOOKED_AT


def check_request(method: bytes, target: bytes, version: str, received: list[Field]) -> RequestHead:
    """Turn what the parser saw into a request that may be forwarded.

    Raises:
        BadMessage: with the status that the client deserves.
    """
    if version not in ("1.1", "1.0"):
        raise BadMessage(505, f"HTTP/{version} is not supported")
    http_1_0 = version == "1.0"
    fields: list[Field] = []
    special: dict[bytes, list[bytes]] = {}
    for field in received:
        name = field[0].lower()
        if name in _SPECIAL:
            special.setdefault(name, []).append(field[1].rstrip(b" \t"))
        else:
            fields.append(field)

    hosts = special.get(b"host", ())
    if len(hosts) != 1:  # RFC 9112, 3.2
        raise BadMessage(400, f"{len(hosts) or 'no'} Host fields, expected one" if hosts else "no Host field")
    authority = hosts[0]
    if not _TARGET.match(target):
        authority, target = _other_form(method, target, authority)
    if not _AUTHORITY.match(authority):
        raise BadMessage(400, "the host name is not valid")
    if method in (b"CONNECT", b"TRACE"):
        raise BadMessage(501, f"method {method.decode()} is not supported")

    keep_alive = not http_1_0
    if b"connection" in special:
        connection = tokens(special[b"connection"])
        keep_alive = b"close" not in connection and (keep_alive or b"keep-alive" in connection)
        if b"upgrade" in connection and b"upgrade" in special:
            raise BadMessage(501, "protocol upgrades are not supported")
        fields = without_nominated(fields, connection)

    framing, length = _framing(special, http_1_0)
    expects_continue = False
    if b"expect" in special and not http_1_0:  # RFC 9110, 10.1.1: from HTTP/1.0 it is ignored
        if tokens(special[b"expect"]) != {b"100-continue"}:
            raise BadMessage(417, "an expectation other than 100-continue")
        expects_continue = framing is not NO_BODY
    cookies = special.get(b"cookie")
    # By position: by name it takes twice as long.
    return RequestHead(
        method,
        target,
        authority,
        http_1_0,
        fields,
        b"; ".join(cookies) if cookies else None,
        framing,
        length,
        keep_alive,
        expects_continue,
    )


def _other_form(method: bytes, target: bytes, host: bytes) -> tuple[bytes, bytes]:
    """(authority, origin-form) of a target that is not in origin-form (RFC 9112, 3.2.2 to 3.2.4)."""
    if method == b"CONNECT":
        raise BadMessage(501, "method CONNECT is not supported")
    if target == b"*":
        if method != b"OPTIONS":
            raise BadMessage(400, "the target * is for OPTIONS only")
        return host, target
    absolute = _ABSOLUTE.match(target)
    if not absolute:
        raise BadMessage(400, "the request target is not valid")
    authority, path = absolute.groups()
    # The RFC lets the target win; two opinions about the host are how caches get poisoned, so they are refused.
    if authority.lower() != host.lower():
        raise BadMessage(400, "the target and the Host field disagree")
    if not path.startswith(b"/"):
        path = b"/" + path if path or method != b"OPTIONS" else b"*"
    if path != b"*" and not _TARGET.match(path):
        raise BadMessage(400, "the request target is not valid")
    return authority, path


def _framing(special: dict[bytes, list[bytes]], http_1_0: bool) -> tuple[Framing, int]:
    codings = special.get(b"transfer-encoding")
    lengths = special.get(b"content-length")
    if codings is not None:
        if lengths is not None:  # RFC 9112, 6.3
            raise BadMessage(400, "both Transfer-Encoding and Content-Length")
        if http_1_0:  # RFC 9112, 6.1
            raise BadMessage(400, "Transfer-Encoding in an HTTP/1.0 request")
        if len(codings) != 1 or codings[0].lower() != b"chunked":
            raise BadMessage(501, "a transfer coding other than chunked")
        return CHUNKED, 0
    if lengths is not None:
        if len(lengths) != 1:
            raise BadMessage(400, "more than one Content-Length")
        return LENGTH, content_length(lengths[0], 400)
    return NO_BODY, 0


def encode_request(head: RequestHead, *, cookie: bytes | None, proxy_fields: bytes) -> bytes:
    """The head of the request as the server gets it: HTTP/1.1, connection to be kept.

    Args:
        head: the client's request.
        cookie: the Cookie field's value, if there shall be one.
        proxy_fields: lines that the proxy adds, see `proxy_fields`.
    """
    parts = [head.method, b" ", head.target, b" HTTP/1.1\r\nHost: ", head.authority]
    for name, value in head.fields:
        parts += (b"\r\n", name, b": ", value)
    if cookie is not None:
        parts += (b"\r\nCookie: ", cookie)
    if head.framing is LENGTH:
        parts.append(b"\r\nContent-Length: %d" % head.content_length)
    elif head.framing is CHUNKED:
        parts.append(b"\r\nTransfer-Encoding: chunked")
    if head.expects_continue:
        parts.append(b"\r\nExpect: 100-continue")
    parts += (b"\r\nX-Forwarded-Host: ", head.authority, proxy_fields)
    return b"".join(parts)


def proxy_fields(*, client_address: str, node_name: str, http_1_0: bool) -> bytes:
    """The same for every request of a connection: Via (RFC 9110, 7.6.3), X-Forwarded-For and -Proto, end of head."""
    received = "1.0" if http_1_0 else "1.1"
    return (
        f"\r\nX-Forwarded-For: {client_address}\r\nX-Forwarded-Proto: https\r\nVia: {received} {node_name}\r\n\r\n"
    ).encode()
