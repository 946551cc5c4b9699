"""The store that a command line names (shell): reads certificates, opens files."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from controller.store.base import Store
from controller.store.etcd import EtcdStore
from controller.store.gateway import Gateway
from controller.store.sqlite import SqliteStore
from pentaflow.config import Endpoint, HostPort
from pentaflow.errors import ConfigurationError
from pentaflow.files import read_credentials

TIMEOUT_S = 1.0
MEMORY = "memory:"
_PLACE = "--store"
_PLACES = ("--store-cert", "--store-key", "--store-ca")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreTls:
    """PEM files for etcd: the authority that its certificate is checked against, and what it is shown if it asks."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None


def open_store(url: str, tls: StoreTls | None = None, *, timeout_s: float = TIMEOUT_S) -> Store:
    """Open a store; etcd is not asked before it is used.

    Args:
        url: `memory:`, `sqlite:PATH` or `etcd://HOST:PORT[,HOST:PORT]`.
        tls: for etcd; None: in the clear.
        timeout_s: how long a call may take.

    Raises:
        ConfigurationError: the URL or a file is wrong.
    """
    scheme, _, rest = url.partition(":")
    if tls and scheme != "etcd":
        raise ConfigurationError(_PLACES[2], f"is for etcd://, and the store is {url}")
    if url == MEMORY:
        return SqliteStore.open(None, timeout_s=timeout_s)
    if scheme == "sqlite" and rest:
        return SqliteStore.open(Path(rest), timeout_s=timeout_s)
    if scheme == "etcd" and rest.startswith("//"):
        endpoints = [_endpoint(text) for text in rest[2:].rstrip("/").split(",")]
        return EtcdStore(Gateway(endpoints, tls=_context(tls) if tls else None, timeout_s=timeout_s))
    raise ConfigurationError(_PLACE, f"{url!r} is not memory:, sqlite:PATH or etcd://HOST:PORT[,HOST:PORT]")


def _endpoint(text: str) -> HostPort:
    try:
        return TypeAdapter[HostPort](Endpoint).validate_python(text)
    except ValidationError:
        raise ConfigurationError(_PLACE, f"{text!r} is not HOST:PORT") from None


def _context(tls: StoreTls) -> ssl.SSLContext:
    credentials = read_credentials(certificate=tls.certificate, key=tls.key, ca=tls.ca, places=_PLACES)
    assert credentials.ca is not None
    context = ssl.create_default_context(cadata=credentials.ca.decode())
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key)
    return context
