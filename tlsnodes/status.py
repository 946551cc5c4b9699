"""`GET /status` on the node's management address: one JSON document over plain HTTP (shell)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, cast

from tlsnodes.http.messages import END, HeadLimits, RequestHead, Violation
from tlsnodes.http.reader import RequestReader
from tlsnodes.http.response import error_response

_LIMITS = HeadLimits(size=8192, fields=64)
_IDLE_S = 30.0


class StatusConnection(asyncio.Protocol):
    """One client of the status document.

    Args:
        describe: makes the document.
    """

    _transport: asyncio.Transport

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        self._describe = describe
        self._reader = RequestReader(_LIMITS)
        self._head: RequestHead | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._deadline = asyncio.get_running_loop().call_later(_IDLE_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._reader.release()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._transport.is_closing():
            return
        for event in self._reader.feed(data):
            if isinstance(event, RequestHead):
                self._head = event
            elif isinstance(event, Violation):
                self._answer_error(event.status, event.sentence)
                return
            elif event is END and self._head is not None:
                self._answer(self._head)

    def _answer(self, head: RequestHead) -> None:
        if head.target.partition(b"?")[0] != b"/status":
            self._answer_error(404, "there is only /status")
        elif head.method not in (b"GET", b"HEAD"):
            self._answer_error(405, "only GET and HEAD")
        else:
            body = json.dumps(self._describe()).encode()
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
                b"Content-Length: %d\r\nConnection: %s\r\n\r\n%b"
                % (
                    len(body),
                    b"keep-alive" if head.keep_alive else b"close",
                    body if head.method == b"GET" else b"",
                )
            )
            if not head.keep_alive:
                self._transport.close()

    def _answer_error(self, status: int, sentence: str) -> None:
        allow = b"\r\nAllow: GET, HEAD\r\n\r\n" if status == 405 else b"\r\n\r\n"
        self._transport.write(error_response(status, sentence, now=time.time(), keep_alive=False, via=allow))
        self._transport.close()
