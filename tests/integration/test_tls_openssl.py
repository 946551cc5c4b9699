"""TLS streams behind a listener, with `openssl s_client` on the other end."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.certificates import Authority
from support.streams import Recorder, run_until
from tlsnodes.stream.listener import Listener
from tlsnodes.stream.poller import Poller
from tlsnodes.stream.stream import StreamState
from tlsnodes.tls.context import KeyedCertificate, PeerAuthorities, TlsContext

AUTHORITY = Authority("authority")


class Echo(Recorder):
    """Sends back what comes, and ends when the client does."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""

    def on_readable(self) -> None:
        super().on_readable()
        if self.received:
            self.sent += self.received
            self.send(bytes(self.received))
            self.received.clear()
        if self.stream.state == StreamState.PEER_CLOSED:
            self.stream.finish()
            self.stream.close()

    def on_lost(self) -> None:
        super().on_lost()
        self.stream.close()


class EchoServer:
    """A listener whose connections echo."""

    def __init__(self) -> None:
        self.poller = Poller()
        self.listener = Listener(self.poller, socket.create_server(("127.0.0.1", 0)))
        self.listener.handler = self
        self.context: TlsContext | None = None
        self.streams: list[Echo] = []

    def on_accepted(self, fd: int, address: bytes, port: int) -> None:
        assert address == socket.inet_aton("127.0.0.1")
        assert port
        echo = Echo()
        self.streams.append(echo)
        echo.stream.attach(self.poller, fd, self.context)

    def on_starved(self, error: int) -> None:
        raise AssertionError(error)

    @property
    def port(self) -> int:
        with socket.socket(fileno=os.dup(self.listener.fileno())) as sock:
            port: int = sock.getsockname()[1]
            return port

    def s_client(self, tmp_path: Path, *arguments: str, typed: bytes = b"hello\n", until: bytes = b"hello") -> str:
        """Output of `openssl s_client` once `until` is in it, and `typed` was sent."""
        log = tmp_path / "s_client.log"
        command = [
            "openssl",
            "s_client",
            "-connect",
            f"127.0.0.1:{self.port}",
            "-servername",
            "www.example.test",
            *arguments,
        ]
        with (
            log.open("wb") as output,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT) as process,
        ):
            assert process.stdin is not None
            try:
                process.stdin.write(typed)
                process.stdin.flush()
                run_until(self.poller, lambda: until in log.read_bytes() or process.poll() is not None)
                process.stdin.close()  # what it has buffered comes when it ends
                run_until(self.poller, lambda: process.poll() is not None)
            finally:
                process.kill()
        return log.read_text(errors="replace")

    def close(self) -> None:
        self.listener.close()
        for echo in self.streams:
            echo.stream.close()
        self.poller.close()


@pytest.fixture
def server() -> Iterator[EchoServer]:
    server = EchoServer()
    yield server
    server.close()


def context(ocsp_of: tuple[str, ...] = (), clients: PeerAuthorities | None = None) -> TlsContext:
    """Two names; a response is stapled to the certificates of `ocsp_of`."""
    certificates = []
    for name in ("www.example.test", "shop.example.test"):
        made = AUTHORITY.issue(name)
        response = AUTHORITY.ocsp_response(made.certificate_pem) if name in ocsp_of else None
        certificates.append(
            KeyedCertificate(certificate_pem=made.certificate_pem, key_pem=made.key_pem, ocsp_response=response)
        )
    keys = (bytes(range(80)),)
    return TlsContext(certificates=certificates, session_context="web", clients=clients, ticket_keys=keys)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_an_ocsp_response_is_stapled_to_its_certificate(server: EchoServer, tmp_path: Path, version: str) -> None:
    server.context = context(("shop.example.test",))
    said = server.s_client(tmp_path, version, "-status")
    assert "OCSP response: no response sent" in said
    said = server.s_client(tmp_path, version, "-status", "-servername", "shop.example.test")
    assert "OCSP Response Status: successful" in said
    assert "Cert Status: good" in said
    said = server.s_client(tmp_path, version, "-servername", "shop.example.test")
    assert "OCSP" not in said


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_no_chain_is_made_of_the_authorities_of_clients(server: EchoServer, tmp_path: Path, version: str) -> None:
    """Who signed the clients' certificates may have signed the server's, too."""
    clients = PeerAuthorities(certificates_pem=AUTHORITY.certificate_pem, required=False)
    server.context = context(clients=clients)
    said = server.s_client(tmp_path, version, "-showcerts")
    assert "Acceptable client certificate CA names\nCN = authority" in said
    assert said.count("BEGIN CERTIFICATE") == 1


def test_renegotiation_is_refused(server: EchoServer, tmp_path: Path) -> None:
    server.context = context()
    said = server.s_client(tmp_path, "-tls1_2", typed=b"R\n", until=b"no renegotiation")
    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said


