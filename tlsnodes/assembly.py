"""From a node's configuration to the proxies that it runs: the only place where they are made (shell)."""

from __future__ import annotations

import math
import os
import random
import socket
from collections.abc import Collection, Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from pentaflow.config import CookieMode, Limits, Pool, Vserver, VserverTls
from pentaflow.errors import ConfigurationError
from pentaflow.files import parse_secret
from pentaflow.ticket_keys import VserverKeys
from tlsnodes.access_log import AccessLog
from tlsnodes.http.forwarding import ForwardingRules, via_line
from tlsnodes.http.messages import HeadLimits
from tlsnodes.http.names import is_passed_on
from tlsnodes.passthrough.learning import LearntSessions
from tlsnodes.persistence.affinity import AffinityCodec
from tlsnodes.persistence.application_id import ApplicationId
from tlsnodes.persistence.application_sessions import ApplicationSessions
from tlsnodes.persistence.cookie import CookieInjection
from tlsnodes.persistence.session_ids import Issuer, SessionIds
from tlsnodes.persistence.token import AuthenticatedToken, PlainToken, TokenCodec
from tlsnodes.proxy.passthrough import PassthroughProxy
from tlsnodes.proxy.rules import ProxyRules, Route
from tlsnodes.proxy.statistics import VserverStatistics
from tlsnodes.proxy.vserver import VserverProxy
from tlsnodes.request_ids import RequestIds
from tlsnodes.scheduling.pool import ServerPool
from tlsnodes.scheduling.scheduler import TicketBinding
from tlsnodes.scheduling.server import ServerState
from tlsnodes.store.cached import CachedStore
from tlsnodes.store.tls_sessions import SharedSessions
from tlsnodes.stream.poller import Poller
from tlsnodes.tls.context import (
    KeyedCertificate,
    PeerAuthorities,
    Policy,
    TicketRules,
    TlsClientContext,
    TlsContext,
    TlsServerName,
)
from tlsnodes.tls.errors import (
    AuthorityError,
    CertificateError,
    OcspResponseError,
    PrivateKeyError,
    RevocationListError,
    TlsFileError,
)
from tlsnodes.tls.names import NameTable


def make_proxy(
    poller: Poller,
    vserver: Vserver,
    pool: ServerPool,
    *,
    node_name: str,
    files: Mapping[Path, bytes],
    peers: Mapping[int, TlsServerName],
    proxy_protocol: bool,
    statistics: VserverStatistics,
    workers: int,
    ticket_keys: VserverKeys,
    store: CachedStore,
    issuer: Issuer,
    log: AccessLog | None,
) -> VserverProxy:
    """A vserver's proxy.

    Args:
        poller: of the worker.
        vserver: what is configured.
        pool: its servers.
        node_name: for `Via`.
        files: path → contents of what the vserver names.
        peers: what `make_peers` has made of the pool.
        proxy_protocol: of the pool.
        statistics: where it counts; a successor goes on where the one before it was.
        workers: how many share the vserver's limits.
        ticket_keys: what TLS sessions are resumed by.
        store: of the worker.
        issuer: this worker, for session ids.
        log: of the worker; for vservers that have an access log.

    Raises:
        ConfigurationError: a certificate, key or secret is not usable, a server's name has no address, or session ids
            can't stand where they are said to.
    """
    binding = _ticket_binding(vserver)
    codec = AffinityCodec(vserver.id, pool.maybe_generation)
    said = TicketRules(codec=codec, counts=statistics.tickets)
    if binding is not None:
        said = replace(said, lifetime_s=binding.lifetime_s, renew=binding.renew, binds=True)
    sessions = _shared_sessions(vserver, files, store, issuer, codec, statistics)
    destination = (str(vserver.vip), vserver.port) if proxy_protocol else None
    rules = ProxyRules(
        tls=_make_tls(vserver, vserver.tls, files, ticket_keys, said, sessions) if vserver.tls else None,
        injection=_make_injection(vserver, files),
        sessions=_make_sessions(vserver, codec, store, statistics),
        tickets=binding,
        source=vserver.persistence.source,
        explain_header=vserver.persistence.explain_header,
        forwarding=ForwardingRules(
            node_name=node_name,
            scheme="https" if vserver.tls else "http",
            port=vserver.port,
            trusted_proxies=vserver.forwarding.trusted_proxies,
            forwarded=vserver.forwarding.forwarded,
        ),
        request_ids=RequestIds(os.urandom) if vserver.forwarding.request_id else None,
        via=via_line(node_name),
        via_1_0=via_line(node_name, http_1_0=True),
        timeouts=vserver.timeouts,
        redirect=vserver.redirect,
        limits=_shared(vserver.limits, workers),
        head=HeadLimits(size=vserver.limits.max_head_bytes, fields=vserver.limits.max_fields),
    )
    return VserverProxy(
        poller,
        name=vserver.name,
        rules=rules,
        pool=pool,
        routes={server.id: _route(server, pool.name, peers.get(server.id), destination) for server in pool.servers},
        statistics=statistics,
        log=log if vserver.access_log else None,
    )


