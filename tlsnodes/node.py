"""A node: its vservers and its status document, from the configuration to a clean end (shell)."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import structlog

from pentaflow.addresses import with_port
from pentaflow.config import Configuration, CookieMode, Node, Vserver
from pentaflow.errors import ConfigurationError, HostError
from pentaflow.files import read_secret
from pentaflow.modes import NodeKind, VserverMode
from tlsnodes.checks import ServerChecks
from tlsnodes.exchange import ExchangeRules
from tlsnodes.http.forwarding import ForwardingRules, via_line
from tlsnodes.http.messages import HeadLimits
from tlsnodes.management import ManagementConnection, Refusal, Resource
from tlsnodes.open_connections import (
    MAX_QUESTION_BYTES,
    BadQuestion,
    OpenConnections,
    count_by_bucket,
    parse_question,
)
from tlsnodes.persistence.cookie import CookieInjection
from tlsnodes.persistence.token import AuthenticatedToken, PlainToken, TokenCodec
from tlsnodes.proxy import ClientConnection
from tlsnodes.scheduling.judgement import Judgement
from tlsnodes.scheduling.pool import ServerPool
from tlsnodes.statistics import describe_server
from tlsnodes.tls.old_context import CertificateError, PrivateKeyError, TlsContext
from tlsnodes.vserver import VserverProxy

BACKLOG = 4096
DRAIN_S = 5.0
"""How long open requests may take after the node was told to end."""
_SWEEP_S = 0.25

_log = structlog.get_logger()


async def run_node(configuration: Configuration, node_name: str, *, started: asyncio.Event | None = None) -> None:
    """Run the node until the task is cancelled; open requests then get `DRAIN_S` to finish.

    Args:
        configuration: the whole array's; relative paths in it are already resolved.
        node_name: which of its nodes this machine is.
        started: set once every vserver is being served.

    Raises:
        ConfigurationError: there is no such node, or a certificate, key or secret is not usable.
        HostError: a port or address cannot be listened on. Nothing has been served then.
    """
    node = _find_node(configuration, node_name)
    began = time.monotonic()
    with ExitStack() as opened:
        services = [
            _Service(
                vserver=vserver,
                proxy=_make_proxy(vserver, configuration, node),
                listener=opened.enter_context(_listener(str(vserver.vip), vserver.port, f"vserver {vserver.name}")),
            )
            for vserver in configuration.vservers
            if vserver.mode is VserverMode.HTTPS
        ]
        checks = ServerChecks(
            [pool for pool in configuration.pools if any(service.vserver.pool == pool.name for service in services)],
            lambda name, server_id, judgement: _apply(services, name, server_id, judgement),
        )
        assert node.management is not None  # the schema has made sure
        management = opened.enter_context(
            _listener(node.management.host, node.management.port, f"node {node.name}: management")
        )
        await _serve(
            node,
            services,
            checks,
            management,
            {
                b"/status": Resource(
                    methods=(b"GET", b"HEAD"),
                    answer=lambda _: _describe(node, services, checks, uptime_s=time.monotonic() - began),
                ),
                b"/open-connections": Resource(
                    methods=(b"POST",), answer=lambda body: _count_open(services, body), max_body=MAX_QUESTION_BYTES
                ),
            },
            started,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    vserver: Vserver
    proxy: VserverProxy
    listener: socket.socket


async def _serve(
    node: Node,
    services: list[_Service],
    checks: ServerChecks,
    management: socket.socket,
    resources: Mapping[bytes, Resource],
    started: asyncio.Event | None,
) -> None:
    loop = asyncio.get_running_loop()
    servers: list[asyncio.Server] = []
    checking = loop.create_task(checks.run())
    checking.add_done_callback(_checking_ended)
    try:
        for service in services:
            servers.append(await _start_server(service))
        servers.append(await loop.create_server(lambda: ManagementConnection(resources), sock=management))
        for service in services:
            _log.info("serving", node=node.name, vserver=service.vserver.name, address=_address(service))
        if started is not None:
            started.set()
        while True:
            await asyncio.sleep(_SWEEP_S)
            _sweep(services, loop.time())
    finally:
        checking.cancel()
        for server in servers:
            server.close()
        try:
            await _drain(services)
        finally:
            for service in services:
                service.proxy.abort()


def _checking_ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.error("checks of servers ended", exc_info=error)


def _apply(services: list[_Service], pool_name: str, server_id: int, judgement: Judgement) -> None:
    """Tell every vserver with that pool what checks say of a server."""
    now = asyncio.get_running_loop().time()
    for service in services:
        if service.proxy.pool.name == pool_name:
            service.proxy.pool.apply_check(server_id, judgement, now)


async def _start_server(service: _Service) -> asyncio.Server:
    proxy = service.proxy
    return await proxy.loop.create_server(lambda: ClientConnection(proxy), sock=service.listener, backlog=BACKLOG)


async def _drain(services: list[_Service]) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DRAIN_S
    for service in services:
        service.proxy.drain()
    while loop.time() < deadline and any(service.proxy.connections for service in services):
        await asyncio.sleep(0.02)
        _sweep(services, loop.time())


def _sweep(services: list[_Service], now: float) -> None:
    for service in services:
        service.proxy.sweep(now)


def _find_node(configuration: Configuration, name: str) -> Node:
    for node in configuration.nodes:
        if node.name == name:
            if node.kind is not NodeKind.TLS:
                raise ConfigurationError("nodes", f"{name} is of kind {node.kind}: it serves its clients by itself")
            return node
    names = ", ".join(node.name for node in configuration.nodes) or "none"
    raise ConfigurationError("nodes", f"there is no node {name!r}; there is {names}")


def _make_proxy(vserver: Vserver, configuration: Configuration, node: Node) -> VserverProxy:
    assert vserver.tls is not None  # the schema has made sure of both
    pool = next(pool for pool in configuration.pools if pool.name == vserver.pool)
    place = f"vserver {vserver.name}"
    certificate, key = vserver.tls.certificate, vserver.tls.key
    certificate_pem = _read(certificate, f"{place}: tls.certificate")
    key_pem = _read(key, f"{place}: tls.key")
    try:
        tls = TlsContext(certificate_pem=certificate_pem, key_pem=key_pem, session_context=vserver.name)
    except CertificateError as error:
        raise ConfigurationError(f"{place}: tls.certificate", f"{certificate}: {error}") from None
    except PrivateKeyError as error:
        raise ConfigurationError(f"{place}: tls.key", f"{key}: {error}") from None
    return VserverProxy(
        name=vserver.name,
        node_name=node.name,
        tls=tls,
        pool=ServerPool(pool, random=random.random),
        rules=ExchangeRules(
            injection=_make_injection(vserver),
            forwarding=ForwardingRules(node_name=node.name, scheme="https", port=vserver.port),
            via=via_line(node.name),
            via_1_0=via_line(node.name, http_1_0=True),
        ),
        timeouts=vserver.timeouts,
        limits=HeadLimits(),
    )


def _make_injection(vserver: Vserver) -> CookieInjection | None:
    cookie = vserver.persistence.cookie
    if cookie is None:
        return None
    codec: TokenCodec = PlainToken()
    if cookie.mode is CookieMode.AUTHENTICATED:
        assert cookie.secret_file is not None  # the schema has made sure
        place = f"vserver {vserver.name}: persistence.cookie.secret_file"
        codec = AuthenticatedToken(
            secret=read_secret(cookie.secret_file, place),
            vserver_id=vserver.id,
            vserver_name=vserver.name,
        )
    return CookieInjection(session_cookie=cookie.session_cookie, server_cookie=cookie.server_cookie, codec=codec)


def _read(path: Path, place: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(place, f"cannot read {path}: {error.strerror}") from None


@contextmanager
def _listener(host: str, port: int, place: str) -> Iterator[socket.socket]:
    """A bound TCP socket, closed at the end."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0]
    except socket.gaierror:
        raise ConfigurationError(place, f"{host} is not an IP address") from None
    with socket.socket(family, kind, protocol) as listener:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as error:
            raise HostError(place, f"cannot listen on {with_port(host, port)}: {_why(error)}") from None
        yield listener


