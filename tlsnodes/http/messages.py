"""The values that readers give and encoders take.

A message is a head, then body parts, then END:

    request   RequestHead bytes* END            response   ResponseHead(1xx)* ResponseHead bytes* END

A `Violation` may stand at any place and ends everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, NamedTuple

Field = tuple[bytes, bytes]
"""Name as received, value without the whitespace before it."""


class Framing(Enum):
    """How the end of a body is known (RFC 9112, 6.3)."""

    NONE = auto()  # there is no body
    LENGTH = auto()
    CHUNKED = auto()
    UNTIL_CLOSE = auto()  # responses only


# Looking a member up in its class costs more than what the hot path does with it.
NO_BODY = Framing.NONE
LENGTH = Framing.LENGTH
CHUNKED = Framing.CHUNKED
UNTIL_CLOSE = Framing.UNTIL_CLOSE


class Marker(Enum):
    """Events without a value."""

    END = auto()


END: Literal[Marker.END] = Marker.END


class RequestHead(NamedTuple):
    """A request that passed all checks, without its hop-by-hop fields.

    Attributes:
        method: as received, upper case.
        target: in origin-form, or `*`.
        authority: host and port, from the absolute-form target or the Host field.
        http_1_0: the client speaks HTTP/1.0.
        fields: end-to-end fields in the order received, without Host, Cookie and what the proxy sets itself.
        cookie: value of the Cookie field; several are joined as RFC 6265, 5.4 says.
        framing: NONE, LENGTH or CHUNKED.
        content_length: with LENGTH, octets of the body.
        keep_alive: the client wants the connection to stay.
        expects_continue: the client waits for 100 before it sends the body.
    """

    method: bytes
    target: bytes
    authority: bytes
    http_1_0: bool
    fields: list[Field]
    cookie: bytes | None
    framing: Framing
    content_length: int
    keep_alive: bool
    expects_continue: bool


class ResponseHead(NamedTuple):
    """A response that passed all checks, without its hop-by-hop fields.

    Attributes:
        status: 100 to 999; below 200 it is an interim response and neither body nor END follow.
        reason: reason phrase, may be empty.
        http_1_0: the server speaks HTTP/1.0.
        fields: end-to-end fields in the order received, Set-Cookie among them.
        set_cookies: values of the Set-Cookie fields.
        framing: of the body that follows; NONE for HEAD, 204 and 304.
        content_length: what the server said, also where no body follows; None when it did not.
        keep_alive: the server's connection can carry another request after this response.
    """

    status: int
    reason: bytes
    http_1_0: bool
    fields: list[Field]
    set_cookies: tuple[bytes, ...]
    framing: Framing
    content_length: int | None
    keep_alive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """The peer broke the protocol or a limit; its connection is of no further use.

    Attributes:
        status: what a client that is at fault gets to see; 502 when it was the server.
        sentence: what was found.
    """

    status: int
    sentence: str


class BadMessage(Exception):
    """Carries a `Violation` out of a check."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.violation = Violation(status=status, sentence=sentence)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLimits:
    """Bounds of one message head.

    Attributes:
        size: octets of start line and fields, and of trailers.
        fields: number of fields, and of trailers.
    """

    size: int = 65_536
    fields: int = 128


RequestEvent = RequestHead | bytes | Literal[Marker.END] | Violation
ResponseEvent = ResponseHead | bytes | Literal[Marker.END] | Violation
