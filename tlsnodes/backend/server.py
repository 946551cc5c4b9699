"""The reference back end (shell): HTTPS on TLS 1.2 with session ids of its own, as its record says [P6].

Each answer says which server it is of, under which session id, and whether that was resumed.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from dataclasses import dataclass
from http import HTTPStatus

import structlog

from pentaflow.session_ids import (
    MAX_ID_BYTES,
    GroupReport,
    IdInUse,
    SessionIdRecord,
    SessionIdReport,
    key_of,
    read_group,
    write_group,
)
from tlsnodes.backend.records import Origin, follow
from tlsnodes.http.heads import RequestHead
from tlsnodes.http.messages import HeadLimits, Marker, Violation
from tlsnodes.http.reader import RequestReader
from tlsnodes.stream.listener import Listener
from tlsnodes.stream.poller import Poller
from tlsnodes.stream.stream import Stream, StreamState
from tlsnodes.tls.context import KeyedCertificate, Policy, set_policy
from tlsnodes.tls.session_ids import KeptSessions, session_of

CAPACITY = 20_000
MAX_CONNECTIONS = 10_000
IDLE_S = 60.0
MAX_TOLD = 1000
"""More ids in use than this are not told one by one."""
_RANDOM_BYTES = MAX_ID_BYTES + 8
_SWEEP_S = 1.0
_LIMITS = HeadLimits()

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendOptions:
    """What a back end is to do.

    Attributes:
        name: that it answers with.
        listener: where clients connect.
        certificate: that it shows.
        origin: of its record.
    """

    name: str
    listener: socket.socket
    certificate: KeyedCertificate
    origin: Origin


class Issuer:
    """Makes ids and keeps sessions, as the last record says."""

    def __init__(self) -> None:
        self.record: SessionIdRecord | None = None
        self.sessions = KeptSessions(self._make_id, capacity=CAPACITY)

    def take(self, record: SessionIdRecord) -> None:
        """Obey another record from now on."""
        if record != self.record:
            _log.info("session ids", version=record.version, issues=record.issues, accepts=record.accepts)
        self.record = record
        self.sessions.set_lifetime(record.lifetime_s)

    def _make_id(self) -> bytes | None:
        record = self.record
        if record is None:
            return None
        made = record.make_id(os.urandom(_RANDOM_BYTES), time.time())
        return None if made is None or made.hex() in record.excluded else made

    def report(self) -> SessionIdReport:
        """What is left of the ids that the record says are only accepted."""
        record = self.record
        assert record is not None, "it reports on a record"
        in_use = self.sessions.in_use() if record.accepts else {}
        groups = []
        for keys in read_group(record.accepts):
            left = {
                i: e for i, e in in_use.items() if (key := key_of(i)) is not None and keys.first <= key <= keys.last
            }
            told = tuple(IdInUse(session_id=i.hex(), expires_s=e) for i, e in left.items())
            groups.append(
                GroupReport(
                    keys=write_group([keys]),
                    last_expiry_s=max(left.values(), default=0),
                    in_use=told if len(told) <= MAX_TOLD else None,
                )
            )
        return SessionIdReport(version=record.version, groups=tuple(groups))


class _Connection:
    """One client: HTTP/1.1 with keep-alive; bodies are read and dropped."""

    def __init__(self, backend: Backend, fd: int) -> None:
        self._backend = backend
        self._reader = RequestReader(_LIMITS)
        self._keeps_alive = False
        self.last_used = backend.poller.now
        self.stream = Stream()
        self.stream.handler = self
        self.stream.attach(backend.poller, fd, backend.issuer.sessions)

    def on_open(self) -> None:
        """See `tlsnodes.stream.stream.Handler`, and below."""

    def on_readable(self) -> None:
        while self.stream.unsent == 0 and (data := self.stream.read()):
            self.last_used = self._backend.poller.now
            for event in self._reader.feed(data):
                match event:
                    case RequestHead():
                        self._keeps_alive = event.keep_alive
                    case Marker.END:
                        self._answer(HTTPStatus.OK)
                    case Violation():
                        self._keeps_alive = False
                        self._answer(HTTPStatus(event.status))
        self.stream.flush()
        if self.stream.state > StreamState.OPEN:
            self.end()

    def on_writable(self) -> None:
        self.on_readable()

    def on_lost(self) -> None:
        self.end()

    def _answer(self, status: HTTPStatus) -> None:
        session_id, is_resumed = session_of(self.stream)
        document = {"server": self._backend.name, "session_id": session_id.hex(), "resumed": is_resumed}
        body = json.dumps(document).encode() + b"\n"
        connection = "keep-alive" if self._keeps_alive else "close"
        head = (
            f"HTTP/1.1 {status} {status.phrase}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"Cache-Control: no-store\r\nConnection: {connection}\r\n\r\n"
        )
        self.stream.put(head.encode() + body)
        if not self._keeps_alive:
            self.stream.finish()

    def end(self) -> None:
        """Close; without a close_notify of ours OpenSSL would not let the session be resumed."""
        self.stream.finish()
        self.stream.close()
        self._backend.connections.discard(self)


class Backend:
    """Accepts clients until closed; to be used on one event loop."""

    def __init__(self, options: BackendOptions) -> None:
        self.name = options.name
        self.issuer = Issuer()
        set_policy(self.issuer.sessions, Policy.INTERMEDIATE)
        self.issuer.sessions.set_session_context(b"pentaflow backend")
        self.issuer.sessions.add_certificate(options.certificate.certificate_pem, options.certificate.key_pem)
        self.connections: set[_Connection] = set()
        self.poller = Poller()
        self._listener = Listener(self.poller, options.listener)
        self._listener.handler = self
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.poller.fileno(), self.poller.run)

    def on_accepted(self, fd: int, address: bytes, port: int) -> None:
        """See `tlsnodes.stream.listener.Handler`."""
        del address, port
        if len(self.connections) >= MAX_CONNECTIONS:
            os.close(fd)
            return
        self.connections.add(_Connection(self, fd))

    def on_starved(self, error: int) -> None:
        """Nobody can be accepted for a while."""
        _log.warning("no more connections can be accepted", reason=os.strerror(error))

    def sweep(self) -> None:
        """Close what has been idle for too long."""
        now = self.poller.tick()
        for connection in [c for c in self.connections if now - c.last_used > IDLE_S]:
            connection.end()
        self._listener.resume()

    def close(self) -> None:
        """End all connections."""
        self._listener.close()
        for connection in list(self.connections):
            connection.end()
        self._loop.remove_reader(self.poller.fileno())
        self.poller.close()


async def run_backend(options: BackendOptions) -> None:
    """Serve until cancelled.

    Raises:
        CertificateError, PrivateKeyError: the certificate is not usable.
    """
    backend = Backend(options)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(follow(options.origin, backend.issuer.take, backend.issuer.report))
            while True:
                await asyncio.sleep(_SWEEP_S)
                backend.sweep()
    finally:
        backend.close()
