"""The values that readers give and encoders take, beside the heads.

A message is a head, then body parts, then END:

    request   RequestHead bytes* END            response   ResponseHead(1xx)* ResponseHead bytes* END

A `Violation` may stand at any place and ends everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal


class Framing(Enum):
    """How the end of a body is known (RFC 9112, 6.3). The order is that of `Body` in heads.pxd."""

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
    """Bounds of what is read before it is passed on.

    Attributes:
        size: octets of start line and fields; of trailers; of all chunk extensions of a message.
        fields: number of fields, and of trailers.
        line: octets of a request line.
        chunk_line: octets of a chunk's line, its extensions included.
    """

    size: int = 65_536
    fields: int = 128
    line: int = 16_384
    chunk_line: int = 256
