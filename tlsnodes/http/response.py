"""Checking a response's head and building the one that the client gets."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus

from tlsnodes.http.fields import HOP_BY_HOP, content_length, tokens, without_nominated
from tlsnodes.http.messages import CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE, BadMessage, Field, Framing, ResponseHead

LAST_CHUNK = b"0\r\n\r\n"
_LOOKED_AT = frozenset((b"content-length", b"set-cookie"))
_SPECIAL = HOP_BY_HOP | _LOOKED_AT


def check_response(status: int, reason: bytes, version: str, received: list[Field], *, to_head: bool) -> ResponseHead:
    """Turn what the parser saw into a response that may be forwarded.

    Args:
        status: status code.
        reason: reason phrase.
        version: such as "1.1".
        received: fields as they came.
        to_head: it answers a HEAD request.

    Raises:
        BadMessage: with status 502.
    """
    if version not in ("1.1", "1.0"):
        raise BadMessage(502, f"the server speaks HTTP/{version}")
    if status < 100 or status == 101:  # 101 answers an Upgrade that was never sent
        raise BadMessage(502, f"the server answered with status {status}")
    fields: list[Field] = []
    set_cookies: tuple[bytes, ...] = ()
    special: dict[bytes, list[bytes]] = {}
    for field in received:
        name = field[0].lower()
        if name not in _SPECIAL:
            fields.append(field)
        elif name == b"set-cookie":
            fields.append(field)
            set_cookies += (field[1],)
        else:
            special.setdefault(name, []).append(field[1])

    keep_alive = version == "1.1"
    if b"connection" in special:
        connection = tokens(special[b"connection"])
        keep_alive = b"close" not in connection and (keep_alive or b"keep-alive" in connection)
        fields = without_nominated(fields, connection)

    lengths = special.get(b"content-length")
    codings = special.get(b"transfer-encoding")
    length: int | None = None
    if lengths is not None:
        if codings is not None or len(lengths) != 1:
            raise BadMessage(502, "the server's response has two lengths")
        length = content_length(lengths[0], 502)
    if status < 200 or status in (204, 304) or to_head:  # RFC 9112, 6.3: no body, whatever the fields say
        framing = NO_BODY
        if status < 200 or status == 204:
            length = None
    elif codings is not None:
        if version != "1.1" or len(codings) != 1 or codings[0].strip(b" \t").lower() != b"chunked":
            raise BadMessage(502, "the server's response has a transfer coding other than chunked")
        framing = CHUNKED
    elif length is not None:
        framing = LENGTH
    else:
        framing = UNTIL_CLOSE
        keep_alive = False
    # By position: by name it takes twice as long.
    return ResponseHead(status, reason, version == "1.0", fields, set_cookies, framing, length, keep_alive)


def client_framing(head: ResponseHead, *, http_1_0: bool) -> Framing:
    """How the body goes to the client: of unknown length it is chunked, to HTTP/1.0 until the connection closes."""
    if head.framing in (CHUNKED, UNTIL_CLOSE):
        return UNTIL_CLOSE if http_1_0 else CHUNKED
    return head.framing


def encode_response(
    head: ResponseHead,
    *,
    framing: Framing,
    keep_alive: bool,
    http_1_0: bool,
    via: bytes,
    set_cookies: tuple[bytes, ...] = (),
) -> bytes:
    """The head of the response as the client gets it.

    Args:
        head: the server's response.
        framing: from `client_framing`.
        keep_alive: the client's connection stays.
        http_1_0: the client speaks HTTP/1.0.
        via: a line that ends the head, see `via_line`.
        set_cookies: values of Set-Cookie fields to add.
    """
    parts = [b"HTTP/1.1 %d " % head.status, head.reason]
    for name, value in head.fields:
        parts += (b"\r\n", name, b": ", value)
    for value in set_cookies:
        parts += (b"\r\nSet-Cookie: ", value)
    if head.content_length is not None:
        parts.append(b"\r\nContent-Length: %d" % head.content_length)
    elif framing is CHUNKED:
        parts.append(b"\r\nTransfer-Encoding: chunked")
    if not keep_alive:
        parts.append(b"\r\nConnection: close")
    elif http_1_0:
        parts.append(b"\r\nConnection: keep-alive")
    parts.append(via)
    return b"".join(parts)


def encode_interim(head: ResponseHead, *, via: bytes) -> bytes:
    """A 1xx response (RFC 9110, 15.2) as the client gets it."""
    lines = b"".join(b"\r\n%b: %b" % field for field in head.fields)
    return b"HTTP/1.1 %d %b%b%b" % (head.status, head.reason, lines, via)


def via_line(node_name: str, *, http_1_0: bool = False) -> bytes:
    """The Via line of RFC 9110, 7.6.3 and the end of the head; `http_1_0`: what the server spoke."""
    return f"\r\nVia: {'1.0' if http_1_0 else '1.1'} {node_name}\r\n\r\n".encode()


def encode_chunk(data: bytes) -> bytes:
    """One chunk of RFC 9112, 7.1; `data` must not be empty, which would be the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def error_response(status: int, sentence: str, *, now: float, keep_alive: bool, via: bytes) -> bytes:
    """A whole response of our own with a line of text that says what was wrong.

    Args:
        status: 4xx or 5xx.
        sentence: what was found.
        now: seconds since the epoch, for the Date field.
        keep_alive: the client's connection stays.
        via: see `via_line`.
    """
    phrase = HTTPStatus(status).phrase
    body = f"{status} {phrase}: {sentence}\n"
    head = (
        f"HTTP/1.1 {status} {phrase}\r\n"
        f"Date: {format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True)}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body.encode())}\r\n"
        f"Connection: {'keep-alive' if keep_alive else 'close'}"
    )
    return head.encode() + via + body.encode()
