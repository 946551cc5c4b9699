"""Mutual TLS between controllers and nodes [R3] (shell): both sides have a certificate of one authority.

What a certificate may do follows from its names: its common name and its DNS names (RFC 5280, 4.2.1.6).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from pentaflow.config import MutualTls
from pentaflow.errors import ConfigurationError
from pentaflow.files import read_credentials

CONTROLLER = "controller"
"""The name in controllers' certificates."""
_PEER = "peer_names"


def server_context(tls: MutualTls, place: str) -> ssl.SSLContext:
    """For a server that lets nobody in without a certificate; `place`: what errors call `tls`.

    Raises:
        ConfigurationError: a file can't be read or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_identity(context, tls, place)
    _trust(context, tls)
    return context


def client_context(tls: MutualTls, place: str) -> ssl.SSLContext:
    """For a client that shows its certificate and checks the server's, its name included; see `server_context`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_identity(context, tls, place)
    _trust(context, tls)
    return context


def load_identity(context: ssl.SSLContext, tls: MutualTls, place: str) -> None:
    """Show this certificate; a context that is in use shows it to those who come from now on.

    Raises:
        ConfigurationError: as `server_context`.
    """
    places = (f"{place}.certificate", f"{place}.key", f"{place}.ca")
    read_credentials(certificate=tls.certificate, key=tls.key, ca=tls.ca, places=places)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except ssl.SSLError as error:
        raise ConfigurationError(f"{place}.certificate", f"is refused: {error.reason}") from None


class PeerProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which also tells the application whose certificate the client has shown."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        connection = transport.get_extra_info("ssl_object")
        if connection:
            self.app_state = {**self.app_state, _PEER: _names(connection.getpeercert() or {})}


def _trust(context: ssl.SSLContext, tls: MutualTls) -> None:
    """Check the other side's certificate by the authority."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=tls.ca)
    context.verify_mode = ssl.CERT_REQUIRED


def maybe_peer_names(scope: Mapping[str, Any]) -> frozenset[str] | None:
    """The names in the client's certificate, none without one; None: this is not TLS (or not a `PeerProtocol`)."""
    found: frozenset[str] | None = scope.get("state", {}).get(_PEER)
    return found


def _names(certificate: Mapping[str, Any]) -> frozenset[str]:
    common = {value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"}
    return frozenset(common | {value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"})
