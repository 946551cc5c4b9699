"""What the API says of the controller's state: one model, and one function that makes it, for each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from controller.health import Health
from controller.intents import Intent
from controller.moves import Progress
from controller.running import Running
from controller.southbound import SessionState
from pentaflow.config import NodeState, Pool, Vserver
from pentaflow.modes import NodeKind, Protocol, VserverMode

_NS_PER_S = 1_000_000_000


class SwitchView(BaseModel):
    """A switch, how far the controller has got with it, and its part in the election.

    Attributes:
        active_for: VIPs.
        unfenced_for: VIPs that it may still answer for though another one is active: it can't be reached.
        nodes_seen: that answer probes through it.
    """

    name: str
    grpc: str
    device_id: int
    ports: list[int]
    state: SessionState
    error: str
    stations: int
    priority: int
    active_for: list[str]
    unfenced_for: list[str]
    nodes_seen: list[str]


class IntentView(BaseModel):
    """What is intended with a node: by the configuration, unless an operator (`who`) has set it."""

    state: NodeState
    who: str
    reason: str
    since_ms: int
    deadline_ms: int | None


class NodeView(BaseModel):
    """A node: intent, what was observed, what it serves, and what it last said of itself."""

    name: str
    id: int
    kind: NodeKind
    weight: int
    mac: str
    ports: dict[str, int]
    management: str | None
    intent: IntentView
    health: Health
    reason: str
    since_s: float
    slots: int
    buckets: int
    status: dict[str, Any] | None
    status_age_s: float | None


class VserverView(BaseModel):
    """A virtual server as configured, and its nodes' shares; one of mode direct has no pool."""

    name: str
    id: int
    mode: VserverMode
    vip: str
    protocol: Protocol
    port: int
    buckets: int
    hash: str
    pool: str | None
    node_buckets: dict[str, int]
    active_switch: str | None


class ServerView(BaseModel):
    """A back-end server as configured."""

    name: str
    id: int
    address: str
    weight: int


class PoolView(BaseModel):
    """A pool as configured."""

    name: str
    policy: str
    servers: list[ServerView]


class BucketsView(BaseModel):
    """A bucket map.

    Attributes:
        slots: the slot of each bucket, -1 for one that is not assigned.
        slot_nodes: slot → name of its node, of each slot that is in use.
        splits: bucket → slot that keeps the connections from before, of each bucket that is split.
        node_buckets: node → buckets.
    """

    vserver: str
    version: int
    slots: list[int]
    slot_nodes: dict[int, str]
    splits: dict[int, int]
    node_buckets: dict[str, int]


class DrainView(BaseModel):
    """Buckets that leave a node.

    Attributes:
        intent: what is intended with the node.
        drained: the node is to leave, and has neither buckets nor connections any more.
        buckets_waiting: that are still whole on the node.
        buckets_split: that new connections no longer come to.
        buckets_moved: that have left since this began.
        buckets_forced: of those, that left at the deadline with open connections.
        connections_at_risk: that were open in those.
        connections_left: open in what has not left, as the node said last.
        deadline_ms: when what is left is moved by force; null: as configured.
    """

    node: str
    intent: NodeState
    drained: bool
    buckets_waiting: int
    buckets_split: int
    buckets_moved: int
    buckets_forced: int
    connections_at_risk: int
    connections_left: int
    deadline_ms: int | None


class MovesView(BaseModel):
    """How far buckets that move are.

    Attributes:
        reason: why they do; null: nothing moves.
        estimate_s: seconds to the end, if it goes on like this; null: nothing can be said.
    """

    reason: str | None
    estimate_s: float | None
    nodes: list[DrainView]


class AlarmView(BaseModel):
    """Something that is wrong now."""

    kind: str
    subject: str
    reason: str
    since_s: float
    event_id: int


def switches(running: Running) -> Mapping[str, SwitchView]:
    """Switch name → view."""
    core = running.core
    sessions = {session.name: session for session in running.sessions}
    return {
        switch.name: SwitchView(
            name=switch.name,
            grpc=str(switch.grpc),
            device_id=switch.device_id,
            ports=list(switch.ports),
            state=sessions[switch.name].state,
            error=sessions[switch.name].error,
            stations=len(core.stations.tables[switch.name]),
            priority=switch.priority,
            active_for=sorted(map(str, core.election.held_by(switch.name))),
            unfenced_for=[str(s.vip) for s in core.election.standings() if switch.name in s.unfenced],
            nodes_seen=sorted(node_name(running, node_id) for node_id in core.views.seen(switch.name)),
        )
        for switch in core.configuration.switches
    }