class RudeClient:
    """A client of one version of TLS that does what nobody should: OpenSSL itself, by its C interface."""

    def __init__(self, port: int, version: int) -> None:
        lib = self._lib = ctypes.CDLL("libssl.so.3")
        for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
            getattr(lib, name).restype = ctypes.c_void_p
        self.socket = socket.create_connection(("127.0.0.1", port))
        self._deaf, self._mute = socket.socketpair()
        self._deaf.setblocking(False)
        self._ctx = ctypes.c_void_p(lib.SSL_CTX_new(ctypes.c_void_p(lib.TLS_client_method())))
        lib.SSL_CTX_ctrl(self._ctx, 124, ctypes.c_long(version), None)  # SSL_CTRL_SET_MAX_PROTO_VERSION
        self._ssl = ctypes.c_void_p(lib.SSL_new(self._ctx))
        lib.SSL_set_fd(self._ssl, self.socket.fileno())

    def connect(self) -> None:
        """Blocks: for a thread."""
        self._lib.SSL_connect(self._ssl)

    def renegotiate(self) -> None:
        """Ask for it, deaf to what comes."""
        self._lib.SSL_set_rfd(self._ssl, self._deaf.fileno())
        self._lib.SSL_set_wfd(self._ssl, self.socket.fileno())
        self._lib.SSL_renegotiate(self._ssl)
        self._lib.SSL_do_handshake(self._ssl)

    def update_keys(self, times: int, *, requested: bool, data: bytes = b"") -> None:
        """Send so many KeyUpdates, which ask for one in return or do not, each with some data behind it."""
        for _ in range(times):
            self._lib.SSL_key_update(self._ssl, int(requested))
            self._lib.SSL_do_handshake(self._ssl)
            if data:
                self._lib.SSL_write(self._ssl, data, len(data))

    def close(self) -> None:
        self._lib.SSL_free(self._ssl)
        self._lib.SSL_CTX_free(self._ctx)
        for sock in (self.socket, self._deaf, self._mute):
            sock.close()


def connected(server: EchoServer, version: int) -> tuple[RudeClient, Echo]:
    """After the handshake."""
    client = RudeClient(server.port, version)
    thread = threading.Thread(target=client.connect)
    thread.start()
    run_until(server.poller, lambda: bool(server.streams) and server.streams[-1].calls == ["open"])
    thread.join()
    return client, server.streams[-1]


def test_a_client_that_asks_for_alerts_and_reads_none_is_cut_off(server: EchoServer, tmp_path: Path) -> None:
    server.context = context()
    client, echo = connected(server, 0x0303)
    echo.send(bytes(32 << 20))
    assert echo.stream.unsent > 65_536
    client.renegotiate()
    run_until(server.poller, lambda: len(echo.calls) == 2)
    assert echo.calls == ["open", "lost: asks for answers and does not read them"]
    client.close()
    assert "hello" in server.s_client(tmp_path)  # nothing of it reaches the next one


@pytest.mark.parametrize("requested", [False, True])
def test_a_client_may_change_its_keys_but_not_all_the_time(server: EchoServer, requested: bool) -> None:
    server.context = context()
    client, echo = connected(server, 0x0304)
    client.update_keys(10, requested=requested, data=b"x")
    client.update_keys(10, requested=requested)
    client.update_keys(1, requested=requested, data=b"y")
    run_until(server.poller, lambda: echo.sent == b"x" * 10 + b"y")
    assert echo.calls == ["open"]
    client.update_keys(100, requested=requested, data=b"x")
    run_until(server.poller, lambda: len(echo.calls) == 2)
    assert echo.calls == ["open", "lost: changes its keys too often"]
    assert len(echo.sent) < 50
    client.close()


def test_tickets_allow_no_early_data_and_there_is_no_compression(server: EchoServer, tmp_path: Path) -> None:
    server.context = context()
    said = server.s_client(tmp_path, "-tls1_3")
    assert said.count("Post-Handshake New Session Ticket arrived") == 1
    assert "Max Early Data: 0" in said
    assert "Compression: NONE" in said
    assert "Secure Renegotiation IS" in said


def test_early_data_is_not_taken(server: EchoServer, tmp_path: Path) -> None:
    server.context = context()
    session, early = tmp_path / "session.pem", tmp_path / "early"
    early.write_bytes(b"replayed\n")
    server.s_client(tmp_path, "-tls1_3", "-sess_out", str(session))
    said = server.s_client(tmp_path, "-tls1_3", "-sess_in", str(session), "-early_data", str(early))
    assert "Reused, TLSv1.3" in said
    assert "replayed" not in said


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(server: EchoServer, tmp_path: Path, version: str) -> None:
    server.context = context()
    said = server.s_client(tmp_path, version, "-cipher", "ALL:@SECLEVEL=0")
    assert "alert protocol version" in said


@pytest.mark.parametrize("group", ["X25519", "P-256", "P-384"])
def test_groups_of_the_policy(server: EchoServer, tmp_path: Path, group: str) -> None:
    server.context = context()
    assert "hello" in server.s_client(tmp_path, "-groups", group)


def test_a_group_outside_the_policy_is_refused(server: EchoServer, tmp_path: Path) -> None:
    server.context = context()
    assert "handshake failure" in server.s_client(tmp_path, "-groups", "P-521")
