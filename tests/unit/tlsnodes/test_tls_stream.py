"""TLS streams, with Python's own TLS on the other end of a socket."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from support.certificates import Authority, make_certificate
from support.streams import Recorder, attached, run_until
from support.tlspeer import TlsPeer, client_settings
from tlsnodes.stream.poller import Poller
from tlsnodes.stream.stream import StreamState
from tlsnodes.tls.binding import TlsSettings
from tlsnodes.tls.context import KeyedCertificate, PeerAuthorities, TlsClientContext, TlsContext, TlsServerName

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
BLOB = bytes(range(256)) * 4096 * 4  # 4 MiB


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller()
    yield poller
    poller.close()


def make_context(name: str = "web", kind: str = "ec", ticket_keys: tuple[bytes, ...] = ()) -> TlsContext:
    made = make_certificate(kind=kind)
    certificate = KeyedCertificate(certificate_pem=made.certificate_pem, key_pem=made.key_pem)
    return TlsContext(certificates=[certificate], session_context=name, ticket_keys=ticket_keys)


class Pair:
    """A stream as server and Python as client."""

    def __init__(
        self,
        poller: Poller,
        *,
        context: TlsContext | None = None,
        settings: ssl.SSLContext | None = None,
        kind: str = "ec",
        version: ssl.TLSVersion | None = None,
        alpn: list[str] | None = None,
        name: str | None = "www.example.test",
        session: ssl.SSLSession | None = None,
        step: int | None = None,
        handshake: bool = True,
    ) -> None:
        settings = settings or client_settings(kind)
        if version is not None:
            settings.minimum_version = settings.maximum_version = version
        if alpn:
            settings.set_alpn_protocols(alpn)
        self.poller = poller
        self.server, self.socket = attached(poller, context or make_context(kind=kind))
        self.stream = self.server.stream
        self.client = TlsPeer(poller, self.socket, settings, name=name, session=session, step=step)
        if handshake:
            self.client.handshake()
            run_until(poller, lambda: self.stream.state != StreamState.HANDSHAKING)

    def resumed(self) -> bool:
        info = self.stream.handshake
        assert info is not None
        assert info.resumed == self.client.tls.session_reused
        return info.resumed

    def session(self) -> ssl.SSLSession:
        self.server.send(b"x")
        self.client.expect(b"x")  # 1.3 tickets come before data
        session = self.client.tls.session
        assert session is not None
        assert session.has_ticket
        return session

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("step", [None, 1, 7], ids=["whole", "bytewise", "by seven"])
def test_handshake_and_data(poller: Poller, version: ssl.TLSVersion, kind: str, step: int | None) -> None:
    pair = Pair(poller, version=version, kind=kind, step=step)
    assert pair.stream.state == StreamState.OPEN
    assert pair.server.calls == ["open"]
    info = pair.stream.handshake
    assert info is not None
    assert (info.version, info.cipher) == (pair.client.tls.version(), (pair.client.tls.cipher() or ("",))[0])
    assert (info.resumed, info.server_name, info.protocol) == (False, "www.example.test", None)
    assert pair.stream.peer_certificate is None
    pair.client.send(b"ping")
    run_until(poller, lambda: pair.server.received == b"ping")
    pair.server.send(b"pong")
    pair.client.expect(b"pong")
    pair.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_pieces_share_a_record_and_a_send(poller: Poller, version: ssl.TLSVersion) -> None:
    pair = Pair(poller, version=version)
    pair.session()
    pair.stream.put(b"head ")
    pair.stream.put(b"body")
    assert pair.client.pull() == b""
    pair.stream.flush()
    record = b""

    def pull() -> bool:
        nonlocal record
        record += pair.client.pull()
        return bool(record)

    run_until(poller, pull)
    assert len(record) < 9 + 40
    assert int.from_bytes(record[3:5]) + 5 == len(record)
    assert pair.client.tls.read(100) == b"head body"
    pair.close()


def test_output_of_another_stream_goes_out_before_its_own(poller: Poller) -> None:
    context = make_context()
    one, two = Pair(poller, context=context), Pair(poller, context=context)
    one.stream.put(b"first")
    two.stream.put(b"second")
    one.client.expect(b"first")  # flushed, since the buffers are shared
    two.stream.flush()
    one.stream.flush()
    two.client.expect(b"second")
    assert one.client.read() == b""
    one.stream.put(b"never sent")
    one.close()
    two.server.send(b"third")
    two.client.expect(b"third")
    two.close()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [1, 16_383, 16_384, 16_385, 65_536, 1 << 20])
def test_every_size_arrives_in_both_directions(poller: Poller, version: ssl.TLSVersion, size: int) -> None:
    pair = Pair(poller, version=version)
    blob = BLOB[:size]
    pair.stream.put(b"<")
    pair.stream.put(blob)
    pair.stream.put(b">")
    pair.stream.flush()
    pair.client.expect(b"<" + blob + b">")
    for start in range(0, size, 50_000):
        pair.client.send(blob[start : start + 50_000])
    run_until(poller, lambda: len(pair.server.received) == size)
    assert pair.server.received == blob
    pair.close()


def test_a_slow_reader_gets_all_of_it(poller: Poller) -> None:
    pair = Pair(poller)
    pair.server.send(BLOB)
    assert pair.stream.unsent > 0
    pair.stream.finish()
    pair.client.expect(BLOB)
    assert pair.server.calls == ["open", "writable"]
    pair.client.tls.unwrap()  # raises unless close_notify came
    pair.close()


def test_data_that_comes_with_the_end_of_the_handshake(poller: Poller) -> None:
    pair = Pair(poller, version=ssl.TLSVersion.TLSv1_3, handshake=False)
    tls = pair.client.tls
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    pair.client.push()
    pair.client.pull()
    tls.do_handshake()
    pair.client.send(b"early bird")  # in one segment with the client's Finished
    run_until(poller, lambda: pair.server.received == b"early bird")
    assert pair.server.calls == ["open"]
    pair.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_close_notify(poller: Poller, version: ssl.TLSVersion) -> None:
    pair = Pair(poller, version=version)
    pair.client.tls.write(b"last")
    pair.client.close()
    run_until(poller, lambda: pair.server.received == b"last")
    assert pair.stream.state == StreamState.PEER_CLOSED
    pair.server.send(b"part two")  # what was asked for before can still be answered
    pair.stream.finish()
    pair.client.expect(b"part two")
    pair.client.tls.unwrap()
    pair.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cut_is_not_a_close(poller: Poller, version: ssl.TLSVersion) -> None:
    pair = Pair(poller, version=version)
    pair.client.send(b"half a mess")
    pair.socket.shutdown(socket.SHUT_WR)
    run_until(poller, lambda: len(pair.server.calls) == 2)
    run_until(poller, lambda: pair.server.received == b"half a mess")
    assert pair.server.calls == ["open", "lost: closed without close_notify"]
    pair.close()


@pytest.mark.parametrize("sent", [0, 40])
def test_a_client_that_goes_during_the_handshake(poller: Poller, sent: int) -> None:
    server, peer = attached(poller, make_context())
    peer.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[:sent])
    peer.close()
    run_until(poller, lambda: bool(server.calls))
    assert server.calls == ["lost: closed during the handshake"]
    server.stream.close()


def alert_of(ciphertext: bytes) -> tuple[int, int]:
    """(level, description) of a record that is a plain alert (RFC 8446, 6)."""
    assert ciphertext[0] == 21, ciphertext
    return ciphertext[5], ciphertext[6]


@pytest.mark.parametrize(
    ("garbage", "failure"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "http request"),
        (b"\x00" * 600, "wrong version number"),
        (b"\xff" * 600, "unsupported protocol"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "wrong version number"),
        (b"\x16\x03\x01\xff\xff" + b"\x01" * 70_000, "packet length too long"),
    ],
)
def test_garbage_fails_with_a_reason(poller: Poller, garbage: bytes, failure: str) -> None:
    context = make_context()
    server, peer = attached(poller, context)
    peer.sendall(garbage)
    run_until(poller, lambda: bool(server.calls))
    assert server.calls[0].startswith("lost: ")
    assert not server.received
    assert server.stream.unsent == 0
    assert server.stream.failure
    server.stream.put(b"x")
    server.stream.finish()
    server.stream.close()
    peer.close()
    good = Pair(poller, context=context)  # the context is none the worse for it
    assert good.stream.state == StreamState.OPEN
    good.close()


def test_what_a_failed_stream_leaves_is_nobody_elses(poller: Poller) -> None:
    failed, peer = attached(poller, make_context())
    peer.sendall(b"\x16\x03\x01\xff\xff" + b"\x01" * 5_000)
    run_until(poller, lambda: bool(failed.calls))
    pair = Outgoing(poller, TlsServerName(client_context(), "app.example.test"))
    pair.handshake()
    pair.close()
    failed.stream.close()
    peer.close()


def test_bytes_after_close_notify_are_ignored(poller: Poller) -> None:
    pair = Pair(poller)
    pair.client.tls.write(b"last")
    with suppress(ssl.SSLWantReadError):
        pair.client.tls.unwrap()
    pair.socket.sendall(pair.client.take_ciphertext() + b"\x16\x03\x01" * 100)
    run_until(poller, lambda: pair.stream.state == StreamState.PEER_CLOSED)
    assert pair.server.received == b"last"
    other = Outgoing(poller, TlsServerName(client_context(), "app.example.test"))
    other.handshake()
    other.close()
    pair.server.send(b"answer")
    pair.client.expect(b"answer")
    pair.close()


def test_wrong_settings_are_refused_not_followed(poller: Poller) -> None:
    with pytest.raises(TypeError, match="takes this from other settings"):
        TlsServerName(client_context(), "a.test").add_certificate(b"", b"")
    with pytest.raises(TypeError, match="settings of no side"):
        attached(poller, TlsSettings())


def test_no_common_version_is_answered_by_an_alert(poller: Poller) -> None:
    # A ClientHello of TLS 1.1, which Python's client no longer makes.
    body = b"\x03\x02" + bytes(32) + b"\x00" + b"\x00\x02\xc0\x13" + b"\x01\x00"
    server, peer = attached(poller, make_context())
    peer.sendall(b"\x16\x03\x01" + (len(body) + 4).to_bytes(2) + b"\x01" + len(body).to_bytes(3) + body)
    run_until(poller, lambda: bool(server.calls))
    assert server.calls == ["lost: unsupported protocol"]
    assert alert_of(peer.recv(100)) == (2, 70)  # protocol_version
    assert peer.recv(100) == b""
    server.stream.close()
    peer.close()


def test_no_common_cipher_is_answered_by_an_alert(poller: Poller) -> None:
    settings = client_settings()
    settings.maximum_version = ssl.TLSVersion.TLSv1_2
    settings.set_ciphers("AES128-SHA:@SECLEVEL=0")
    pair = Pair(poller, settings=settings, handshake=False)
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        pair.client.handshake()
    assert pair.server.calls == ["lost: no shared cipher"]
    pair.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_changed_on_the_way_is_never_delivered(poller: Poller, version: ssl.TLSVersion) -> None:
    pair = Pair(poller, version=version)
    pair.client.tls.write(b"pay 10")
    record = bytearray(pair.client.take_ciphertext())
    record[-1] ^= 1
    pair.socket.sendall(record)
    run_until(poller, lambda: pair.stream.state == StreamState.FAILED)
    assert pair.server.received == b""
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        pair.client.read()
    pair.close()


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1"), (["http/1.0"], "http/1.0")]
)
def test_alpn(poller: Poller, offered: list[str], chosen: str) -> None:
    pair = Pair(poller, alpn=offered)
    assert pair.client.tls.selected_alpn_protocol() == chosen
    info = pair.stream.handshake
    assert info is not None
    assert info.protocol == chosen
    pair.close()


def test_alpn_without_a_common_protocol_is_refused(poller: Poller) -> None:
    pair = Pair(poller, alpn=["h2"], handshake=False)
    with pytest.raises(ssl.SSLError, match="no application protocol"):
        pair.client.handshake()
    assert pair.server.calls == ["lost: no application protocol"]
    pair.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_resumption_by_ticket_and_only_within_a_vserver(poller: Poller, version: ssl.TLSVersion) -> None:
    key, other_key = b"k" * 80, b"o" * 80
    settings = client_settings()
    first = Pair(poller, context=make_context(ticket_keys=(key,)), settings=settings, version=version)
    session = first.session()
    assert not first.resumed()
    first.close()

    def resumed(context: TlsContext, session: ssl.SSLSession = session) -> bool:
        pair = Pair(poller, context=context, settings=settings, session=session)
        answer = pair.resumed()
        if answer:
            pair.session()  # there is another ticket
        pair.close()
        return answer

    # Another process has another context and the same key, perhaps an old one.
    assert resumed(make_context(ticket_keys=(key,)))
    assert resumed(make_context(ticket_keys=(other_key, key)))
    assert not resumed(make_context(ticket_keys=(other_key,)))
    assert not resumed(make_context())
    assert not resumed(make_context("other", ticket_keys=(key,)))
    # Keys are changed while connections go on.
    context = make_context(ticket_keys=(key,))
    context.set_ticket_keys((other_key,))
    assert not resumed(context)
    context.set_ticket_keys((other_key, key))
    assert resumed(context)


def test_without_ticket_keys_a_context_resumes_its_own(poller: Poller) -> None:
    context, settings = make_context(), client_settings()
    pair = Pair(poller, context=context, settings=settings)
    session = pair.session()
    pair.close()
    pair = Pair(poller, context=context, settings=settings, session=session)
    assert pair.resumed()
    pair.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_one_ticket_a_handshake(poller: Poller, version: ssl.TLSVersion) -> None:
    settings = client_settings()
    seen: list[str] = []
    # Not a public attribute: the only way to see the messages of a handshake.
    vars(type(settings))["_msg_callback"].__set__(settings, lambda *message: seen.append(message[4].name))
    Pair(poller, settings=settings, version=version).session()
    assert seen.count("NEWSESSION_TICKET") == 1


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("keys", [(), (b"k" * 80,)], ids=["no keys", "a key"])
def test_a_context_that_issues_none_makes_no_tickets(
    poller: Poller, version: ssl.TLSVersion, keys: tuple[bytes, ...]
) -> None:
    settings = client_settings()
    context = make_context(ticket_keys=(b"k" * 80,))
    first = Pair(poller, context=context, settings=settings, version=version)
    session = first.session()
    first.close()
    context.set_ticket_keys(keys, issues=False)
    pair = Pair(poller, context=context, settings=settings)
    pair.server.send(b"x")
    pair.client.expect(b"x")
    assert pair.client.tls.session is None or not pair.client.tls.session.has_ticket
    assert not pair.resumed()
    pair.close()
    # What others have made it takes, if it has the key.
    pair = Pair(poller, context=context, settings=settings, session=session)
    pair.server.send(b"x")
    pair.client.expect(b"x")
    assert pair.resumed() == bool(keys)
    pair.close()
    context.set_ticket_keys((b"k" * 80,), issues=True)
    assert Pair(poller, context=context, settings=settings).session()


@pytest.mark.parametrize("keys", [(b"short",), (b"k" * 80, b"k" * 81)])
def test_ticket_keys_have_80_bytes(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="80 bytes, not"):
        make_context(ticket_keys=keys)


def test_a_stream_outlives_its_context(poller: Poller) -> None:
    context = make_context()
    pair = Pair(poller, context=context, handshake=False)
    del context
    pair.client.handshake()
    pair.client.send(b"x")
    run_until(poller, lambda: pair.server.received == b"x")
    pair.close()


class Outgoing:
    """A stream as client and Python as server."""

    def __init__(self, poller: Poller, peer: TlsServerName, settings: ssl.SSLContext | None = None) -> None:
        self.poller = poller
        self.client = Recorder()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client.stream.connect(poller, socket.inet_aton("127.0.0.1"), listener.getsockname()[1], peer)
            self.socket, _ = listener.accept()
        self.server = TlsPeer(poller, self.socket, settings or server_settings(), server_side=True)

    def handshake(self) -> None:
        self.server.handshake()
        run_until(self.poller, lambda: self.client.stream.state == StreamState.OPEN)

    def close(self) -> None:
        self.client.stream.close()
        self.socket.close()


AUTHORITY = Authority("authority")


def server_settings(issuer: Authority = AUTHORITY) -> ssl.SSLContext:
    settings = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        settings.load_cert_chain(*issuer.issue("app.example.test").write(Path(folder)))
    return settings


def client_context(certificate: KeyedCertificate | None = None) -> TlsClientContext:
    return TlsClientContext(
        authorities=PeerAuthorities(certificates_pem=AUTHORITY.certificate_pem), certificate=certificate
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["app.example.test", "127.0.0.1"])
def test_a_verified_server(poller: Poller, version: ssl.TLSVersion, name: str) -> None:
    settings = server_settings()
    settings.minimum_version = settings.maximum_version = version
    settings.set_alpn_protocols(["http/1.1"])
    asked: list[str | None] = []
    settings.sni_callback = lambda _, asked_for, __: asked.append(asked_for)
    pair = Outgoing(poller, TlsServerName(client_context(), name), settings)
    assert pair.client.stream.state == StreamState.HANDSHAKING
    pair.handshake()
    assert asked == [None if name == "127.0.0.1" else name]
    assert pair.client.calls == ["open"]
    assert pair.server.tls.selected_alpn_protocol() == "http/1.1"
    pair.client.send(b"question")
    pair.server.expect(b"question")
    pair.server.send(b"answer")
    run_until(poller, lambda: pair.client.received == b"answer")
    certificate = pair.client.stream.peer_certificate
    assert certificate is not None
    assert certificate.names == ("DNS:app.example.test", "DNS:localhost", "IP:127.0.0.1")
    pair.close()


@pytest.mark.parametrize(
    ("name", "issuer", "failure"),
    [
        ("other.example.test", AUTHORITY, "hostname mismatch"),
        ("127.0.0.2", AUTHORITY, "IP address mismatch"),
        ("app.example.test", Authority("authority"), "certificate signature failure"),
        ("app.example.test", Authority("another"), "unable to get local issuer certificate"),
    ],
)
def test_a_server_that_is_not_who_it_should_be(poller: Poller, name: str, issuer: Authority, failure: str) -> None:
    pair = Outgoing(poller, TlsServerName(client_context(), name), server_settings(issuer))
    with suppress(ssl.SSLError):
        pair.server.handshake()
    run_until(poller, lambda: bool(pair.client.calls))
    assert pair.client.calls == [f"lost: {failure}"]
    pair.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_sessions_with_a_server_are_resumed(poller: Poller, version: ssl.TLSVersion) -> None:
    settings = server_settings()
    settings.minimum_version = settings.maximum_version = version
    peer = TlsServerName(client_context(), "app.example.test")
    resumed = []
    for _ in range(3):
        pair = Outgoing(poller, peer, settings)
        pair.handshake()
        pair.server.send(b"x")
        run_until(poller, lambda pair=pair: pair.client.received == b"x")  # type: ignore[misc]  # mypy: no inference
        info = pair.client.stream.handshake
        assert info is not None
        assert info.resumed == pair.server.tls.session_reused
        resumed.append(info.resumed)
        pair.close()
    assert resumed == [False, True, True]


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_preamble_goes_before_everything_else(poller: Poller, encrypted: bool) -> None:
    client = Recorder()
    client.stream.preamble = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
    peer = TlsServerName(client_context(), "app.example.test") if encrypted else None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client.stream.connect(poller, socket.inet_aton("127.0.0.1"), listener.getsockname()[1], peer)
        ours, _ = listener.accept()
    run_until(poller, lambda: bool(select.select([ours], [], [], 0)[0]))
    assert ours.recv(len(client.stream.preamble)) == client.stream.preamble
    if encrypted:
        server = TlsPeer(poller, ours, server_settings(), server_side=True)
        server.handshake()
        run_until(poller, lambda: client.stream.state == StreamState.OPEN)
    client.send(b"x")
    if encrypted:
        server.expect(b"x")
    else:
        assert ours.recv(100) == b"x"
    client.stream.close()
    ours.close()


def test_a_server_that_wants_a_certificate_gets_one(poller: Poller) -> None:
    settings = server_settings()
    settings.verify_mode = ssl.CERT_REQUIRED
    settings.load_verify_locations(cadata=AUTHORITY.certificate_pem.decode())
    ours = AUTHORITY.issue("node1")
    context = client_context(KeyedCertificate(certificate_pem=ours.certificate_pem, key_pem=ours.key_pem))
    pair = Outgoing(poller, TlsServerName(context, "app.example.test"), settings)
    pair.handshake()
    pair.client.send(b"x")
    pair.server.expect(b"x")
    shown = pair.server.tls.getpeercert()
    assert shown is not None
    assert shown["subject"] == ((("commonName", "node1"),),)
    pair.close()
