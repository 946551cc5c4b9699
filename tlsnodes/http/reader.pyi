from typing import Generic, Literal, TypeVar

from tlsnodes.http.fields import FieldTable
from tlsnodes.http.heads import RequestHead, ResponseHead
from tlsnodes.http.messages import HeadLimits, Marker, Violation

MAX_EMPTY_LINES: int
MAX_INTERIM_RESPONSES: int

RequestEvent = RequestHead | bytes | Literal[Marker.END] | Violation
ResponseEvent = ResponseHead | bytes | Literal[Marker.END] | Violation

_Head = TypeVar("_Head", RequestHead, ResponseHead)

class MessageReader(Generic[_Head]):
    """What both directions share."""

    @property
    def head(self) -> _Head: ...
    @property
    def trailers(self) -> bytes: ...
    @property
    def in_head(self) -> bool: ...
    def tunnel(self) -> None: ...
    def feed(self, data: bytes) -> list[_Head | bytes | Literal[Marker.END] | Violation]: ...

class RequestReader(MessageReader[RequestHead]):
    """Reads the requests of one client connection.

    One feed may complete several pipelined requests: holding them back is the caller's part.

    Args:
        limits: of heads, trailers and chunks' lines.
        table: from `request_table`, if clients must not send more names than `names.py` says.
    """

    def __init__(self, limits: HeadLimits, table: FieldTable | None = None) -> None: ...

class ResponseReader(MessageReader[ResponseHead]):
    """Reads the responses of one server connection, one `begin` each."""

    def __init__(self, limits: HeadLimits) -> None: ...
    def begin(self, method: bytes, upgrade: bytes | None = None) -> None: ...
    def eof(self) -> Literal[Marker.END] | Violation: ...