def _ticket_binding(vserver: Vserver) -> TicketBinding | None:
    ticket = vserver.persistence.ticket
    return None if ticket is None else TicketBinding(ticket.lifetime_s, ticket.renew, ticket.servers)


def _make_sessions(
    vserver: Vserver, codec: AffinityCodec, store: CachedStore, statistics: VserverStatistics
) -> ApplicationSessions | None:
    settings = vserver.persistence.session_id
    if settings is None:
        return None
    if settings.header is not None and not is_passed_on(settings.header.encode()):
        raise ConfigurationError(
            f"vserver {vserver.name}: persistence.session_id.header",
            f"{settings.header} is not passed on between clients and servers",
        )
    return ApplicationSessions(
        store,
        ApplicationId(parameter=settings.parameter, header=settings.header, cookie=settings.cookie),
        vserver_id=vserver.id,
        lifetime_s=settings.lifetime_s,
        codec=codec,
        random=os.urandom,
        counts=statistics.session_ids,
    )


def make_passthrough_proxy(
    poller: Poller,
    vserver: Vserver,
    pools: tuple[ServerPool, ...],
    *,
    proxy_protocol: Collection[str],
    statistics: VserverStatistics,
    workers: int,
    store: CachedStore,
    log: AccessLog | None,
) -> PassthroughProxy:
    """The proxy of a vserver of mode passthrough.

    Args:
        poller: of the worker.
        vserver: what is configured.
        pools: its own first, then those of its routes.
        proxy_protocol: names of the pools whose servers speak it.
        statistics: where it counts; a successor goes on where the one before it was.
        workers: how many share the vserver's limits.
        store: of the worker; for vservers that learn sessions.
        log: of the worker; for vservers that have an access log.

    Raises:
        ConfigurationError: a server's name has no address.
    """
    vip = (str(vserver.vip), vserver.port)
    by_name = {pool.name: pool for pool in pools}
    return PassthroughProxy(
        poller,
        name=vserver.name,
        pools=pools,
        names=NameTable((name, by_name[route.pool]) for route in vserver.routes for name in route.names),
        source=vserver.persistence.source,
        learnt=_make_learnt(vserver, pools, store),
        ways={
            pool.name: {
                server.id: _route(server, pool.name, None, vip if pool.name in proxy_protocol else None)
                for server in pool.servers
            }
            for pool in pools
        },
        timeouts=vserver.timeouts,
        limits=_shared(vserver.limits, workers),
        statistics=statistics,
        log=log if vserver.access_log else None,
    )


def _make_learnt(vserver: Vserver, pools: tuple[ServerPool, ...], store: CachedStore) -> LearntSessions | None:
    learn = vserver.persistence.learn
    if learn is None:
        return None
    codecs = {pool.name: AffinityCodec(vserver.id, pool.maybe_generation) for pool in pools}
    return LearntSessions(store, vserver_id=vserver.id, lifetime_s=learn.lifetime_s, codecs=codecs)


def _shared_sessions(
    vserver: Vserver,
    files: Mapping[Path, bytes],
    store: CachedStore,
    issuer: Issuer,
    codec: AffinityCodec,
    statistics: VserverStatistics,
) -> SharedSessions | None:
    settings = vserver.persistence.tls_session_ids
    if settings is None:
        return None
    place = f"vserver {vserver.name}: persistence.tls_session_ids.secret_file"
    ids = SessionIds(
        secret=parse_secret(files[settings.secret_file], settings.secret_file, place),
        vserver_id=vserver.id,
        vserver_name=vserver.name,
        random=os.urandom,
    )
    return SharedSessions(
        ids=ids,
        issuer=issuer,
        store=store,
        codec=codec,
        counts=statistics.sessions,
        lifetime_s=settings.lifetime_s,
        reuse_limit=settings.reuse_limit,
    )


