"""The client's side of the proxy: TLS in, requests scheduled one by one, responses out (shell)."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Sequence
from enum import Enum, auto
from typing import cast

import structlog

from tlsnodes.backends import BackendConnection
from tlsnodes.exchange import Exchange
from tlsnodes.http.answers import error_response
from tlsnodes.http.forwarding import ClientFields
from tlsnodes.http.heads import RequestHead
from tlsnodes.http.messages import END, Marker, Violation
from tlsnodes.http.reader import RequestEvent, RequestReader, ResponseEvent
from tlsnodes.tls.connection import TlsConnection, TlsFailure, TlsState
from tlsnodes.vserver import VserverProxy

LINGER_S = 2.0
"""How long a connection that we closed is read on: closing with unread input would reset it under our last words."""

_log = structlog.get_logger()


class _Phase(Enum):
    HANDSHAKE = auto()
    IDLE = auto()  # between requests
    HEAD = auto()  # a request's head is coming
    EXCHANGE = auto()  # a request is being served
    LINGER = auto()  # we closed; input is read and dropped


# Looking a member up in its class costs more than what the hot path does with it.
_HANDSHAKE = _Phase.HANDSHAKE
_IDLE = _Phase.IDLE
_HEAD = _Phase.HEAD
_EXCHANGE = _Phase.EXCHANGE
_LINGER = _Phase.LINGER
_FAILED = TlsState.FAILED
_PEER_CLOSED = TlsState.PEER_CLOSED


class ClientConnection(asyncio.Protocol):
    """One client's TLS connection.

    Requests are served one at a time; what the client sends ahead is held, and it is not read from until that is
    used up, so that the memory held is bounded by what one read brings.
    """

    __slots__ = (
        "_connection",
        "_exchange",
        "_fields",
        "_held",
        "_input_over",
        "_peer",
        "_phase",
        "_proxy",
        "_read_paused",
        "_reader",
        "_server_slow",
        "_tls",
        "_transport",
        "_write_paused",
        "client",
        "deadline",
    )

    _transport: asyncio.Transport

    def __init__(self, proxy: VserverProxy) -> None:
        self._proxy = proxy
        self._tls = TlsConnection(proxy.tls)
        self._reader = RequestReader(proxy.limits)
        self._phase = _HANDSHAKE
        self._exchange: Exchange | None = None
        self._connection: BackendConnection | None = None
        self._held: deque[RequestEvent] = deque()
        self._input_over = False
        self._read_paused = False
        self._write_paused = False
        self._server_slow = False
        self._peer = ""
        self.client = b""
        self._fields: ClientFields | None = None
        self.deadline = proxy.loop.time() + proxy.timeouts.handshake_s

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._proxy.connections.add(self)
        self._proxy.statistics.connections += 1
        peer = transport.get_extra_info("peername")
        if peer:
            self._peer = peer[0].partition("%")[0]  # a link-local client's comes with this host's interface
            family = socket.AF_INET6 if ":" in peer[0] else socket.AF_INET
            self.client = socket.inet_pton(family, self._peer) + peer[1].to_bytes(2, "big")
        else:
            self._peer = "0.0.0.0"  # a client that is already gone has no name

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._phase is _LINGER:
            return
        plaintext, ciphertext, state = self._tls.receive(data)
        if ciphertext:
            self._transport.write(ciphertext)
        if self._phase is _HANDSHAKE and state is not TlsState.HANDSHAKING:
            self._handshake_over(state)
        if state is _FAILED:
            self._leave()
            self._transport.close()
            return
        if plaintext:
            self._take_events(self._reader.feed(plaintext))
            if self._phase is _IDLE and self._reader.in_head:
                self._phase = _HEAD
                self.deadline = self._proxy.loop.time() + self._proxy.timeouts.header_s
        if state is _PEER_CLOSED:
            self._input_ended()

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`; True keeps our side open for the response."""
        if self._phase is _LINGER:
            return False
        if self._tls.state is not _PEER_CLOSED:
            # Without close_notify this is no end but a cut (RFC 8446, 6.1): the client is gone.
            self._note_unfinished_handshake()
            self._leave()
            return False
        self._input_ended()
        return not self._transport.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._note_unfinished_handshake()
        self._leave()
        self._proxy.connections.discard(self)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`: the client reads slower than the server sends."""
        self._write_paused = True
        if self._connection is not None:
            self._connection.pause()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._write_paused = False
        if self._connection is not None:
            self._connection.resume()

    # What the owner calls.

    def deadline_passed(self) -> None:
        """End what takes too long."""
        exchange = self._exchange
        phase = self._phase
        if phase is _HANDSHAKE or phase is _LINGER:
            self._transport.abort()
        elif phase is _IDLE:
            self._finish()
        elif phase is _HEAD:
            self._refuse(408, "the request header took too long")
        elif exchange is None or exchange.status is not None:
            self.abort()
        elif exchange.request_done or self._server_slow:
            self._proxy.pool.failed(exchange.server, self._proxy.loop.time())
            self._refuse(504, f"server {exchange.server.name} did not answer in time", exchange.head)
        else:
            self._refuse(408, "the request body took too long", exchange.head)

    def drain(self) -> None:
        """Close after the response in progress, or now if there is none."""
        if self._exchange is not None:
            if self._exchange.status is None:
                self._exchange.keep_alive = False
        elif self._phase in (_IDLE, _HEAD):
            self._finish()
        elif self._phase is _HANDSHAKE:
            self._transport.abort()

    def abort(self) -> None:
        """Close at once, so that the client sees that its response was cut short."""
        self._leave()
        self._transport.abort()

    # Requests.

    def _handshake_over(self, state: TlsState) -> None:
        proxy = self._proxy
        if state is TlsState.FAILED:
            proxy.statistics.handshakes_failed[self._tls.failure or "unknown"] += 1
            return
        if self._tls.resumed:
            proxy.statistics.handshakes_resumed += 1
        else:
            proxy.statistics.handshakes_full += 1
        self._phase = _IDLE
        self.deadline = proxy.loop.time() + proxy.timeouts.header_s

    def _note_unfinished_handshake(self) -> None:
        if self._phase is _HANDSHAKE and self._tls.state is TlsState.HANDSHAKING:
            self._proxy.statistics.handshakes_failed["not finished"] += 1

    def _take_events(self, events: Sequence[RequestEvent]) -> None:
        if self._held:
            self._held.extend(events)
            return
        for index, event in enumerate(events):
            if not self._take(event):
                self._held.extend(events[index:])
                self._update_reading()
                return

    def _take_held(self) -> None:
        held = self._held
        while held:
            event = held.popleft()
            if not self._take(event):
                held.appendleft(event)
                break
        self._update_reading()
        if self._input_over and not held and self._phase is not _LINGER:
            self._input_ended()

    def _take(self, event: RequestEvent) -> bool:
        """Act on an event; False if its time has not come."""
        exchange = self._exchange
        if isinstance(event, RequestHead):
            if exchange is not None:
                return False
            if self._phase is not _LINGER:
                self._start(event)
            return True
        if isinstance(event, Violation):
            if exchange is not None and exchange.request_done:
                return False  # it is about the next request
            self._proxy.statistics.bad_requests += 1
            if self._phase is not _LINGER:
                self._refuse(event.status, event.sentence)
            return True
        if exchange is None:
            return True  # the rest of a request that was refused
        if event is END and exchange.request_done:
            return True
        connection = self._connection
        if connection is None:
            return False
        if event is END:
            data = exchange.request_end()
        else:
            data = exchange.request_body(event)
            self.deadline = self._proxy.loop.time() + self._proxy.timeouts.response_s
        if data:
            connection.transport.write(data)
        return True

    def _start(self, head: RequestHead) -> None:
        proxy = self._proxy
        if head.upgrade is not None:
            proxy.statistics.bad_requests += 1
            self._refuse(501, "protocol upgrades are not supported", head)
            return
        now = proxy.loop.time()
        proxy.statistics.requests += 1
        self._phase = _EXCHANGE
        self.deadline = now + proxy.timeouts.response_s
        server, cookie = proxy.scheduler.choose(head.cookie, now, time.time(), head.target, self.client[:-2])
        if server is None:
            self._refuse(503, proxy.pool.refusal(), head)
            return
        exchange = self._exchange = Exchange(head, cookie=cookie, server=server, rules=proxy.rules, now=now)
        if proxy.draining:
            exchange.keep_alive = False
        proxy.pool.began(server)
        connection = proxy.backends[server.id].maybe_idle()
        if connection is not None:
            self._send(exchange, connection)
        else:
            proxy.spawn(self._connect(exchange))

    async def _connect(self, exchange: Exchange) -> None:
        """Connect to the server, or to another one if it cannot be reached."""
        proxy = self._proxy
        while True:
            server = exchange.server
            try:
                connection = await proxy.backends[server.id].connect()
            except OSError as error:  # TimeoutError is one
                proxy.pool.connect_failed(server, proxy.loop.time())
                _log.warning(
                    "connect failed",
                    vserver=proxy.name,
                    server=server.name,
                    error=str(error) or "timed out",
                )
            else:
                proxy.pool.connected(server)
                if self._exchange is exchange:
                    self._send(exchange, connection)
                    self._take_held()
                else:
                    connection.release(proxy.loop.time())
                return
            if self._exchange is not exchange:
                return
            exchange.tried += (server.id,)
            other = proxy.pool.choose(proxy.loop.time(), exchange.tried)
            if other is None:
                self._refuse(503, f"no server of pool {proxy.pool.name} can be reached", exchange.head)
                return
            proxy.pool.ended(server)
            proxy.pool.began(other)
            exchange.server = other

    def _send(self, exchange: Exchange, connection: BackendConnection) -> None:
        self._connection = connection
        if self._write_paused:
            connection.pause()
        connection.begin(self, exchange.head.method)
        fields = self._fields
        if fields is None:
            fields = self._fields = ClientFields(self._proxy.rules.forwarding, self._peer)
        head = exchange.head
        connection.transport.write(
            exchange.request_head(fields.lines(authority=head.authority, http_1_0=head.http_1_0, claims=head.claims))
        )

    # What the server's connection calls: see `tlsnodes.backends.Requester`.

    def response_events(self, events: Sequence[ResponseEvent]) -> None:
        """See `Requester`."""
        exchange = self._exchange
        assert exchange is not None
        proxy = self._proxy
        plaintext = exchange.respond(events, time.time())
        now = proxy.loop.time()
        self.deadline = now + proxy.timeouts.response_s
        if exchange.violation is not None:
            self._server_failed(exchange, exchange.violation.sentence)
        elif plaintext and not self._write(plaintext):
            self.abort()
        elif exchange.finished:
            self._exchange_over(exchange, now)

    def server_lost(self, event: Marker | Violation) -> None:
        """See `Requester`."""
        exchange = self._exchange
        connection, self._connection = self._connection, None
        assert exchange is not None
        assert connection is not None
        if event is END:
            self.response_events((event,))
        elif connection.served > 1 and exchange.may_repeat():
            # The server closed an idle connection just when we used it.
            self._proxy.spawn(self._connect(exchange))
        else:
            self._server_failed(exchange, event.sentence)

    def server_writable(self, writable: bool) -> None:
        """See `Requester`."""
        self._server_slow = not writable
        self._update_reading()

    def _server_failed(self, exchange: Exchange, sentence: str) -> None:
        self._proxy.pool.failed(exchange.server, self._proxy.loop.time())
        _log.warning("bad response", vserver=self._proxy.name, server=exchange.server.name, error=sentence)
        if exchange.status is None:
            self._refuse(502, f"server {exchange.server.name}: {sentence}", exchange.head)
        else:
            self.abort()

    def _exchange_over(self, exchange: Exchange, now: float) -> None:
        assert exchange.status is not None
        self._proxy.pool.answered(exchange.server, exchange.status, now - exchange.started_at, now)
        self._proxy.statistics.cookies_injected += exchange.cookies_injected
        self._detach(reusable=exchange.server_keep_alive)
        if not exchange.keep_alive:
            self._finish()
            return
        self._await_request(now)

    def _await_request(self, now: float) -> None:
        self._phase = _IDLE
        self.deadline = now + self._proxy.timeouts.keepalive_s
        if self._held:
            self._take_held()
        elif self._input_over or self._proxy.draining:
            self._finish()
        elif self._reader.in_head:
            self._phase = _HEAD
            self.deadline = now + self._proxy.timeouts.header_s

    # Ends.

    def _input_ended(self) -> None:
        """Nothing more comes from the client: what it asked for whole is still answered."""
        self._input_over = True
        if self._held or self._phase is _LINGER:
            return
        if self._exchange is None:
            self._finish()
        elif not self._exchange.request_done:
            self.abort()

    def _refuse(self, status: int, sentence: str, head: RequestHead | None = None) -> None:
        """Answer a request ourselves, `head` if it is known; the connection stays only if that request is whole."""
        proxy = self._proxy
        exchange = self._exchange
        if exchange is not None and exchange.status is not None:
            self.abort()
            return
        proxy.statistics.refused[status] += 1
        keep_alive = exchange is not None and exchange.request_done and exchange.keep_alive
        self._detach(reusable=False)
        response = error_response(status, sentence, now=time.time(), keep_alive=keep_alive, fields=proxy.rules.via)
        if head is not None and head.method == b"HEAD":
            response = response[: response.index(b"\r\n\r\n") + 4]
        _log.info("refused", vserver=proxy.name, client=self._peer, status=status, reason=sentence)
        if not self._write(response):
            self.abort()
        elif keep_alive:
            self._await_request(proxy.loop.time())
        else:
            self._finish()

    def _finish(self) -> None:
        """Close in order: close_notify, end of output, then wait for the client to close."""
        self._held.clear()
        self._phase = _LINGER
        if self._transport.is_closing():
            return
        self._transport.write(self._tls.close())
        # What is still in the buffer gets the time that any part of a response gets.
        patience_s = self._proxy.timeouts.response_s if self._transport.get_write_buffer_size() else LINGER_S
        self.deadline = self._proxy.loop.time() + patience_s
        if self._input_over:
            self._transport.close()
            return
        self._transport.write_eof()
        self._update_reading()

    def _leave(self) -> None:
        """Drop what is in progress."""
        self._phase = _LINGER
        self._held.clear()
        self._detach(reusable=False)

    def _detach(self, *, reusable: bool) -> None:
        exchange, self._exchange = self._exchange, None
        connection, self._connection = self._connection, None
        if exchange is not None:
            self._proxy.pool.ended(exchange.server)
        if connection is not None:
            if reusable:
                connection.release(self._proxy.loop.time())
            else:
                connection.discard()
        if self._server_slow:
            self._server_slow = False
            self._update_reading()

    def _write(self, plaintext: bytes) -> bool:
        try:
            self._transport.write(self._tls.send(plaintext))
        except TlsFailure:
            return False
        return True

    def _update_reading(self) -> None:
        pause = self._server_slow or bool(self._held)
        if pause != self._read_paused and not self._transport.is_closing():
            self._read_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
