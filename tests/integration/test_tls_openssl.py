"""TLS streams behind a listener, with `openssl s_client` on the other end."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from support.certificates import Authority
from support.streams import Recorder, run_until
from tlsnodes.stream.listener import Listener
from tlsnodes.stream.poller import Poller
from tlsnodes.stream.stream import StreamState
from tlsnodes.tls.context import KeyedCertificate, TlsContext

AUTHORITY = Authority("authority")


class Echo(Recorder):
    """Sends back what comes, and ends when the client does."""

    def on_readable(self) -> None:
        super().on_readable()
        if self.received:
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

    def s_client(self, tmp_path: Path, *arguments: str, typed: bytes = b"hello\n", until: bytes = b"hello") -> str:
        """Output of `openssl s_client` once `until` is in it, and `typed` was sent."""
        with socket.socket(fileno=os.dup(self.listener.fileno())) as sock:
            port = sock.getsockname()[1]
        log = tmp_path / "s_client.log"
        command = [
            "openssl",
            "s_client",
            "-connect",
            f"127.0.0.1:{port}",
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


def context(ocsp_of: tuple[str, ...] = ()) -> TlsContext:
    """Two names; a response is stapled to the certificates of `ocsp_of`."""
    certificates = []
    for name in ("www.example.test", "shop.example.test"):
        made = AUTHORITY.issue(name)
        response = responder_says(made.certificate_pem) if name in ocsp_of else None
        certificates.append(
            KeyedCertificate(certificate_pem=made.certificate_pem, key_pem=made.key_pem, ocsp_response=response)
        )
    return TlsContext(certificates=certificates, session_context="web", ticket_keys=(bytes(range(80)),))


def responder_says(certificate_pem: bytes) -> bytes:
    issuer = x509.load_pem_x509_certificate(AUTHORITY.certificate_pem)
    now = datetime.now(UTC)
    return (
        ocsp.OCSPResponseBuilder()
        .add_response(
            cert=x509.load_pem_x509_certificate(certificate_pem),
            issuer=issuer,
            algorithm=hashes.SHA256(),
            cert_status=ocsp.OCSPCertStatus.GOOD,
            this_update=now,
            next_update=now + timedelta(days=1),
            revocation_time=None,
            revocation_reason=None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, issuer)
        .sign(AUTHORITY.key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


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


def test_renegotiation_is_refused(server: EchoServer, tmp_path: Path) -> None:
    server.context = context()
    said = server.s_client(tmp_path, "-tls1_2", typed=b"R\n", until=b"no renegotiation")
    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said


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
