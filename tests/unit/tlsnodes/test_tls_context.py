"""Contexts: which certificate, whose clients, which responses, and what is refused when it is loaded."""

from __future__ import annotations

import gc
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from support.certificates import Authority, Certificate, make_certificate
from support.streams import attached, run_until
from support.tlspeer import TlsPeer
from tlsnodes.stream.poller import Poller
from tlsnodes.stream.stream import Stream, StreamState
from tlsnodes.tls.context import KeyedCertificate, PeerAuthorities, Policy, TlsClientContext, TlsContext
from tlsnodes.tls.errors import (
    AuthorityError,
    CertificateError,
    OcspResponseError,
    PrivateKeyError,
    RevocationListError,
)
from tlsnodes.tls.names import NameTable

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
EC = make_certificate()
AUTHORITY = Authority("authority of clients")


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller()
    yield poller
    poller.close()


def keyed(made: Certificate, ocsp_response: bytes | None = None) -> KeyedCertificate:
    return KeyedCertificate(certificate_pem=made.certificate_pem, key_pem=made.key_pem, ocsp_response=ocsp_response)


def make_context(
    *certificates: KeyedCertificate,
    policy: Policy = Policy.INTERMEDIATE,
    clients: PeerAuthorities | None = None,
    ticket_keys: tuple[bytes, ...] = (b"k" * 80,),
) -> TlsContext:
    return TlsContext(
        certificates=certificates or [keyed(EC)],
        session_context="web",
        policy=policy,
        clients=clients,
        ticket_keys=ticket_keys,
    )


