"""Throw-away certificate authorities and what they sign (ECDSA P-256), valid for a week."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pentaflow.addresses import IpAddress

_EITHER_SIDE = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_VALID = timedelta(days=7)
# Clocks of two machines that share the files may differ a little.
_BACKDATED = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """PEM texts: the authority's certificate, the server's chain, the server's private key."""

    authority: bytes
    chain: bytes
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """PEM texts: a certificate, and its private key."""

    certificate: bytes
    key: bytes


class Authority:
    """A throw-away certificate authority; its key is never written."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Pentaflow throw-away CA")
        certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(Encoding.PEM)

    def issue(self, names: Sequence[str], addresses: Sequence[IpAddress] = ()) -> KeyPair:
        """A fresh key, and a certificate for it with these names, for a server or a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = [*(x509.DNSName(name) for name in names), *(x509.IPAddress(address) for address in addresses)]
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            _builder(_name(names[0]), self._name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_EITHER_SIDE), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return KeyPair(
            certificate=certificate.public_bytes(Encoding.PEM),
            key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )


def make_certificates(hostnames: Sequence[str]) -> Certificates:
    """Fresh keys and certificates for a server with these names."""
    authority = Authority()
    server = authority.issue(hostnames)
    return Certificates(authority=authority.certificate, chain=server.certificate, key=server.key)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