def _why(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use"
        case errno.EADDRNOTAVAIL:
            return "no interface of this host has that address (a VIP belongs on the loopback)"
        case errno.EACCES:
            return "the port needs root or CAP_NET_BIND_SERVICE"
        case _:
            return str(error.strerror)


def _address(service: _Service) -> str:
    return with_port(service.vserver.vip, service.vserver.port)


def _describe(node: Node, services: list[_Service], checks: ServerChecks, *, uptime_s: float) -> dict[str, Any]:
    """The status document."""
    now = asyncio.get_running_loop().time()
    return {
        "node": node.name,
        "version": _version(),
        "pid": os.getpid(),
        "uptime_s": round(uptime_s, 3),
        "vservers": [
            {
                "name": service.vserver.name,
                "address": _address(service),
                "open_connections": len(service.proxy.connections),
                **service.proxy.statistics.describe(),
                "pool": service.proxy.pool.name,
                "servers": [
                    describe_server(server, now, checks.describe(service.proxy.pool.name, server.id))
                    for server in service.proxy.pool.servers
                ],
            }
            for service in services
        ],
    }


def _count_open(services: list[_Service], body: bytes) -> dict[str, Any]:
    """The answer to `POST /open-connections`."""
    by_name = {service.vserver.name: service for service in services}
    try:
        question = parse_question(body, list(by_name))
    except BadQuestion as bad:
        raise Refusal(bad.status, str(bad)) from None
    answer = {}
    for name, function in question.vservers.items():
        service = by_name[name]
        clients = [connection.client for connection in service.proxy.connections]
        connections = OpenConnections(vip=service.vserver.vip, port=service.vserver.port, clients=clients)
        answer[name] = count_by_bucket(connections, function)
    return answer


def _version() -> str:
    try:
        return version("pentaflow")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"
