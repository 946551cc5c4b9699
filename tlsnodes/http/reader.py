"""Bytes of a connection → events, on httptools (llhttp)."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import httptools

from tlsnodes.http.messages import (
    END,
    NO_BODY,
    UNTIL_CLOSE,
    BadMessage,
    Field,
    HeadLimits,
    Marker,
    RequestHead,
    ResponseHead,
    Violation,
)
from tlsnodes.http.request import check_request
from tlsnodes.http.response import check_response

MAX_INTERIM_RESPONSES = 8

_Head = TypeVar("_Head", RequestHead, ResponseHead)
_PARSER_ERRORS = (httptools.HttpParserError, httptools.HttpParserUpgrade)


class _Reader(Generic[_Head]):
    """What both directions share. The parser calls the `on_` methods from within `feed`."""

    __slots__ = (
        "_body",
        "_events",
        "_fields",
        "_in_head",
        "_limits",
        "_octets",
        "_parser",
        "_silent",
        "_tail",
        "_violation",
    )

    def __init__(self, parser: Any, limits: HeadLimits) -> None:
        self._parser = parser
        self._limits = limits
        self._events: list[_Head | bytes | Marker | Violation] = []
        self._fields: list[Field] = []
        self._body: list[bytes] = []
        self._in_head = False
        self._tail = 0
        self._silent = 0
        self._octets = 0
        self._violation: Violation | None = None

    def feed(self, data: bytes) -> list[_Head | bytes | Marker | Violation]:
        """The events that `data`, any part of the stream, completes. After a `Violation` nothing may be fed."""
        # A head lies within the last feed that completed something, those that completed nothing, and this one.
        self._octets = self._tail + self._silent + len(data)
        try:
            self._parser.feed_data(data)
        except _PARSER_ERRORS as error:
            self._flush_body()
            self._events.append(self._violation or self._grammar_violation(error))
        else:
            if self._body:
                self._flush_body()
        events = self._events
        if events:
            self._events = []
            self._silent = 0
            self._tail = len(data)
            return events
        # Heads, chunk extensions and trailers are all that can go on without completing an event.
        self._silent += len(data)
        if self._silent > self._limits.size:
            return [Violation(status=431, sentence=self._too_large())]
        return events

    def release(self) -> None:
        """Break the cycle with the parser, so that memory does not wait for the garbage collector."""
        self._parser = None

    def _too_large(self) -> str:
        return f"a header, chunk extension or trailer of more than {self._limits.size} bytes"

    def _grammar_violation(self, error: Exception) -> Violation:
        raise NotImplementedError

    def _flush_body(self) -> None:
        body = self._body
        if body:
            self._events.append(body[0] if len(body) == 1 else b"".join(body))
            self._body = []

    def _check_size(self, start_line: int) -> None:
        if len(self._fields) > self._limits.fields:
            raise BadMessage(431, f"more than {self._limits.fields} header fields")
        if self._octets > self._limits.size:
            exact = start_line + sum(len(name) + len(value) + 4 for name, value in self._fields)
            if exact > self._limits.size:
                raise BadMessage(431, self._too_large())

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))  # after the head: trailers, which are dropped (RFC 9110, 6.5.1)

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        self._flush_body()
        self._events.append(END)


class RequestReader(_Reader[RequestHead]):
    """Reads the requests of one client connection.

    One feed may complete several pipelined requests: holding them back is the caller's part.
    """

    __slots__ = ("_target",)

    def __init__(self, limits: HeadLimits) -> None:
        super().__init__(httptools.HttpRequestParser(self), limits)
        self._target = b""

    @property
    def in_head(self) -> bool:
        """A request has begun and its head is not whole yet."""
        return self._in_head

    def on_message_begin(self) -> None:
        self._target = b""
        self._in_head = True
        self._fields = []

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_headers_complete(self) -> None:
        parser = self._parser
        self._in_head = False
        try:
            self._check_size(len(self._target) + 16)
            head = check_request(parser.get_method(), self._target, parser.get_http_version(), self._fields)
        except BadMessage as bad:
            self._violation = bad.violation
            raise
        self._events.append(head)

    def _grammar_violation(self, error: Exception) -> Violation:
        if isinstance(error, httptools.HttpParserInvalidMethodError):
            return Violation(status=501, sentence="the request method is not known")
        return Violation(status=400, sentence=f"not HTTP/1.1: {error}")


class ResponseReader(_Reader[ResponseHead]):
    """Reads the responses of one server connection, one `begin` each."""

    __slots__ = ("_awaited", "_framing", "_interim", "_is_interim", "_reason", "_spent", "_to_head")

    def __init__(self, limits: HeadLimits) -> None:
        super().__init__(httptools.HttpResponseParser(self), limits)
        self._awaited = False
        self._spent = False

    def begin(self, *, to_head: bool) -> None:
        """The next response may come; `to_head`: it answers a HEAD request."""
        if self._spent:
            self._parser = httptools.HttpResponseParser(self)
            self._spent = False
        self._awaited = True
        self._to_head = to_head
        self._interim = 0
        self._framing = NO_BODY

    def eof(self) -> Marker | Violation:
        """The server closed its side: END if that is how this response ends, else a `Violation`."""
        if self._awaited and self._framing is UNTIL_CLOSE:
            self._awaited = False
            return END
        return Violation(status=502, sentence="the server closed the connection before its response was whole")

    def on_message_begin(self) -> None:
        if not self._awaited:
            self._violation = Violation(status=502, sentence="the server sent more than its response")
            raise BadMessage(502, self._violation.sentence)
        self._reason = b""
        self._in_head = True
        self._fields = []

    def on_status(self, part: bytes) -> None:
        self._reason += part

    def on_headers_complete(self) -> None:
        parser = self._parser
        self._in_head = False
        try:
            self._check_size(len(self._reason) + 16)
            head = check_response(
                parser.get_status_code(),
                self._reason,
                parser.get_http_version(),
                self._fields,
                to_head=self._to_head,
            )
            self._is_interim = head.status < 200
            if self._is_interim:
                self._interim += 1
                if self._interim > MAX_INTERIM_RESPONSES:
                    raise BadMessage(502, f"the server sent more than {MAX_INTERIM_RESPONSES} interim responses")
        except BadMessage as bad:
            self._violation = Violation(status=502, sentence=bad.violation.sentence)
            raise
        self._framing = head.framing
        self._events.append(head)
        if self._to_head and not self._is_interim:
            # llhttp cannot be told that no body comes: this parser has served.
            self._spent = True
            self._awaited = False
            self._events.append(END)

    def on_body(self, data: bytes) -> None:
        if not self._awaited:
            self._violation = Violation(status=502, sentence="the server sent a body in response to HEAD")
            raise BadMessage(502, self._violation.sentence)
        super().on_body(data)

    def on_message_complete(self) -> None:
        if self._is_interim or not self._awaited:
            return
        self._awaited = False
        super().on_message_complete()

    def _grammar_violation(self, error: Exception) -> Violation:
        return Violation(status=502, sentence=f"the server's response is not HTTP/1.1: {error}")
