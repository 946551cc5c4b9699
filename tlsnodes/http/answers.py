"""Responses of our own."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus


def own_response(status: int, sentence: str, *, now: float, keep_alive: bool, fields: bytes = b"") -> bytes:
    """A whole response with a line of text that says why it is no server's.

    Args:
        status: 3xx, 4xx or 5xx.
        sentence: what was found, or where to go.
        now: seconds since the epoch, for the Date field.
        keep_alive: the client's connection stays.
        fields: more lines, each with its CRLF.
    """
    phrase = HTTPStatus(status).phrase
    body = f"{status} {phrase}: {sentence}\n".encode()
    head = (
        f"HTTP/1.1 {status} {phrase}\r\n"
        f"Date: {format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True)}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n"
    )
    return head.encode() + fields + b"\r\n" + body
