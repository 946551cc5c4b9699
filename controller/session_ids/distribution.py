"""Session ids of the leader (shell) [P6]: kept in the store first, then told to load balancers and servers.

TLS nodes are given their tables at their management addresses, and again every now and then, since one that was started
again has none. Servers fetch their records, which are leases, and report (`controller.api.session_ids`).
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import httpx
import structlog
from pydantic import TypeAdapter, ValidationError

from controller.core import Core
from controller.repository import Repository
from controller.session_ids.allocation import EMPTY, Allocation, Stage, make_record, make_table
from controller.session_ids.passing import advance, grant, take_report
from controller.session_ids.replan import replan
from controller.session_ids.shares import wanted_by
from controller.status import maybe_authority
from controller.store.base import Fenced, StoreUnavailable
from pentaflow.config import Configuration, Node, Pool, Vserver
from pentaflow.modes import NodeKind
from pentaflow.session_id_settings import SessionIds
from pentaflow.session_ids import SessionIdRecord, SessionIdReport, SessionIdTable, SessionIdTables

STEP_S = 0.5
REPEAT_S = 5.0
"""How often a node is given tables that it has."""
TIMEOUT_S = 2.0
_VERSIONS = TypeAdapter(dict[str, int])
_STORE = "the store"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranged:
    """A vserver whose session ids are allocated."""

    vserver: Vserver
    settings: SessionIds
    pool: Pool

    @property
    def default_server(self) -> int | None:
        """The id of the server for ids that are nobody's."""
        return next((s.id for s in self.pool.servers if s.name == self.settings.default_server), None)

    def name_of(self, server: int | None) -> str:
        """What a server is called, which the pool may not have any more; nobody: nothing."""
        if server is None:
            return ""
        return next((found.name for found in self.pool.servers if found.id == server), f"server {server}")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdPlan:
    """What a re-plan would do.

    Attributes:
        id: names it; another one when it would do something else.
        before, after: what is allocated.
        moves: how many keys their holders have to stop issuing.
    """

    id: str
    before: Allocation
    after: Allocation

    @property
    def moves(self) -> int:
        return _draining(self.after) - _draining(self.before)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    text: str
    versions: Mapping[str, int]
    at_s: float


class StaleIdPlan(Exception):
    """A plan is no longer what a re-plan would do."""