def trusting_client(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client that takes any certificate."""
    settings = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    settings.check_hostname = False
    settings.verify_mode = ssl.CERT_NONE
    if version is not None:
        settings.minimum_version = settings.maximum_version = version
    return settings


class Connection:
    """A handshake, and what came of it."""

    def __init__(
        self,
        poller: Poller,
        context: TlsContext,
        settings: ssl.SSLContext | None = None,
        *,
        name: str | None = "www.example.test",
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.server, self.socket = attached(poller, context)
        self.client = TlsPeer(poller, self.socket, settings or trusting_client(), name=name, session=session)
        self.client.handshake()
        run_until(poller, lambda: self.server.stream.state != StreamState.HANDSHAKING)
        if self.server.stream.state == StreamState.OPEN:
            self.server.send(b"x")
        self.client.expect(b"x")  # raises the alert, if there is one

    @property
    def stream(self) -> Stream:
        return self.server.stream

    def certificate(self) -> x509.Certificate:
        der = self.client.tls.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der)

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


# ---- which certificate


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("www.example.test", "exact"),
        ("WWW.Example.Test.", "exact"),
        ("api.example.test", "wildcard"),
        ("a.b.example.test", None),
        ("example.test", None),
        (".example.test", None),
        ("", None),
        (".", None),
        ("www.example.test..", None),
        ("xn--bcher-kva.example.test", "wildcard"),
        ("WWW.EXAMPLE.TEST", "exact"),
    ],
)
def test_names(asked: str, found: str | None) -> None:
    table = NameTable([("www.example.test", "exact"), ("*.Example.test", "wildcard"), ("www.example.test", "later")])
    assert table.maybe_find(asked) == found


def test_without_wildcards_only_exact_names() -> None:
    assert NameTable([("a.test", 1)]).maybe_find("b.a.test") is None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("www.example.test", "www.example.test"),
        ("shop.example.test", "shop.example.test"),
        ("api.shop.example.test", "*.shop.example.test"),
        ("unknown.test", "www.example.test"),
        (None, "www.example.test"),
    ],
)
def test_the_certificate_is_chosen_by_name(
    poller: Poller, version: ssl.TLSVersion, asked: str | None, answer: str
) -> None:
    context = make_context(
        *(keyed(make_certificate(name)) for name in ("www.example.test", "shop.example.test", "*.shop.example.test"))
    )
    connection = Connection(poller, context, trusting_client(version), name=asked)
    assert connection.certificate().subject.rfc4514_string() == f"CN={answer}"
    info = connection.stream.handshake
    assert info is not None
    assert info.server_name == asked
    connection.close()


def test_a_name_that_is_no_text_gets_the_first_certificate(poller: Poller) -> None:
    context = make_context(keyed(EC), keyed(make_certificate("other.test")))
    server, peer = attached(poller, context)
    client = TlsPeer(poller, peer, trusting_client(), name="aaaa.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    peer.sendall(client.take_ciphertext().replace(b"aaaa.test", b"\xff\x80\xc3\x01.test"))
    run_until(poller, lambda: bool(client.pull()))
    assert server.stream.state == StreamState.HANDSHAKING  # it has answered
    server.stream.close()
    peer.close()


def test_resumption_works_under_a_chosen_name(poller: Poller) -> None:
    certificates = [keyed(EC), keyed(make_certificate("shop.example.test"))]
    for version in VERSIONS:
        settings = trusting_client(version)
        first = Connection(poller, make_context(*certificates), settings, name="shop.example.test")
        second = Connection(
            poller, make_context(*certificates), settings, name="shop.example.test", session=first.client.tls.session
        )
        assert second.client.tls.session_reused
        first.close()
        second.close()


@pytest.mark.parametrize(
    ("suite", "kind"), [("ECDHE-RSA-AES128-GCM-SHA256", "RSA"), ("ECDHE-ECDSA-AES128-GCM-SHA256", "EC")]
)
@pytest.mark.parametrize("name", ["www.example.test", "shop.example.test"])
def test_rsa_and_ecdsa_for_the_same_name(poller: Poller, suite: str, kind: str, name: str) -> None:
    context = make_context(
        *(
            keyed(make_certificate(of, kind=key))
            for of in ("www.example.test", "shop.example.test")
            for key in ("ec", "rsa")
        )
    )
    settings = trusting_client(ssl.TLSVersion.TLSv1_2)
    settings.set_ciphers(suite)
    connection = Connection(poller, context, settings, name=name)
    certificate = connection.certificate()
    assert certificate.subject.rfc4514_string() == f"CN={name}"
    assert kind in type(certificate.public_key()).__name__.upper()
    connection.close()


def test_contexts_with_several_certificates_are_freed() -> None:
    class Marked(TlsContext):
        freed = 0

        def __del__(self) -> None:
            Marked.freed += 1

    Marked(certificates=[keyed(EC), keyed(make_certificate("other.test"))], session_context="web")
    gc.collect()
    assert Marked.freed == 1


# ---- policy


def test_modern_is_tls_1_3_only(poller: Poller) -> None:
    context = make_context(policy=Policy.MODERN)
    Connection(poller, context).close()
    with pytest.raises(ssl.SSLError, match="alert protocol version"):
        Connection(poller, context, trusting_client(ssl.TLSVersion.TLSv1_2))


@pytest.mark.parametrize("suite", ["DHE-RSA-AES128-GCM-SHA256", "AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256"])
def test_suites_outside_the_policy_are_refused(poller: Poller, suite: str) -> None:
    settings = trusting_client(ssl.TLSVersion.TLSv1_2)
    settings.set_ciphers(suite)
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        Connection(poller, make_context(keyed(make_certificate(kind="rsa"))), settings)


# ---- client certificates


def shows(made: Certificate, folder: Path, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    settings = trusting_client(version)
    settings.load_cert_chain(*made.write(folder))
    return settings


def of_clients(*, required: bool, crls_pem: bytes | None = None) -> PeerAuthorities:
    return PeerAuthorities(certificates_pem=AUTHORITY.certificate_pem, required=required, crls_pem=crls_pem)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("required", [True, False])
def test_a_client_certificate_is_verified_and_told(
    poller: Poller, tmp_path: Path, version: ssl.TLSVersion, required: bool
) -> None:
    made = AUTHORITY.issue("Ann, Otter")
    settings = shows(made, tmp_path, version)
    first = Connection(poller, make_context(clients=of_clients(required=required)), settings)
    told = first.stream.peer_certificate
    parsed = x509.load_pem_x509_certificate(made.certificate_pem)
    assert told is not None
    assert told is first.stream.peer_certificate
    assert told.subject == "CN=Ann\\, Otter"
    assert told.names == ("DNS:Ann, Otter", "DNS:localhost", "IP:127.0.0.1")
    assert told.serial == f"{parsed.serial_number:X}"
    assert told.fingerprint == parsed.fingerprint(hashes.SHA256()).hex()
    assert told.pem.encode() == made.certificate_pem
    # It comes with a resumed session, too; but not where other authorities are asked, or none.
    session = first.client.tls.session
    again = Connection(poller, make_context(clients=of_clients(required=required)), settings, session=session)
    assert again.client.tls.session_reused
    assert again.stream.peer_certificate == told
    for clients in (None, of_clients(required=not required)):
        other = Connection(poller, make_context(clients=clients), settings, session=session)
        assert not other.client.tls.session_reused
        other.close()
    first.close()
    again.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_no_client_certificate(poller: Poller, version: ssl.TLSVersion) -> None:
    connection = Connection(poller, make_context(clients=of_clients(required=False)), trusting_client(version))
    assert connection.stream.peer_certificate is None
    connection.close()
    with pytest.raises(ssl.SSLError, match=r"certificate required|HANDSHAKE_FAILURE"):
        Connection(poller, make_context(clients=of_clients(required=True)), trusting_client(version))


@pytest.mark.parametrize("required", [True, False])
def test_a_client_certificate_of_another_authority_is_refused(poller: Poller, tmp_path: Path, required: bool) -> None:
    settings = shows(Authority("another").issue("eve"), tmp_path)
    with pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca"):
        Connection(poller, make_context(clients=of_clients(required=required)), settings)


def revocations(*revoked: Certificate) -> bytes:
    now = datetime.now(UTC)
    issuer = x509.load_pem_x509_certificate(AUTHORITY.certificate_pem)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(now)
        .next_update(now + timedelta(days=1))
    )
    for made in revoked:
        serial = x509.load_pem_x509_certificate(made.certificate_pem).serial_number
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        )
    return builder.sign(AUTHORITY.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_a_revoked_client_certificate_is_refused(poller: Poller, tmp_path: Path) -> None:
    good, bad = AUTHORITY.issue("good"), AUTHORITY.issue("bad")
    context = make_context(clients=of_clients(required=True, crls_pem=revocations(bad)))
    Connection(poller, context, shows(good, tmp_path)).close()
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate.revoked"):
        Connection(poller, context, shows(bad, tmp_path))


def test_the_names_of_the_authorities_are_sent(poller: Poller) -> None:
    context = make_context(clients=of_clients(required=False))
    server, peer = attached(poller, context)
    client = TlsPeer(poller, peer, trusting_client(ssl.TLSVersion.TLSv1_2))
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    client.push()
    flight = b""

    def pull() -> bool:
        nonlocal flight
        flight += client.pull()
        return b"authority of clients" in flight

    run_until(poller, pull)
    server.stream.close()
    peer.close()


@pytest.mark.parametrize(
    ("authorities", "message"),
    [
        (PeerAuthorities(certificates_pem=b""), "no PEM certificate in it"),
        (PeerAuthorities(certificates_pem=EC.key_pem), "no PEM certificate in it"),
        (
            PeerAuthorities(
                certificates_pem=EC.certificate_pem + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
            ),
            "certificate 2 cannot be read",
        ),
        (PeerAuthorities(certificates_pem=EC.certificate_pem, crls_pem=b"x"), "no PEM revocation list in it"),
        (
            PeerAuthorities(
                certificates_pem=EC.certificate_pem,
                crls_pem=revocations() + b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
            ),
            "revocation list 2 cannot be read",
        ),
    ],
)
def test_authorities_that_cannot_be_used(authorities: PeerAuthorities, message: str) -> None:
    with pytest.raises((AuthorityError, RevocationListError), match=message):
        make_context(clients=authorities)
    with pytest.raises((AuthorityError, RevocationListError), match=message):
        TlsClientContext(authorities=authorities)


# ---- OCSP


def responder_says(certificate: Certificate, status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD) -> bytes:
    issuer = x509.load_pem_x509_certificate(AUTHORITY.certificate_pem)
    now = datetime.now(UTC)
    return (
        ocsp.OCSPResponseBuilder()
        .add_response(
            cert=x509.load_pem_x509_certificate(certificate.certificate_pem),
            issuer=issuer,
            algorithm=hashes.SHA256(),
            cert_status=status,
            this_update=now,
            next_update=now + timedelta(days=1),
            revocation_time=None,
            revocation_reason=None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, issuer)
        .sign(AUTHORITY.key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def test_an_ocsp_response_is_checked_when_it_is_loaded() -> None:
    made = AUTHORITY.issue("www.example.test")
    for der, message in (
        (b"", "no OCSP response in DER"),
        (b"<html>", "no OCSP response in DER"),
        (responder_says(AUTHORITY.issue("www.example.test")), "about another certificate"),
        (
            ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER),
            "said try_later",
        ),
    ):
        with pytest.raises(OcspResponseError, match=message):
            make_context(keyed(made, der))


# ---- what is refused


def test_bad_certificates_and_keys() -> None:
    def load(certificate_pem: bytes, key_pem: bytes) -> None:
        make_context(KeyedCertificate(certificate_pem=certificate_pem, key_pem=key_pem))

    with pytest.raises(CertificateError, match="one certificate at least"):
        TlsContext(certificates=[], session_context="x")
    with pytest.raises(CertificateError, match="no PEM certificate"):
        load(b"", EC.key_pem)
    with pytest.raises(CertificateError, match="no PEM certificate"):
        load(EC.key_pem, EC.key_pem)
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    with pytest.raises(CertificateError, match="certificate 2 cannot be read"):
        load(EC.certificate_pem + broken, EC.key_pem)
    with pytest.raises(PrivateKeyError, match="no unencrypted PEM private key"):
        load(EC.certificate_pem, b"x")
    for other in (make_certificate(kind="rsa"), make_certificate("other.test")):
        with pytest.raises(PrivateKeyError, match="not the key of the certificate"):
            load(EC.certificate_pem, other.key_pem)


def test_ticket_keys_cannot_be_taken_away() -> None:
    with pytest.raises(ValueError, match="not be taken away"):
        make_context().set_ticket_keys(())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_ticket_keys_count_for_every_certificate(poller: Poller, version: ssl.TLSVersion) -> None:
    names = ("www.example.test", "shop.example.test")
    certificates = [keyed(make_certificate(name)) for name in names]
    first, second = b"1" * 80, b"2" * 80
    context = make_context(*certificates, ticket_keys=(first,))
    settings = trusting_client(version)

    def connect(name: str, session: ssl.SSLSession | None = None) -> tuple[bool, ssl.SSLSession]:
        connection = Connection(poller, context, settings, name=name, session=session)
        made, reused = connection.client.tls.session, connection.client.tls.session_reused
        connection.close()
        assert made is not None
        return bool(reused), made

    for name in names:
        context.set_ticket_keys((first,))
        _, session = connect(name)
        context.set_ticket_keys((second,))
        assert not connect(name, session)[0]
        context.set_ticket_keys((second, first))
        is_resumed, renewed = connect(name, session)
        assert is_resumed
        context.set_ticket_keys((second,))
        assert connect(name, renewed)[0]
