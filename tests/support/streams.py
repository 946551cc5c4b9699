"""Streams of tlsnodes.stream as a test drives them: a poller by hand, and a handler that remembers."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable

from tlsnodes.stream.poller import Poller
from tlsnodes.stream.stream import Stream, StreamState
from tlsnodes.tls.binding import TlsSettings

PATIENCE_S = 20.0


def run_until(poller: Poller, condition: Callable[[], bool]) -> None:
    """Run the poller as an event loop would, until the condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "nothing happened for too long"
        if select.select([poller.fileno()], [], [], 0.01)[0]:
            poller.run()


def run_idle(poller: Poller) -> None:
    """Run the poller until nothing is ready."""
    while select.select([poller.fileno()], [], [], 0)[0]:
        poller.run()


class Recorder:
    """Reads what comes (unless `reading` is false), and remembers it and what the stream said."""

    def __init__(self, stream: Stream | None = None) -> None:
        self.stream = stream or Stream()
        self.stream.handler = self
        self.received = bytearray()
        self.calls: list[str] = []
        self.reading = True

    def on_open(self) -> None:
        self.calls.append("open")

    def on_readable(self) -> None:
        if self.reading:
            self.read()

    def read(self) -> None:
        """All there is now."""
        while part := self.stream.read():
            self.received += part

    def on_writable(self) -> None:
        self.calls.append("writable")

    def on_lost(self) -> None:
        self.calls.append(f"lost: {self.stream.failure}")

    def send(self, data: bytes) -> None:
        self.stream.put(data)
        self.stream.flush()

    def is_in(self, state: StreamState) -> Callable[[], bool]:
        return lambda: self.stream.state == state


def attached(poller: Poller, tls: TlsSettings | None = None) -> tuple[Recorder, socket.socket]:
    """A stream on one end of a TCP connection over loopback, and the other end, which blocks."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    accepted.setblocking(False)
    peer.settimeout(PATIENCE_S)
    recorder = Recorder()
    recorder.stream.attach(poller, accepted.detach(), tls)
    return recorder, peer