def _shared(limits: Limits, workers: int) -> Limits:
    """A worker's part of what workers share."""

    def part(limit: int | None) -> int | None:
        return None if limit is None else math.ceil(limit / workers)

    return limits.model_copy(
        update={"max_connections": part(limits.max_connections), "max_requests": part(limits.max_requests)}
    )


def _route(server: ServerState, pool: str, tls: TlsServerName | None, destination: tuple[str, int] | None) -> Route:
    address = _address(server, f"pool {pool}: server {server.name}")
    return Route(address=address, port=server.port, tls=tls, destination=destination)


def _address(server: ServerState, place: str) -> bytes:
    """Packed IP address."""
    try:
        return ip_address(server.host).packed
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigurationError(place, f"{server.host} has no address: {error.strerror}") from None
    return ip_address(found[0][4][0]).packed


def make_pool(pool: Pool | None, *, workers: int) -> ServerPool:
    """The servers of a pool, which several workers share; None: no server at all."""
    if pool is None:
        pool = Pool.model_construct(name="", servers=())
    return ServerPool(pool, random=random.random, workers=workers)


def make_peers(pool: Pool | None, files: Mapping[Path, bytes]) -> dict[int, TlsServerName]:
    """The servers of a pool that TLS leads to, by id. As long as they are kept sessions with them resume.

    Raises:
        ConfigurationError: a file is not usable, or the host of a server can't be a certificate's name.
    """
    if pool is None or pool.tls is None:
        return {}
    tls = pool.tls
    try:
        context = TlsClientContext(
            authorities=PeerAuthorities(
                certificates_pem=files[tls.ca], crls_pem=files[tls.crl] if tls.crl is not None else None
            ),
            certificate=_keyed(tls.certificate, tls.key, files) if tls.certificate and tls.key else None,
        )
    except TlsFileError as error:
        raise _misplaced(error, f"pool {pool.name}: tls", tls) from None
    peers = {}
    for server in pool.servers:
        name = tls.server_name or server.address.host
        try:
            peers[server.id] = TlsServerName(context, name)
        except UnicodeError:
            raise ConfigurationError(f"pool {pool.name}: server {server.name}", f"{name!r} is no host name") from None
    return peers


def _make_tls(
    vserver: Vserver,
    tls: VserverTls,
    files: Mapping[Path, bytes],
    ticket_keys: VserverKeys,
    tickets: TicketRules,
    sessions: SharedSessions | None,
) -> TlsContext:
    shown = (tls, *tls.more)
    clients = tls.clients
    authorities = None
    if clients is not None:
        authorities = PeerAuthorities(
            certificates_pem=files[clients.ca],
            crls_pem=files[clients.crl] if clients.crl is not None else None,
            required=clients.required,
        )
    try:
        return TlsContext(
            certificates=[_keyed(each.certificate, each.key, files, ocsp=each.ocsp) for each in shown],
            session_context=vserver.name,
            policy=Policy(tls.policy),
            clients=authorities,
            ticket_keys=ticket_keys.keys,
            issues_tickets=ticket_keys.issues,
            tickets=tickets,
            sessions=sessions,
        )
    except (AuthorityError, RevocationListError) as error:
        raise _misplaced(error, f"vserver {vserver.name}: tls.clients", clients) from None
    except TlsFileError as error:
        field = f"tls.more[{error.index - 1}]" if error.index else "tls"
        raise _misplaced(error, f"vserver {vserver.name}: {field}", shown[error.index]) from None


def _keyed(certificate: Path, key: Path, files: Mapping[Path, bytes], *, ocsp: Path | None = None) -> KeyedCertificate:
    return KeyedCertificate(
        certificate_pem=files[certificate],
        key_pem=files[key],
        ocsp_response=files[ocsp] if ocsp is not None else None,
    )


_FIELD_OF = {
    CertificateError: "certificate",
    PrivateKeyError: "key",
    OcspResponseError: "ocsp",
    AuthorityError: "ca",
    RevocationListError: "crl",
}


def _misplaced(error: TlsFileError, place: str, files: object) -> ConfigurationError:
    """The same with its place: a field of `files`, which stand at `place`."""
    field = _FIELD_OF[type(error)]
    return ConfigurationError(f"{place}.{field}", f"{getattr(files, field)}: {error}")


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
