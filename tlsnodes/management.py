"""The node's management address: small JSON documents over plain HTTP (shell)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from tlsnodes.http.answers import error_response
from tlsnodes.http.heads import RequestHead
from tlsnodes.http.messages import END, HeadLimits, Violation
from tlsnodes.http.reader import RequestReader

_LIMITS = HeadLimits(size=8192, fields=64)
_IDLE_S = 30.0


class Refusal(Exception):
    """A request that is answered with an error: status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something that the management address serves.

    Attributes:
        methods: that it knows.
        answer: the body of a request → the document; raises `Refusal`.
        max_body: octets that a request's body may have.
    """

    methods: tuple[bytes, ...]
    answer: Callable[[bytes], dict[str, Any]]
    max_body: int = 0


class ManagementConnection(asyncio.Protocol):
    """One client of the management address.

    Args:
        resources: path → what is there.
    """

    _transport: asyncio.Transport

    def __init__(self, resources: Mapping[bytes, Resource]) -> None:
        self._resources = resources
        self._reader = RequestReader(_LIMITS)
        self._head: RequestHead | None = None
        self._body = b""
        self._refused = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._deadline = asyncio.get_running_loop().call_later(_IDLE_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._deadline is not None:
            self._deadline.cancel()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._refused or self._transport.is_closing():
            return
        for event in self._reader.feed(data):
            try:
                if isinstance(event, Violation):
                    raise Refusal(event.status, event.sentence)
                if isinstance(event, RequestHead):
                    self._begin(event)
                elif event is END:
                    self._answer()
                elif isinstance(event, bytes):
                    self._take_body(event)
            except Refusal as refusal:
                self._refuse(refusal)
                return

    def _begin(self, head: RequestHead) -> None:
        self._head = head
        self._body = b""
        resource = self._resource(head)
        if head.method not in resource.methods:
            raise Refusal(405, f"only {_listed(resource.methods)}")
        if head.content_length > resource.max_body:
            raise _too_large(resource)
        if head.expects_continue:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _take_body(self, part: bytes) -> None:
        assert self._head is not None
        resource = self._resource(self._head)
        if len(self._body) + len(part) > resource.max_body:
            raise _too_large(resource)
        self._body += part

    def _answer(self) -> None:
        head = self._head
        assert head is not None
        body = json.dumps(self._resource(head).answer(self._body)).encode()
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
            b"Content-Length: %d\r\nConnection: %s\r\n\r\n%b"
            % (
                len(body),
                b"keep-alive" if head.keep_alive else b"close",
                body if head.method != b"HEAD" else b"",
            )
        )
        if not head.keep_alive:
            self._transport.close()

    def _resource(self, head: RequestHead) -> Resource:
        resource = self._resources.get(head.target.partition(b"?")[0])
        if resource is None:
            raise Refusal(404, f"there is only {_listed(tuple(self._resources))}")
        return resource

    def _refuse(self, refusal: Refusal) -> None:
        allow = b""
        if refusal.status == 405 and self._head is not None:
            allow = b"Allow: %b\r\n" % b", ".join(self._resource(self._head).methods)
        self._transport.write(
            error_response(refusal.status, str(refusal), now=time.time(), keep_alive=False, fields=allow)
        )
        # Closing with unread input would reset the connection under the answer: what still comes is dropped.
        self._refused = True
        self._transport.write_eof()


def _too_large(resource: Resource) -> Refusal:
    return Refusal(413, f"a body of more than {resource.max_body} bytes")


def _listed(names: tuple[bytes, ...]) -> str:
    return " and ".join(name.decode() for name in names)
