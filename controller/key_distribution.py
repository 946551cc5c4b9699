"""Gives ticket keys to nodes (shell) [P4]: kept sealed in the store first, then handed out until all have them.

A node without an agent is given them at its management address, over mutual TLS or on loopback; one with an agent asks
for them (`controller.api.agents`). Either way it says which version it has; one that was started again has none.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx
import structlog

from controller.changes import Changes
from controller.core import Core
from controller.repository import Repository
from controller.sealing import Seal
from controller.status import StatusPoller, maybe_authority
from controller.store.base import Fenced, StoreUnavailable
from controller.stored_ring import decode_ring, encode_ring
from pentaflow.config import Configuration, Node, is_loopback
from pentaflow.errors import ConfigurationError
from pentaflow.files import read_secret
from pentaflow.modes import NodeKind
from pentaflow.ticket_keys import KEY_BYTES, KeyRing, KeyRings, TicketKeySet

STEP_S = 0.5
TIMEOUT_S = 2.0
SILENCE_S = 5.0
"""After which a node that says nothing of itself is given its keys once more: it may have been started again."""
_PURPOSE = "pentaflow ticket keys"
_NS_PER_S = 1_000_000_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptKeys:
    """What the store has: names of vservers, and the rings of those that could be opened."""

    names: frozenset[str]
    rings: Mapping[str, KeyRing]


def maybe_seal(configuration: Configuration) -> Seal | None:
    """What seals ticket keys in the store; None: they are not kept there.

    Raises:
        ConfigurationError: the secret file is not usable.
    """
    given = configuration.controller.ticket_keys
    if given is None or given.secret_file is None:
        return None
    secret = read_secret(given.secret_file, "controller.ticket_keys.secret_file")
    return Seal(secret, _PURPOSE, os.urandom)


async def read_kept(repository: Repository, configuration: Configuration) -> KeptKeys:
    """The keys of an earlier leader.

    Raises:
        ConfigurationError: the secret file is not usable.
        StoreUnavailable: the store does not answer.
    """
    seal, rings = maybe_seal(configuration), {}
    found = await repository.ticket_keys()
    for vserver, sealed in found.items() if seal else ():
        content = seal.maybe_open(sealed, vserver) if seal else None
        ring = None if content is None else decode_ring(content)
        if ring is None:
            log.warning("ticket keys in the store cannot be opened: there will be others", vserver=vserver)
        else:
            rings[vserver] = ring
    return KeptKeys(names=frozenset(found), rings=rings)


class KeyDistribution:
    """Ticket keys of one leader.

    Args:
        core: knows who may serve.
        repository: keeps keys.
        kept: what it has.
        epoch: of this leader; versions of its keys are above.
        poller: the present one; knows what nodes have said of themselves.
        dispatch: hands changes to switches.
    """

    def __init__(
        self,
        core: Core,
        repository: Repository,
        kept: KeptKeys,
        *,
        epoch: int,
        poller: Callable[[], StatusPoller],
        dispatch: Callable[[Changes | None], None],
    ) -> None:
        self._core = core
        self._repository = repository
        self._poller = poller
        self._dispatch = dispatch
        self._seal = maybe_seal(core.configuration)
        self._stored: dict[str, KeyRing | None] = {**dict.fromkeys(kept.names), **kept.rings}
        self._tls = maybe_authority(core.configuration)
        self._giving: dict[str, asyncio.Task[None]] = {}
        self._complaint = ""
        self._has_begun = False
        self.changed = asyncio.Event()
        """Set when other keys are handed out; then there is a new one of these."""
        newest = max((key.version for ring in kept.rings.values() for key in ring.keys), default=0)
        core.ticket_keys.begin(KeyRings(version=max(epoch, newest + 1), rings=kept.rings), time.monotonic_ns())

    def reconfigure(self, configuration: Configuration) -> None:
        """Another configuration is in force."""
        self._seal, self._tls = maybe_seal(configuration), maybe_authority(configuration)
        self._stored = dict.fromkeys(self._stored)  # to be written with another seal, or removed

    async def run(self) -> None:
        """Give keys until cancelled."""
        try:
            while True:
                await self._step()
                await asyncio.sleep(STEP_S)
        finally:
            for task in self._giving.values():
                task.cancel()

    def handed_out(self) -> TicketKeySet | None:
        """What nodes get; None: they make keys of their own, or what they get is not known yet."""
        is_given = self._core.configuration.controller.ticket_keys is not None
        return self._core.ticket_keys.rings.handed_out() if is_given and self._has_begun else None

    async def _step(self) -> None:
        keys, configuration, now_ns = self._core.ticket_keys, self._core.configuration, time.monotonic_ns()
        self._listen()
        before, taken = keys.rings, keys.acknowledged_by(self._core.key_watch.counting())
        following = keys.following(configuration, taken, now_s=time.time(), make_key=lambda: os.urandom(KEY_BYTES))
        is_kept = await self._keep(following)
        # Meanwhile another configuration may have come, an operator have asked for a rotation, a node be back.
        is_same = keys.rings is before and self._core.configuration is configuration
        if is_kept and is_same and taken <= keys.acknowledged_by(self._core.key_watch.counting()):
            keys.adopt(following, now_ns)
            self._has_begun = True
            if following.version != before.version:
                self.changed.set()
                self.changed = asyncio.Event()
        self._dispatch(self._core.watch_ticket_keys(time.monotonic_ns()))
        if handed_out := self.handed_out():
            self._give(handed_out)

    def _listen(self) -> None:
        """Nodes without an agent say in their status document which keys they have."""
        for node_id, node in self._core.nodes.items():
            status = self._poller().maybe_status(node_id)
            if status is None or node.kind is not NodeKind.TLS:
                continue
            self._core.key_watch.unknown_tickets.take(node.name, status.document, status.at_ns)
            said = status.document.get("ticket_keys", {}).get("version")
            if isinstance(said, int) and status.at_ns > self._core.ticket_keys.heard_at_ns(node.name):
                self._core.ticket_keys.acknowledge(node.name, said, status.at_ns)

    async def _keep(self, following: KeyRings) -> bool:
        """Whether the store has what is to be handed out, or need not have it."""
        seal, stored = self._seal, self._stored
        wanted = {} if seal is None else dict(following.rings)
        changes: dict[str, bytes | None] = dict.fromkeys(stored.keys() - wanted.keys())
        if seal is not None:
            for name, ring in wanted.items():
                if stored.get(name) != ring:
                    changes[name] = seal.close(encode_ring(ring), name)
        try:
            await self._repository.keep_ticket_keys(changes)
        except StoreUnavailable as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                log.warning("ticket keys are not kept, and do not change", reason=self._complaint)
            return False
        except Fenced:
            return False
        self._complaint = ""
        self._stored = dict(wanted)
        return True

    # Management addresses.

    def _give(self, handed_out: TicketKeySet) -> None:
        keys, now_ns = self._core.ticket_keys, time.monotonic_ns()
        for node in self._core.nodes.values():
            has_agent = self._core.agents.maybe_report(node.name) is not None
            if node.kind is not NodeKind.TLS or has_agent or node.name in self._giving:
                continue
            is_silent = now_ns - keys.heard_at_ns(node.name) > SILENCE_S * _NS_PER_S
            if is_silent or not keys.is_current(node.name):
                task = self._giving[node.name] = asyncio.create_task(self._give_to(node, handed_out), name=node.name)
                task.add_done_callback(lambda task: self._giving.pop(task.get_name(), None))

    async def _give_to(self, node: Node, handed_out: TicketKeySet) -> None:
        keys = self._core.ticket_keys
        try:
            version = await _put(node, handed_out, self._tls)
        except (httpx.HTTPError, TimeoutError, ValueError, RecursionError, ConfigurationError) as error:
            keys.failed(node.name, str(error) or type(error).__name__)
        else:
            keys.acknowledge(node.name, version, time.monotonic_ns())


async def _put(node: Node, keys: TicketKeySet, tls: ssl.SSLContext | None) -> int:
    """Give a node keys; the version that it has then.

    Raises:
        ConfigurationError: they would go over the network in clear.
        httpx.HTTPError, TimeoutError, ValueError, RecursionError: the node does not take them.
    """
    address = node.management
    assert address is not None  # the schema has made sure
    if tls is None and not is_loopback(address.host):
        raise ConfigurationError("controller.health.management", "keys go over https, or on loopback, only")
    url = f"{'https' if tls else 'http'}://{address}/ticket-keys"
    async with asyncio.timeout(TIMEOUT_S), httpx.AsyncClient(trust_env=False, verify=tls or False) as client:
        response = await client.put(url, content=keys.model_dump_json(), headers={"Content-Type": "application/json"})
    if response.status_code != httpx.codes.OK:
        raise ValueError(response.text[:200].strip() or f"status {response.status_code}")
    match response.json():
        case {"version": int(version)}:
            return version
        case _:
            raise ValueError("an answer without a version")