class SessionIdDistribution:
    """Who makes which session ids.

    Args:
        core: knows the configuration, and which nodes may serve.
        repository: keeps allocations.
        kept: those that it has, by name of the vserver.
    """

    def __init__(self, core: Core, repository: Repository, kept: Mapping[str, Allocation]) -> None:
        self._core = core
        self._repository = repository
        self._allocations = dict(kept)
        self._given: dict[str, _Given] = {}
        self._tls = maybe_authority(core.configuration)
        self._turn = asyncio.Lock()
        self._complaints: dict[str, str] = {}

    def reconfigure(self, configuration: Configuration) -> None:
        """Another configuration is in force."""
        self._tls = maybe_authority(configuration)

    # What is allocated.

    def ranged(self) -> dict[str, Ranged]:
        """The vservers whose session ids are allocated, by name."""
        return _ranged(self._core.configuration)

    def allocation(self, vserver: str) -> Allocation:
        """A vserver's; empty before the first plan."""
        return self._allocations.get(vserver, EMPTY)

    def table(self, ranged: Ranged) -> SessionIdTable:
        """What load balancers are to know of a vserver."""
        name = ranged.vserver.name
        return make_table(name, self.allocation(name), ranged.default_server)

    def tables_version(self, vserver: str) -> int:
        """The oldest version of a vserver's table that any node goes by that may serve."""
        known = [self._version_of(node, vserver) for node in self._core.key_watch.counting()]
        return min(known, default=self.allocation(vserver).version)

    def behind(self, vserver: str) -> list[str]:
        """The nodes that may serve and go by an older table of a vserver, or by none."""
        version = self.allocation(vserver).version
        return sorted(n for n in self._core.key_watch.counting() if self._version_of(n, vserver) < version)

    def _version_of(self, node: str, vserver: str) -> int:
        given = self._given.get(node)
        return given.versions.get(vserver, -1) if given else -1

    async def _change(self, vserver: str, change: Callable[[Allocation], Allocation]) -> Allocation:
        """Change what is allocated, once the store has it.

        Raises:
            StoreUnavailable, Fenced: nothing has changed.
        """
        async with self._turn:
            before = self.allocation(vserver)
            after = change(before)
            if after != before:
                await self._repository.keep_session_ids(vserver, after)
                self._complaints.pop(_STORE, None)
                self._allocations[vserver] = after
                if after.version != before.version:
                    log.info("session ids", vserver=vserver, version=after.version)
            return after

    # Servers.

    async def record(self, ranged: Ranged, server: int) -> SessionIdRecord:
        """A server's record, with a lease.

        Raises:
            StoreUnavailable, Fenced: it gets none: nobody would know of the lease.
        """
        name, settings = ranged.vserver.name, ranged.settings
        allocation = await self._change(name, lambda before: grant(before, server, settings, time.time()))
        return make_record(name, allocation, server, settings)

    async def report(self, ranged: Ranged, server: int, report: SessionIdReport) -> None:
        """A server says what is left of the ids that it no longer issues.

        Raises:
            StoreUnavailable, Fenced: nothing has changed.
        """
        settings = ranged.settings
        await self._change(
            ranged.vserver.name, lambda before: take_report(before, server, report, settings, time.time())
        )

    # Plans.

    def plan(self, ranged: Ranged) -> IdPlan:
        """What would be done to have what the configuration asks for."""
        return _plan(self.allocation(ranged.vserver.name), ranged)

    async def apply(self, ranged: Ranged, plan_id: str) -> IdPlan:
        """Do what a plan says.

        Raises:
            StaleIdPlan: a re-plan would do something else now.
            StoreUnavailable, Fenced: nothing has changed.
        """
        made: list[IdPlan] = []

        def change(before: Allocation) -> Allocation:
            made.append(_plan(before, ranged))
            if made[0].id != plan_id:
                raise StaleIdPlan
            return made[0].after

        await self._change(ranged.vserver.name, change)
        return made[0]

    # Time, and load balancers.

    async def run(self) -> None:
        """Hand over what has drained, and tell nodes, until cancelled."""
        while True:
            for name, ranged in self.ranged().items():
                try:
                    await self._change(name, partial(self._advance, ranged))
                except StoreUnavailable as error:
                    self._complain(_STORE, str(error))
                except Fenced:
                    break
            else:
                await self._give_all()
            await asyncio.sleep(STEP_S)

    def _advance(self, ranged: Ranged, before: Allocation) -> Allocation:
        if before == EMPTY:
            return replan(before, wanted_by(ranged.settings, ranged.pool))
        return advance(before, time.time(), self.tables_version(ranged.vserver.name))

    async def _give_all(self) -> None:
        nodes = {node.name: node for node in self._core.configuration.nodes if node.kind is NodeKind.TLS}
        self._given = {name: given for name, given in self._given.items() if name in nodes}
        tables = SessionIdTables(tables=tuple(map(self.table, self.ranged().values())))
        if not tables.tables and not self._given:
            return
        text, now_s = tables.model_dump_json(), time.monotonic()
        due = [
            node
            for name, node in nodes.items()
            if (given := self._given.get(name)) is None or given.text != text or now_s - given.at_s > REPEAT_S
        ]
        if not due:
            return
        async with httpx.AsyncClient(trust_env=False, verify=self._tls or False) as client:
            await asyncio.gather(*(self._give(client, node, text) for node in due))

    async def _give(self, client: httpx.AsyncClient, node: Node, text: str) -> None:
        url = f"{'https' if self._tls else 'http'}://{node.management}/session-ids"
        try:
            async with asyncio.timeout(TIMEOUT_S):
                response = await client.put(url, content=text, headers={"Content-Type": "application/json"})
            versions = _read_versions(response)
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            # What it had before it may have still.
            self._complain(node.name, str(error) or type(error).__name__)
        else:
            self._complaints.pop(node.name, None)
            self._given[node.name] = _Given(text=text, versions=versions, at_s=time.monotonic())

    def _complain(self, place: str, reason: str) -> None:
        if self._complaints.get(place) != reason:
            self._complaints[place] = reason
            log.warning("session ids do not get there", place=place, reason=reason)


def _read_versions(response: httpx.Response) -> dict[str, int]:
    """Which tables a node says that it has; ValueError: it has not taken any."""
    if response.status_code != httpx.codes.OK:
        raise ValueError(response.text[:200].strip() or f"status {response.status_code}")
    try:
        return _VERSIONS.validate_json(response.content)
    except ValidationError:
        raise ValueError("an answer without versions") from None


def _plan(before: Allocation, ranged: Ranged) -> IdPlan:
    after = replan(before, wanted_by(ranged.settings, ranged.pool))
    # Leases go on while an operator thinks.
    pieces = [replace(piece, ends=()) for piece in after.pieces]
    steps = repr((before.version, pieces, sorted(after.members.items())))
    return IdPlan(id=hashlib.sha256(steps.encode()).hexdigest()[:16], before=before, after=after)


def _draining(allocation: Allocation) -> int:
    return sum(piece.size for piece in allocation.pieces if piece.stage is Stage.DRAINING)


def _ranged(configuration: Configuration) -> dict[str, Ranged]:
    pools = {pool.name: pool for pool in configuration.pools}
    return {
        vserver.name: Ranged(vserver=vserver, settings=settings, pool=pools[vserver.pool])
        for vserver in configuration.vservers
        if (settings := vserver.persistence.session_ids) is not None and vserver.pool is not None
    }
