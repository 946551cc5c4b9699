"""Certificates and keys of a TLS channel, checked before anything is started with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from pentaflow.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What one side of a channel proves who it is with, PEM: its certificate and the chain behind it, and its key."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """One side of a TLS channel.

    Attributes:
        identity: what this side shows; a server must have one.
        ca: PEM certificates that the other side's must be signed by. None on a server: clients are not asked for one.
    """

    identity: Identity | None
    ca: bytes | None


def check_certificates(pem: bytes, place: str) -> Sequence[x509.Certificate]:
    """The certificates in PEM text, at least one.

    Raises:
        ConfigurationError: there is none, or one is broken.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ConfigurationError(place, "expected certificates in PEM") from None


def check_identity(identity: Identity, *, certificate_place: str, key_place: str) -> None:
    """Check that a certificate and a private key belong together.

    Raises:
        ConfigurationError: either can't be read as PEM, the key is encrypted, or it is another certificate's.
    """
    certificate = check_certificates(identity.certificate, certificate_place)[0]
    try:
        key = load_pem_private_key(identity.key, password=None)
    except TypeError:
        raise ConfigurationError(key_place, "the private key is encrypted; expected one without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(key_place, "expected a private key in PEM") from None
    encoding = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if certificate.public_key().public_bytes(*encoding) != key.public_key().public_bytes(*encoding):
        raise ConfigurationError(key_place, "the private key is not that of the certificate")
