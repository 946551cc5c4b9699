"""The OpenSSL binding against Python's own TLS client on memory buffers."""

from __future__ import annotations

import gc
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.certificates import make_certificate
from tlsnodes.tls.connection import TlsConnection, TlsFailure, TlsState
from tlsnodes.tls.old_context import CertificateError, PrivateKeyError, TlsContext

EC = make_certificate()


@pytest.fixture
def context() -> TlsContext:
    return make_context()


def make_context(name: str = "web", kind: str = "ec") -> TlsContext:
    certificate = make_certificate(kind=kind)
    return TlsContext(certificate_pem=certificate.certificate_pem, key_pem=certificate.key_pem, session_context=name)


class Client:
    """Python's TLS client, on memory buffers."""

    def __init__(
        self,
        *,
        version: ssl.TLSVersion | None = None,
        name: str = "www.example.test",
        kind: str = "ec",
        settings: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
        alpn: list[str] | None = None,
    ) -> None:
        settings = settings or client_settings(kind)
        if version is not None:
            settings.minimum_version = settings.maximum_version = version
        if alpn:
            settings.set_alpn_protocols(alpn)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = settings.wrap_bio(self._in, self._out, server_hostname=name, session=session)

    def handshake(self) -> bytes:
        """One step; what goes to the server."""
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._out.read()

    def take(self, ciphertext: bytes) -> None:
        self._in.write(ciphertext)

    def send(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self._out.read()

    def read(self) -> bytes:
        parts = []
        with suppress(ssl.SSLWantReadError):
            while part := self.tls.read(65_536):
                parts.append(part)
        return b"".join(parts)

    def close(self) -> bytes:
        """Send close_notify."""
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self._out.read()


def client_settings(kind: str = "ec") -> ssl.SSLContext:
    settings = ssl.create_default_context(cadata=make_certificate(kind=kind).certificate_pem.decode())
    settings.check_hostname = False
    return settings


def connect(server: TlsConnection, client: Client, *, step: int | None = None) -> None:
    """Run the handshake, feeding the server in steps."""
    for _ in range(4):
        flight = client.handshake()
        for part in pieces(flight, step):
            result = server.receive(part)
            client.take(result.ciphertext)
            assert result.plaintext == b""


def pieces(data: bytes, step: int | None) -> Iterator[bytes]:
    step = step or max(1, len(data))
    return (data[i : i + step] for i in range(0, len(data), step))


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("step", [None, 1], ids=["whole", "bytewise"])
def test_handshake_and_data(version: ssl.TLSVersion, kind: str, step: int | None) -> None:
    server, client = TlsConnection(make_context(kind=kind)), Client(version=version, kind=kind)
    connect(server, client, step=step)
    assert server.state is TlsState.OPEN
    info = server.handshake_info()
    assert info.version == client.tls.version()
    assert info.cipher == (client.tls.cipher() or ("",))[0]
    assert (info.resumed, server.resumed, info.server_name) == (False, False, "www.example.test")

    record = client.send(b"ping")
    received = b"".join(server.receive(part).plaintext for part in pieces(record, step))
    assert received == b"ping"
    client.take(server.send(b"pong"))
    assert client.read() == b"pong"


@pytest.mark.parametrize("version", VERSIONS)
def test_several_records_and_large_data_in_one_call(context: TlsContext, version: ssl.TLSVersion) -> None:
    server, client = TlsConnection(context), Client(version=version)
    connect(server, client)
    blob = bytes(range(256)) * 4096
    assert server.receive(client.send(blob) + client.send(b"!")).plaintext == blob + b"!"
    client.take(server.send(blob))
    assert client.read() == blob
    assert server.send(b"") == b""


def test_data_may_come_with_the_end_of_the_handshake(context: TlsContext) -> None:
    server, client = TlsConnection(context), Client(version=ssl.TLSVersion.TLSv1_3)
    client.take(server.receive(client.handshake()).ciphertext)
    result = server.receive(client.handshake() + client.send(b"early bird"))
    assert (result.state, result.plaintext) == (TlsState.OPEN, b"early bird")


def test_connections_of_one_context_do_not_mix(context: TlsContext) -> None:
    pairs = [(TlsConnection(context), Client()) for _ in range(3)]
    flights = [client.handshake() for _, client in pairs]
    for (server, client), flight in zip(pairs, flights, strict=True):
        half = len(flight) // 2
        client.take(server.receive(flight[:half]).ciphertext)
    for (server, client), flight in zip(pairs, flights, strict=True):
        client.take(server.receive(flight[len(flight) // 2 :]).ciphertext)
    for number, (server, client) in enumerate(pairs):
        server.receive(client.handshake())
        assert server.receive(client.send(b"%d" % number)).plaintext == b"%d" % number


@pytest.mark.parametrize("version", VERSIONS)
def test_close_notify_both_ways(context: TlsContext, version: ssl.TLSVersion) -> None:
    server, client = TlsConnection(context), Client(version=version)
    connect(server, client)
    result = server.receive(client.send(b"last") + client.close())
    assert (result.state, result.plaintext) == (TlsState.PEER_CLOSED, b"last")
    client.take(server.close())
    client.tls.unwrap()  # raises unless close_notify came


@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_asked_for_before_close_notify_can_still_be_answered(
    context: TlsContext, version: ssl.TLSVersion
) -> None:
    server, client = TlsConnection(context), Client(version=version)
    connect(server, client)
    assert server.receive(client.close()).state is TlsState.PEER_CLOSED
    client.take(server.send(b"part two"))
    assert client.read() == b"part two"


@pytest.mark.parametrize("version", VERSIONS)
def test_resumption_by_ticket_and_only_within_a_vserver(context: TlsContext, version: ssl.TLSVersion) -> None:
    settings = client_settings()
    server, client = TlsConnection(context), Client(version=version, settings=settings)
    connect(server, client)
    client.take(server.send(b"x"))
    client.read()  # 1.3 tickets come with data
    session = client.tls.session
    assert session is not None
    assert session.has_ticket

    server, client = TlsConnection(context), Client(settings=settings, session=session)
    connect(server, client)
    assert server.resumed
    assert client.tls.session_reused

    # Another vserver's context has another ticket key: a full handshake, not an error.
    server, client = TlsConnection(make_context("other")), Client(settings=settings, session=session)
    connect(server, client)
    assert server.state is TlsState.OPEN
    assert not server.resumed


def alert_of(ciphertext: bytes) -> tuple[int, int]:
    """(level, description) of a record that is a plain alert (RFC 8446, 6)."""
    assert ciphertext[0] == 21, ciphertext
    return ciphertext[5], ciphertext[6]


def test_no_common_version_is_answered_by_an_alert(context: TlsContext) -> None:
    # A ClientHello of TLS 1.1, which Python's client no longer makes.
    body = b"\x03\x02" + bytes(32) + b"\x00" + b"\x00\x02\xc0\x13" + b"\x01\x00"
    hello = b"\x16\x03\x01" + (len(body) + 4).to_bytes(2) + b"\x01" + len(body).to_bytes(3) + body
    server = TlsConnection(context)
    result = server.receive(hello)
    assert result.state is TlsState.FAILED
    assert server.failure == "unsupported protocol"
    assert alert_of(result.ciphertext) == (2, 70)  # protocol_version


def test_no_common_cipher_is_answered_by_an_alert(context: TlsContext) -> None:
    settings = client_settings()
    settings.maximum_version = ssl.TLSVersion.TLSv1_2
    settings.set_ciphers("AES128-SHA:@SECLEVEL=0")
    server = TlsConnection(context)
    result = server.receive(Client(settings=settings).handshake())
    assert result.state is TlsState.FAILED
    assert server.failure == "no shared cipher"
    assert alert_of(result.ciphertext) == (2, 40)  # handshake_failure


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1"), (["http/1.0"], "http/1.0")]
)
def test_alpn(context: TlsContext, offered: list[str], chosen: str) -> None:
    server, client = TlsConnection(context), Client(alpn=offered)
    connect(server, client)
    assert client.tls.selected_alpn_protocol() == chosen


def test_alpn_without_a_common_protocol_is_refused(context: TlsContext) -> None:
    server = TlsConnection(context)
    result = server.receive(Client(alpn=["h2"]).handshake())
    assert (result.state, server.failure) == (TlsState.FAILED, "no application protocol")
    assert alert_of(result.ciphertext) == (2, 120)


@pytest.mark.parametrize("name", ["other.example.test", "xn--nxasmq6b", "127.0.0.1"])
def test_an_unknown_name_gets_the_certificate_that_there_is(context: TlsContext, name: str) -> None:
    server, client = TlsConnection(context), Client(name=name)
    connect(server, client)
    assert server.state is TlsState.OPEN
    assert server.handshake_info().server_name == (None if name == "127.0.0.1" else name)


@pytest.mark.parametrize(
    ("garbage", "failure"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "http request"),
        (b"\x00" * 600, None),
        (b"\xff" * 600, None),
        (b"SSH-2.0-OpenSSH_9.2\r\n", None),
        (b"\x16\x03\x01\xff\xff" + b"\x01" * 70_000, None),
    ],
)
def test_garbage_fails_with_a_reason(context: TlsContext, garbage: bytes, failure: str | None) -> None:
    server = TlsConnection(context)
    result = server.receive(garbage)
    assert (result.state, result.plaintext) == (TlsState.FAILED, b"")
    assert server.failure
    if failure:
        assert server.failure == failure
    assert server.close() == b""
    # The context is none the worse for it.
    good, client = TlsConnection(context), Client()
    connect(good, client)
    assert good.state is TlsState.OPEN


@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_changed_on_the_way_is_never_delivered(context: TlsContext, version: ssl.TLSVersion) -> None:
    server, client = TlsConnection(context), Client(version=version)
    connect(server, client)
    record = bytearray(client.send(b"pay 10"))
    record[-1] ^= 1
    result = server.receive(bytes(record))
    assert (result.state, result.plaintext) == (TlsState.FAILED, b"")
    assert result.ciphertext  # the alert, encrypted
    client.take(result.ciphertext)
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        client.tls.read(1)


def test_a_handshake_cut_short_is_just_waiting(context: TlsContext) -> None:
    flight = Client().handshake()
    server = TlsConnection(context)
    assert server.receive(flight[:-1]) == (b"", b"", TlsState.HANDSHAKING)
    assert server.close() == b""


def test_sending_before_the_handshake_is_over_fails(context: TlsContext) -> None:
    server = TlsConnection(context)
    with pytest.raises(TlsFailure):
        server.send(b"x")


def test_bad_certificates_and_keys() -> None:
    rsa = make_certificate(kind="rsa")
    with pytest.raises(CertificateError, match="no PEM certificate"):
        TlsContext(certificate_pem=b"", key_pem=EC.key_pem, session_context="x")
    with pytest.raises(CertificateError, match="no PEM certificate"):
        TlsContext(certificate_pem=EC.key_pem, key_pem=EC.key_pem, session_context="x")
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    with pytest.raises(CertificateError, match="certificate 2 cannot be read"):
        TlsContext(certificate_pem=EC.certificate_pem + broken, key_pem=EC.key_pem, session_context="x")
    with pytest.raises(PrivateKeyError, match="no unencrypted PEM private key"):
        TlsContext(certificate_pem=EC.certificate_pem, key_pem=b"x", session_context="x")
    for other in (rsa, make_certificate("other.test")):
        with pytest.raises(PrivateKeyError, match="not the key of the certificate"):
            TlsContext(certificate_pem=EC.certificate_pem, key_pem=other.key_pem, session_context="x")


def test_the_chain_is_sent(context: TlsContext) -> None:
    other = make_certificate("intermediate.test").certificate_pem
    chained = TlsContext(certificate_pem=EC.certificate_pem + other, key_pem=EC.key_pem, session_context="x")
    plain = len(TlsConnection(context).receive(Client().handshake()).ciphertext)
    longer = len(TlsConnection(chained).receive(Client().handshake()).ciphertext)
    assert longer > plain + 300


def test_connections_may_outlive_their_context() -> None:
    context = make_context()
    server, client = TlsConnection(context), Client()
    del context
    gc.collect()
    connect(server, client)
    assert server.receive(client.send(b"x")).plaintext == b"x"


def resident_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def test_connections_leave_no_memory_behind(context: TlsContext) -> None:
    settings = client_settings()

    def cycle(number: int) -> None:
        server, client = TlsConnection(context), Client(settings=settings)
        match number % 4:
            case 0:  # whole life
                connect(server, client)
                client.take(server.send(server.receive(client.send(b"x" * 1000)).plaintext) + server.close())
            case 1:  # cut off in the handshake
                server.receive(client.handshake()[:-3])
            case 2:  # garbage
                server.receive(b"\x16\x03\x01\x00\x05hello")
            case _:  # dropped while open
                connect(server, client)

    for number in range(400):
        cycle(number)
    gc.collect()
    before = resident_kib()
    for number in range(3000):
        cycle(number)
    gc.collect()
    # A leak of one connection's state, some 40 KiB, would be over 100,000 KiB by now.
    assert resident_kib() - before < 8_000
