"""TLS in the configuration: what vservers show their clients and ask of them, and how servers are reached [N1]."""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from pentaflow.fields import Model

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\Z")


def _host(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        if _HOST_NAME.match(value):
            return value
    raise ValueError(f"{value!r} is neither a host name nor an IP address")


Host = Annotated[str, AfterValidator(_host)]


class Tls(Model):
    """Server certificate chain and private key, PEM files."""

    certificate: Path
    key: Path


class StapledTls(Tls):
    """A certificate with the OCSP response that is stapled to it (a file in DER, read again with each reload)."""

    ocsp: Path | None = None


class ClientCertificates(Model):
    """Client certificates of a vserver: checked against `ca`, and against `crl` if there is one; PEM files.

    Without one a client is turned away in the handshake if it is `required`; a certificate that does not verify always
    is. Servers get it in the field Client-Cert (RFC 9440).
    """

    ca: Path
    crl: Path | None = None
    required: bool = True


class TlsPolicy(StrEnum):
    """Mozilla's recommendations: versions, ciphers and curves."""

    INTERMEDIATE = "intermediate"  # TLS 1.2 and 1.3
    MODERN = "modern"  # TLS 1.3


class VserverTls(StapledTls):
    """What a vserver shows its clients.

    Of `more` certificates a client gets the one that has the name it asks for, else the first one; there may be an RSA
    and an ECDSA certificate for the same name.
    """

    more: tuple[StapledTls, ...] = ()
    policy: TlsPolicy = TlsPolicy.INTERMEDIATE
    clients: ClientCertificates | None = None


class ServerTls(Model):
    """TLS to the servers of a pool: `ca` signs their certificates, which must be for `server_name`.

    Without that, for the host in the server's address, name or IP address. `crl` has the revocation lists of the
    authorities, one for each that signs certificates of servers. `certificate` and `key` are what is shown to servers
    that ask for one.
    """

    ca: Path
    crl: Path | None = None
    server_name: Host | None = None
    certificate: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def _whole_identity(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self
