"""Connections to servers: opened, kept while idle, handed out (shell)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol, cast

from tlsnodes.http.messages import END, HeadLimits, Marker, Violation
from tlsnodes.http.reader import ResponseEvent, ResponseReader
from tlsnodes.scheduling.server import ServerState

MAX_IDLE_PER_SERVER = 256
MAX_IDLE_S = 30.0


class Requester(Protocol):
    """Who waits for a response."""

    def response_events(self, events: list[ResponseEvent]) -> None:
        """Parts of the response; END or a `Violation` is the last of all."""
        ...

    def server_lost(self, event: Marker | Violation) -> None:
        """The server closed: END when that is how the response ends."""
        ...

    def server_writable(self, writable: bool) -> None:
        """The server takes the request slower than it comes, or has caught up."""
        ...


class BackendConnection(asyncio.Protocol):
    """One connection to a server: idle in its `Backend`, or in use by one requester."""

    __slots__ = ("_backend", "_paused", "_reader", "_requester", "_spoilt", "idle_since", "served", "transport")

    transport: asyncio.Transport

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._reader = ResponseReader(backend.limits)
        self._requester: Requester | None = None
        self._paused = False
        self._spoilt = False
        self.served = 0
        self.idle_since = 0.0

    def begin(self, requester: Requester, method: bytes) -> None:
        """Hand the connection to a requester, for one request."""
        self._requester = requester
        self.served += 1
        self._reader.begin(method)

    def release(self, now: float) -> None:
        """The response is whole and the connection can carry another one: back among the idle."""
        if self._spoilt:
            self.discard()
            return
        self._requester = None
        self.resume()
        self._backend.keep(self, now)

    def pause(self) -> None:
        """The client reads slower than the server sends."""
        if not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """The client has caught up."""
        if self._paused:
            self._paused = False
            self.transport.resume_reading()

    def discard(self) -> None:
        """Nobody wants what may still come."""
        self._requester = None
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        requester = self._requester
        if requester is None:  # a response to nothing
            self._backend.forget(self)
            self.transport.abort()
            return
        events = self._reader.feed(data)
        if events:
            if events[-1].__class__ is Violation and len(events) > 1 and events[-2] is END:
                events.pop()  # the response is whole; what is wrong is what came after it
                self._spoilt = True
            requester.response_events(events)

    def eof_received(self) -> None:
        """See `asyncio.Protocol`; the transport then closes itself."""
        self._lost()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._lost()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._requester is not None:
            self._requester.server_writable(False)

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._requester is not None:
            self._requester.server_writable(True)

    def _lost(self) -> None:
        requester, self._requester = self._requester, None
        if requester is None:
            self._backend.forget(self)
        else:
            requester.server_lost(self._reader.eof())


class Backend:
    """A server's connections.

    Args:
        server: whose.
        limits: of its responses' heads.
        connect_timeout_s: how long a connect may take.
    """

    __slots__ = ("_idle", "_is_retired", "connect_timeout_s", "limits", "server")

    def __init__(self, server: ServerState, *, limits: HeadLimits, connect_timeout_s: float) -> None:
        self.server = server
        self.limits = limits
        self._is_retired = False
        self.connect_timeout_s = connect_timeout_s
        self._idle: deque[BackendConnection] = deque()  # the longest idle first

    def maybe_idle(self) -> BackendConnection | None:
        """The idle connection that was used last: the one that its server least likely is about to close."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    async def connect(self) -> BackendConnection:
        """A new connection.

        Raises:
            OSError: the server cannot be reached.
            TimeoutError: not in time.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self.connect_timeout_s):
            _, connection = await loop.create_connection(
                lambda: BackendConnection(self), self.server.host, self.server.port
            )
        return connection

    def keep(self, connection: BackendConnection, now: float) -> None:
        """Put a connection among the idle; the longest idle one goes when they are too many."""
        if self._is_retired:
            connection.transport.close()
            return
        connection.idle_since = now
        self._idle.append(connection)
        if len(self._idle) > MAX_IDLE_PER_SERVER:
            self._idle.popleft().transport.close()

    def retire(self) -> None:
        """The server is no longer one of the pool: close what is idle, and what becomes idle when it does."""
        self._is_retired = True
        while self._idle:
            self._idle.popleft().transport.close()

    def forget(self, connection: BackendConnection) -> None:
        """The connection closed by itself."""
        if connection in self._idle:
            self._idle.remove(connection)

    def close_idle(self, before: float) -> None:
        """Close what has been idle since `before` or longer."""
        while self._idle and self._idle[0].idle_since <= before:
            self._idle.popleft().transport.close()
