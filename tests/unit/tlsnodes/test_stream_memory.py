"""Streams leave no memory behind. `LONG=1` makes twenty times as many connections."""

from __future__ import annotations

import gc
import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from support.certificates import make_certificate
from support.streams import Recorder, run_idle, run_until
from support.tlspeer import TlsPeer, client_settings
from tlsnodes.stream.listener import Listener
from tlsnodes.stream.poller import Poller
from tlsnodes.stream.stream import StreamState
from tlsnodes.tls.context import KeyedCertificate, PeerAuthorities, TlsClientContext, TlsContext, TlsServerName

CYCLES = 20_000 if os.environ.get("LONG") else 1_000


def resident_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


class Server:
    """Accepts streams and remembers the newest."""

    def __init__(self, poller: Poller, context: TlsContext) -> None:
        self.poller, self.context = poller, context
        self.newest: Recorder | None = None

    def on_accepted(self, fd: int, address: bytes, port: int) -> None:
        self.newest = Recorder()
        self.newest.stream.attach(self.poller, fd, self.context)

    def on_starved(self, error: int) -> None:
        raise AssertionError(error)


@pytest.mark.timeout(900)
def test_connections_leave_no_memory_behind() -> None:
    poller = Poller()
    made = make_certificate(kind="ec")
    certificate = KeyedCertificate(certificate_pem=made.certificate_pem, key_pem=made.key_pem)
    server = Server(
        poller, TlsContext(certificates=[certificate], session_context="web", ticket_keys=(b"k" * 80, b"l" * 80))
    )
    listener = Listener(poller, socket.create_server(("127.0.0.1", 0)))
    listener.handler = server
    with socket.socket(fileno=os.dup(listener.fileno())) as sock:
        address = sock.getsockname()
    settings = client_settings()
    outgoing = TlsServerName(
        TlsClientContext(authorities=PeerAuthorities(certificates_pem=made.certificate_pem)), "www.example.test"
    )

    def accepted() -> Recorder:
        run_until(poller, lambda: server.newest is not None)
        newest, server.newest = server.newest, None
        assert newest is not None
        return newest

    def cycle(number: int) -> None:
        if number % 5 == 4:  # both ends are streams, and sessions are resumed
            client = Recorder()
            client.stream.connect(poller, socket.inet_aton("127.0.0.1"), address[1], outgoing)
            other = accepted()
            run_until(poller, lambda: client.stream.state == StreamState.OPEN == other.stream.state)
            client.send(b"x")
            run_until(poller, lambda: other.received == b"x")
            other.stream.close()
            client.stream.close()
            return
        with socket.create_connection(address) as sock:
            peer = TlsPeer(poller, sock, settings)
            ours = accepted()
            match number % 5:
                case 0:  # whole life, and more than the socket takes
                    peer.handshake()
                    peer.send(b"x" * 1000)
                    run_until(poller, lambda: len(ours.received) == 1000)
                    ours.send(b"y" * 500_000)
                    ours.stream.finish()
                    peer.close()
                case 1:  # cut off in the handshake
                    with suppress(ssl.SSLWantReadError):
                        peer.tls.do_handshake()
                    peer.push()
                case 2:  # garbage
                    sock.sendall(b"\x16\x03\x01\x00\x05hello")
                    run_until(poller, lambda: ours.stream.state == StreamState.FAILED)
                case _:  # dropped while open, with output that was never sent
                    peer.handshake()
                    ours.stream.put(b"x")
            if number % 2:
                ours.stream.close()
            else:
                ours.stream.abort()
        run_idle(poller)

    for number in range(400):
        cycle(number)
    gc.collect()
    before = resident_kib()
    for number in range(CYCLES):
        cycle(number)
    gc.collect()
    grown = resident_kib() - before
    listener.close()
    poller.close()
    # A leak of one connection's state, some 40 KiB each, would be five times as much.
    assert grown < 8_000
