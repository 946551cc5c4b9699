"""From a node's configuration to the proxies that it runs: the only place where they are made (shell)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from pentaflow.config import CookieMode, Pool, Vserver
from pentaflow.errors import ConfigurationError
from pentaflow.files import parse_secret
from tlsnodes.exchange import ExchangeRules
from tlsnodes.http.forwarding import ForwardingRules, via_line
from tlsnodes.http.messages import HeadLimits
from tlsnodes.persistence.cookie import CookieInjection
from tlsnodes.persistence.token import AuthenticatedToken, PlainToken, TokenCodec
from tlsnodes.scheduling.pool import ServerPool
from tlsnodes.statistics import VserverStatistics
from tlsnodes.tls.old_context import CertificateError, PrivateKeyError, TlsContext
from tlsnodes.vserver import VserverProxy


def make_proxy(
    vserver: Vserver,
    pool: ServerPool,
    *,
    node_name: str,
    files: Mapping[Path, bytes],
    statistics: VserverStatistics,
) -> VserverProxy:
    """A vserver's proxy.

    Args:
        vserver: what is configured.
        pool: its servers.
        node_name: for `Via`.
        files: path → contents of what the vserver names.
        statistics: where it counts; a successor goes on where the one before it was.

    Raises:
        ConfigurationError: a certificate, key or secret is not usable.
    """
    return VserverProxy(
        name=vserver.name,
        node_name=node_name,
        tls=_make_tls(vserver, files),
        pool=pool,
        rules=ExchangeRules(
            injection=_make_injection(vserver, files),
            forwarding=ForwardingRules(node_name=node_name, scheme="https", port=vserver.port),
            via=via_line(node_name),
            via_1_0=via_line(node_name, http_1_0=True),
        ),
        timeouts=vserver.timeouts,
        limits=HeadLimits(),
        statistics=statistics,
    )


def make_pool(pool: Pool, *, workers: int) -> ServerPool:
    """The servers of a pool, which several workers share."""
    return ServerPool(pool, random=random.random, workers=workers)


def _make_tls(vserver: Vserver, files: Mapping[Path, bytes]) -> TlsContext:
    place = f"vserver {vserver.name}"
    assert vserver.tls is not None  # the schema has made sure
    certificate, key = vserver.tls.certificate, vserver.tls.key
    try:
        return TlsContext(certificate_pem=files[certificate], key_pem=files[key], session_context=vserver.name)
    except CertificateError as error:
        raise ConfigurationError(f"{place}: tls.certificate", f"{certificate}: {error}") from None
    except PrivateKeyError as error:
        raise ConfigurationError(f"{place}: tls.key", f"{key}: {error}") from None


def _make_injection(vserver: Vserver, files: Mapping[Path, bytes]) -> CookieInjection | None:
    cookie = vserver.persistence.cookie
    if cookie is None:
        return None
    codec: TokenCodec = PlainToken()
    if cookie.mode is CookieMode.AUTHENTICATED:
        assert cookie.secret_file is not None  # the schema has made sure
        place = f"vserver {vserver.name}: persistence.cookie.secret_file"
        codec = AuthenticatedToken(
            secret=parse_secret(files[cookie.secret_file], cookie.secret_file, place),
            vserver_id=vserver.id,
            vserver_name=vserver.name,
        )
    return CookieInjection(session_cookie=cookie.session_cookie, server_cookie=cookie.server_cookie, codec=codec)