def nodes(running: Running) -> Mapping[str, NodeView]:
    """Node name → view."""
    core = running.core
    loads = core.map.node_loads()
    slots: dict[int, int] = {}
    for node_id in core.map.slots.values():
        slots[node_id] = slots.get(node_id, 0) + 1
    now_ns = time.monotonic_ns()
    found = {}
    for node in core.configuration.nodes:
        health = core.health[node.id]
        status = running.poller.maybe_status(node.id)
        found[node.name] = NodeView(
            name=node.name,
            id=node.id,
            kind=node.kind,
            weight=node.weight,
            mac=node.mac,
            ports=dict(node.ports),
            management=None if node.management is None else str(node.management),
            intent=intent_view(core.availability.intents.of(node.id)),
            health=health.state,
            reason=health.reason,
            since_s=(now_ns - health.since_ns) / _NS_PER_S,
            slots=slots.get(node.id, 0),
            buckets=loads[node.id],
            status=status.document if status else None,
            status_age_s=(now_ns - status.at_ns) / _NS_PER_S if status else None,
        )
    return found


def vservers(running: Running) -> Mapping[str, VserverView]:
    """Vserver name → view."""
    return {
        vserver.name: VserverView(
            name=vserver.name,
            id=vserver.id,
            mode=vserver.mode,
            vip=str(vserver.vip),
            protocol=vserver.protocol,
            port=vserver.port,
            buckets=vserver.buckets,
            hash=vserver.hash.name.lower(),
            pool=vserver.pool,
            node_buckets=node_buckets(running, vserver),
            active_switch=running.core.election.active(vserver.vip) or None,
        )
        for vserver in running.core.configuration.vservers
    }


def pools(running: Running) -> Mapping[str, PoolView]:
    """Pool name → view."""
    return {pool.name: _pool_view(pool) for pool in running.core.configuration.pools}


def _pool_view(pool: Pool) -> PoolView:
    return PoolView(
        name=pool.name,
        policy=pool.policy,
        servers=[
            ServerView(name=server.name, id=server.id, address=str(server.address), weight=server.weight)
            for server in pool.servers
        ],
    )


def intent_view(intent: Intent) -> IntentView:
    """Says what is intended."""
    return IntentView(
        state=intent.state,
        who=intent.who,
        reason=intent.reason,
        since_ms=intent.since_ms,
        deadline_ms=intent.deadline_ms,
    )


def buckets(running: Running, vserver: Vserver) -> BucketsView:
    """The map of a vserver."""
    bucket_map = running.core.map
    found = bucket_map.buckets.get(vserver.id)
    slots: list[int] = [] if found is None else found.tolist()
    return BucketsView(
        vserver=vserver.name,
        version=bucket_map.version,
        slots=slots,
        slot_nodes={s: node_name(running, bucket_map.slots[s]) for s in sorted(set(slots)) if s in bucket_map.slots},
        splits={bucket: old for (vserver_id, bucket), old in bucket_map.splits.items() if vserver_id == vserver.id},
        node_buckets=node_buckets(running, vserver),
    )


def node_buckets(running: Running, vserver: Vserver) -> dict[str, int]:
    """Node name → buckets of a vserver."""
    core = running.core
    holding = core.map.holding(vserver.id) if vserver.id in core.map.buckets else {}
    shares = dict.fromkeys((node.name for node in core.configuration.serving(vserver)), 0)
    return shares | {node_name(running, node_id): count for node_id, count in holding.items()}


def node_name(running: Running, node_id: int) -> str:
    """A node's name, or its number when it is no longer configured."""
    node = running.core.nodes.get(node_id)
    return node.name if node else f"#{node_id}"


def alarms(running: Running) -> list[AlarmView]:
    """What is wrong now, oldest first."""
    now_ns = time.monotonic_ns()
    return [
        AlarmView(
            kind=alarm.key.kind,
            subject=alarm.key.subject,
            reason=alarm.reason,
            since_s=(now_ns - alarm.since_ns) / _NS_PER_S,
            event_id=alarm.event_id,
        )
        for alarm in running.core.alarms()
    ]


def drains(running: Running) -> MovesView:
    """Nodes that are to leave or lose buckets, and how far that is."""
    core = running.core
    now_ns = time.monotonic_ns()
    status = core.balancing.status(now_ns)
    states = core.availability.intents.states()
    rows: dict[int, list[Progress]] = {n: [] for n, state in states.items() if state is not NodeState.ACTIVE}
    for row in status.progress:
        rows.setdefault(row.node_id, []).append(row)
    return MovesView(
        reason=status.reason if status.started_ns else None,
        estimate_s=None if status.estimate_ns is None else max(0, status.estimate_ns - now_ns) / _NS_PER_S,
        nodes=[
            DrainView(
                node=node_name(running, node_id),
                intent=states.get(node_id, NodeState.MAINTENANCE),
                drained=core.balancing.is_drained(node_id),
                buckets_waiting=sum(row.waiting for row in found),
                buckets_split=sum(row.split for row in found),
                buckets_moved=sum(row.done for row in found),
                buckets_forced=sum(row.forced for row in found),
                connections_at_risk=sum(row.at_risk for row in found),
                connections_left=sum(row.connections_left for row in found),
                deadline_ms=core.availability.intents.of(node_id).deadline_ms if node_id in states else None,
            )
            for node_id, found in sorted(rows.items())
        ],
    )
