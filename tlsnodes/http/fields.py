"""Checks that requests and responses share."""

from __future__ import annotations

from collections.abc import Sequence

from tlsnodes.http.messages import BadMessage, Field

HOP_BY_HOP = frozenset(
    # RFC 9110, 7.6.1 and 11.7; Keep-Alive and Proxy-Connection are of the older HTTPs.
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)

_KEEP_ALIVE = frozenset((b"keep-alive",))
_NEVER_NOMINATED = frozenset((b"close", b"keep-alive", b"upgrade", b"te"))


def tokens(values: Sequence[bytes]) -> frozenset[bytes]:
    """The elements of a list field, lower case (RFC 9110, 5.6.1)."""
    if values[0] == b"keep-alive" and len(values) == 1:  # nearly all there ever is of Connection
        return _KEEP_ALIVE
    return frozenset(token.strip(b" \t").lower() for value in values for token in value.split(b",")) - {b""}


def content_length(value: bytes, status: int) -> int:
    """RFC 9112, 6.3: decimal digits and nothing else, fewer than twenty so that no recipient overflows.

    Raises:
        BadMessage: with `status`.
    """
    value = value.rstrip(b" \t")
    if not value.isdigit() or len(value) > 19:
        raise BadMessage(status, "Content-Length is not a number")
    return int(value)


def without_nominated(fields: list[Field], connection_tokens: frozenset[bytes]) -> list[Field]:
    """The fields that the Connection field does not name as hop-by-hop (RFC 9110, 7.6.1)."""
    nominated = connection_tokens - _NEVER_NOMINATED
    if not nominated:
        return fields
    return [field for field in fields if field[0].lower() not in nominated]
