"""What a TLS handshake found out about the peer."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeInfo:
    """What was agreed on, in OpenSSL's words.

    Attributes:
        server_name: what the client asked for (SNI), as it came.
        protocol: what ALPN chose.
    """

    version: str
    cipher: str
    resumed: bool
    server_name: str | None
    protocol: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCertificate:
    """A verified certificate, in text.

    Attributes:
        subject: the distinguished name (RFC 4514).
        names: subject alternative names, as in "DNS:a.example", "IP:192.0.2.1", "email:a@b.example", "URI:urn:x".
        serial: hexadecimal, upper case.
        fingerprint: SHA-256 of the DER, hexadecimal.
        pem: the certificate itself.
    """

    subject: str
    names: tuple[str, ...]
    serial: str
    fingerprint: str
    pem: str

    @classmethod
    def from_der(cls, der: bytes) -> PeerCertificate:
        """Of a certificate that OpenSSL has verified."""
        certificate = x509.load_der_x509_certificate(der)
        return cls(
            subject=certificate.subject.rfc4514_string(),
            names=tuple(_names(certificate)),
            serial=f"{certificate.serial_number:X}",
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            pem=certificate.public_bytes(Encoding.PEM).decode(),
        )


_KINDS = (
    ("DNS", x509.DNSName),
    ("IP", x509.IPAddress),
    ("email", x509.RFC822Name),
    ("URI", x509.UniformResourceIdentifier),
)


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [f"{kind}:{name}" for kind, of in _KINDS for name in extension.value.get_values_for_type(of)]
