"""The vservers that one worker serves, and how others take their place (shell).

A configuration comes in two steps: `prepare` makes all that is new and touches nothing that runs; `commit` puts it in
place. A vserver whose configuration, pool and files are as they were goes on untouched. Connections that are open go
on with the proxy that they began with until they end.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pentaflow.config import Pool, StoreSettings, Vserver
from pentaflow.errors import ConfigurationError
from pentaflow.modes import VserverMode
from pentaflow.node_configuration import NodeConfiguration, named_files
from pentaflow.session_ids import SessionIdTable, SessionIdTables
from pentaflow.sessions import SessionAnswer, SessionQuestion
from pentaflow.ticket_keys import TicketKeySet, VserverKeys
from tlsnodes.access_log import AccessLog
from tlsnodes.asked_sessions import explain_passed, explain_served
from tlsnodes.assembly import make_passthrough_proxy, make_peers, make_pool, make_proxy
from tlsnodes.listeners import Address
from tlsnodes.open_connections import OpenConnections, count_by_bucket
from tlsnodes.open_question import Question
from tlsnodes.persistence.session_ids import Issuer
from tlsnodes.proxy.door import Door
from tlsnodes.proxy.passthrough import PassthroughProxy
from tlsnodes.proxy.statistics import VserverStatistics
from tlsnodes.proxy.vserver import VserverProxy
from tlsnodes.scheduling.judgement import Judgement
from tlsnodes.statistics import describe_server
from tlsnodes.store.cached import CachedStore
from tlsnodes.store.opening import open_store
from tlsnodes.store.store import SessionStore
from tlsnodes.stream.poller import Poller
from tlsnodes.tls.context import TlsServerName


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """All that a proxy is made of; `files` and `pool_files` are digests of those that vserver and pools name."""

    vserver: Vserver
    pools: tuple[Pool, ...]
    node_name: str
    files: str
    pool_files: str


@dataclass(frozen=True, slots=True, eq=False)
class _Service:
    recipe: _Recipe
    proxy: VserverProxy | PassthroughProxy
    peers: Mapping[int, TlsServerName]

    @property
    def vserver(self) -> Vserver:
        return self.recipe.vserver


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoreRecipe:
    """All that a store is made of."""

    settings: StoreSettings | None
    file: Path | None
    files: str


_NO_STORE = _StoreRecipe(settings=None, file=None, files="")


class _Entrance:
    """Where a service is served."""

    def __init__(self, sock: socket.socket, service: _Service) -> None:
        self._service = service
        self._door = Door(service.proxy, sock)

    @property
    def service(self) -> _Service:
        return self._service

    def lead_to(self, service: _Service) -> None:
        """Whoever comes from now on is served by that one."""
        self._service = service
        self._door.vserver = service.proxy

    def resume(self) -> None:
        """Accept again after file descriptors or memory had run out."""
        self._door.resume()

    def close(self) -> None:
        """Accept no more."""
        self._door.close()


class Services:
    """What one worker serves.

    Args:
        poller: what its connections are watched by.
        log: for vservers that have an access log; None: there is none.
    """

    def __init__(self, poller: Poller, log: AccessLog | None) -> None:
        self._poller = poller
        self._entrances: dict[Address, _Entrance] = {}
        self._log = log
        self._retiring: list[_Service] = []
        self._prepared: dict[Address, _Service] | None = None
        self._prepared_keys = TicketKeySet()
        self._session_ids: dict[str, SessionIdTable] = {}
        # One for all vservers and configurations; what is behind it may change.
        self._store = CachedStore()
        self._store_recipe = _NO_STORE
        self._issuer = Issuer(0, 0)
        self._prepared_store: tuple[_StoreRecipe, SessionStore | None] | None = None

    def prepare(
        self,
        configuration: NodeConfiguration,
        *,
        number: int,
        workers: int,
        ticket_keys: TicketKeySet,
        store_file: Path | None,
    ) -> None:
        """Make what another configuration needs.

        Args:
            configuration: the node's.
            number: of this worker.
            workers: how many there are of them.
            ticket_keys: what all of them encrypt TLS tickets with.
            store_file: where the embedded store is; None: there is none.

        Raises:
            ConfigurationError: something that it names is not usable. What runs is as it was.
        """
        self.abort()
        running = self._by_name()
        self._prepare_store(configuration, store_file)
        self._issuer = Issuer(configuration.node.id, number)
        self._prepared = {
            Address.of(vserver): self._make(
                configuration, vserver, running.get(vserver.name), workers, ticket_keys.of(vserver.name)
            )
            for vserver in configuration.vservers
        }
        self._prepared_keys = ticket_keys

    def abort(self) -> None:
        """Forget what was prepared."""
        self._prepared = None
        if self._prepared_store is not None:
            self._store.discard(self._prepared_store[1])
            self._prepared_store = None

    def _prepare_store(self, configuration: NodeConfiguration, file: Path | None) -> None:
        settings, files = configuration.store, configuration.files_of_store()
        recipe = _StoreRecipe(settings=settings, file=file, files=_digest(files))
        if recipe != self._store_recipe:
            self._prepared_store = recipe, open_store(settings, file, files) if settings is not None else None

    def commit(self, sockets: Mapping[Address, socket.socket]) -> None:
        """Put what was prepared in place.

        Args:
            sockets: a listening socket for each address that nothing was served at; they are closed with their vserver.
        """
        assert self._prepared is not None
        prepared, self._prepared = self._prepared, None
        if self._prepared_store is not None:
            self._store_recipe, store = self._prepared_store
            self._prepared_store = None
            self._store.use(store)
        running = self._by_name()
        before, self._entrances = self._entrances, {}
        for address, service in prepared.items():
            entrance = before.pop(address, None)
            if entrance is None:
                entrance = _Entrance(sockets[address], service)
            elif entrance.service is not service:
                self._retiring.append(entrance.service)
                entrance.lead_to(service)
            known = running.get(service.vserver.name)
            if known is not None and known is not service:
                _succeed(service, known, self._poller.tick())
            self._entrances[address] = entrance
        for entrance in before.values():
            entrance.close()
            entrance.service.proxy.drain()
            self._retiring.append(entrance.service)
        self.set_ticket_keys(self._prepared_keys)
        self._give_session_ids()

    def set_ticket_keys(self, keys: TicketKeySet) -> None:
        """Encrypt tickets with other keys from now on."""
        for service in self._all():
            tls = service.proxy.rules.tls if isinstance(service.proxy, VserverProxy) else None
            if tls is not None:
                found = keys.of(service.vserver.name)
                tls.set_ticket_keys(found.keys, issues=found.issues)

    def set_session_ids(self, tables: SessionIdTables) -> None:
        """Route by these tables from now on."""
        self._session_ids = {table.vserver: table for table in tables.tables}
        self._give_session_ids()

    def _give_session_ids(self) -> None:
        for service in self._all():
            if isinstance(service.proxy, PassthroughProxy):
                service.proxy.session_ids = self._session_ids.get(service.vserver.name)

    def sweep(self) -> None:
        """Close what is over its time; to be called every now and then."""
        now = self._poller.tick()
        for entrance in self._entrances.values():
            entrance.resume()
        for service in self._all():
            service.proxy.sweep(now)
        for service in [service for service in self._retiring if not service.proxy.connections]:
            if service.proxy.draining:  # else its successor has what it had
                service.proxy.abort()
            self._retiring.remove(service)
        if self._log is not None:
            self._log.flush()

    def drain(self) -> None:
        """Accept no more; close what is idle, and each connection that is busy after its response."""
        for entrance in self._entrances.values():
            entrance.close()
        for service in self._all():
            service.proxy.drain()

    def end(self) -> None:
        """Close everything."""
        for service in self._all():
            service.proxy.abort()
        if self._log is not None:
            self._log.close()

    async def leave_store(self) -> None:
        """Write what still waits for the store, and leave it."""
        self.abort()
        await self._store.close()

    def log_to(self, descriptor: int) -> None:
        """Go on with the access log in another file."""
        assert self._log is not None
        self._log.go_on_in(descriptor)

    @property
    def open_connections(self) -> int:
        """Of all vservers, retired ones included."""
        return sum(len(service.proxy.connections) for service in self._all())

    def describe(self) -> dict[str, Any]:
        """This worker's part of the status document; `retiring`: VIP → open connections of what was replaced."""
        retiring: dict[str, int] = {}
        for service in self._retiring:
            vip = str(service.vserver.vip)
            retiring[vip] = retiring.get(vip, 0) + len(service.proxy.connections)
        return {
            "vservers": [self._describe(entrance.service) for entrance in self._entrances.values()],
            "retiring": retiring,
            "access_log_lost": self._log.lost if self._log else 0,
            "store": self._store.describe(),
        }

    def _describe(self, service: _Service) -> dict[str, Any]:
        now = self._poller.now
        first, *others = service.proxy.pools
        routed = [
            {"name": pool.name, "servers": [describe_server(server, now) for server in pool.servers]} for pool in others
        ]
        return {
            "name": service.vserver.name,
            "address": str(Address.of(service.vserver)),
            "open_connections": sum(len(found.proxy.connections) for found in self._of(service.vserver.name)),
            **service.proxy.statistics.describe(),
            "pool": first.name,
            "servers": [describe_server(server, now) for server in first.servers],
            **({"routed": routed} if routed else {}),
        }

    def count_open(self, question: Question) -> dict[str, Any]:
        """Open connections per bucket of the vservers in question that are served here."""
        served = {name: service.vserver for name, service in self._by_name().items()}
        return {
            name: count_by_bucket(
                OpenConnections(
                    vip=served[name].vip,
                    port=served[name].port,
                    clients=[client for service in self._of(name) for client in service.proxy.clients()],
                ),
                function,
            )
            for name, function in question.vservers.items()
            if name in served
        }

    async def explain(self, name: str, question: SessionQuestion) -> SessionAnswer:
        """Which server a client of a vserver would get, and why.

        Raises:
            ConfigurationError: it has no servers, or there is no vserver of that name.
        """
        service = self._by_name().get(name)
        place = f"vserver {name}"
        if service is None:
            raise ConfigurationError(place, "is not served here")
        if not service.recipe.pools:
            raise ConfigurationError(place, "redirects all clients and has no servers")
        policies = {pool.name: str(pool.policy) for pool in service.recipe.pools}
        if isinstance(service.proxy, PassthroughProxy):
            return await explain_passed(service.proxy, policies, question)
        return await explain_served(service.proxy, policies, question)

    def apply_check(self, pool: str, server_id: int, judgement: Judgement) -> None:
        """Tell every vserver with that pool what checks say of a server."""
        for entrance in self._entrances.values():
            for found in entrance.service.proxy.pools:
                if found.name == pool:
                    found.apply_check(server_id, judgement, self._poller.tick())

    def _make(
        self,
        configuration: NodeConfiguration,
        vserver: Vserver,
        before: _Service | None,
        workers: int,
        ticket_keys: VserverKeys,
    ) -> _Service:
        files = configuration.files_of(vserver)
        pools = configuration.pools_of(vserver)
        pool_files = {path: files[path] for _, path in named_files(pools)}
        recipe = _Recipe(
            vserver=vserver,
            pools=pools,
            node_name=configuration.node.name,
            files=_digest(files),
            pool_files=_digest(pool_files),
        )
        if before is not None and before.recipe == recipe:
            return before
        statistics = VserverStatistics() if before is None else before.proxy.statistics
        if before is not None and before.recipe.pools == pools:
            servers = before.proxy.pools
        else:
            servers = tuple(make_pool(pool, workers=workers) for pool in pools or (None,))
        if vserver.mode is VserverMode.PASSTHROUGH:
            passing = make_passthrough_proxy(
                self._poller,
                vserver,
                servers,
                proxy_protocol=[pool.name for pool in pools if pool.proxy_protocol],
                statistics=statistics,
                workers=workers,
                store=self._store,
                log=self._log,
            )
            return _Service(recipe, passing, {})
        pool = pools[0] if pools else None
        if before is not None and (before.recipe.pools, before.recipe.pool_files) == (pools, recipe.pool_files):
            peers = before.peers
        else:
            peers = make_peers(pool, pool_files)
        proxy = make_proxy(
            self._poller,
            vserver,
            servers[0],
            node_name=configuration.node.name,
            files=files,
            peers=peers,
            proxy_protocol=pool is not None and pool.proxy_protocol,
            statistics=statistics,
            workers=workers,
            ticket_keys=ticket_keys,
            store=self._store,
            issuer=self._issuer,
            log=self._log,
        )
        return _Service(recipe, proxy, peers)

    def _all(self) -> Iterator[_Service]:
        yield from (entrance.service for entrance in self._entrances.values())
        yield from self._retiring

    def _by_name(self) -> dict[str, _Service]:
        return {entrance.service.vserver.name: entrance.service for entrance in self._entrances.values()}

    def _of(self, name: str) -> list[_Service]:
        return [service for service in self._all() if service.vserver.name == name]


def _succeed(service: _Service, before: _Service, now: float) -> None:
    """What a service knows of its servers goes on with the one that takes its place."""
    match service.proxy, before.proxy:
        case PassthroughProxy() as proxy, PassthroughProxy() as known:
            proxy.take_over(known, now)
        case VserverProxy() as proxy, VserverProxy() as known if not (
            service.vserver.redirect or before.vserver.redirect
        ):
            proxy.take_over(known, now)
        case _:
            before.proxy.drain()  # there are no servers to go on with


def _digest(files: Mapping[Path, bytes]) -> str:
    whole = hashlib.sha256()
    for path in sorted(files):
        whole.update(hashlib.sha256(files[path]).digest())
    return whole.hexdigest()
