"""What the core makes of vservers that have nodes of their own [B11]."""

from __future__ import annotations

from typing import Any

import pytest

from controller.alarms import AlarmKind
from controller.core import Core
from controller.entries import Key, Kind
from controller.events import EventKind, EventLog
from controller.explain import explain
from controller.health import Check, CheckKind, Outcome
from controller.intents import Intent
from pentaflow.config import Configuration, NodeState
from pentaflow.errors import ConfigurationError
from pentaflow.hash import HashKeyKind
from pentaflow.modes import Protocol
from support.configurations import direct_document

S = 1_000_000_000
SERVICES = {1: ["web"], 2: ["web"], 11: ["plain", "dns"], 12: ["plain", "dns"], 13: ["plain", "dns"]}
DRAINING = Intent(state=NodeState.DRAINING, since_ms=1, who="op")


def make_configuration(**health: Any) -> Configuration:
    document = direct_document()
    document["controller"] = {"health": {"guard": {"share": 1}} | health}
    return Configuration.model_validate(document)


class World:
    """TLS nodes 1 and 2, direct servers 11 to 13, all up, and a switch that holds what it should."""

    def __init__(self) -> None:
        self.core = Core(
            make_configuration(),
            random_hash_keys={1: 1, 2: 2, 3: 3},
            station_capacity=9,
            transit_cells=65_536,
            events=EventLog(epoch_offset_ns=0, listener=lambda _event: None),
            now_ns=0,
        )
        self.now_ns = 0
        list(self.core.reconcile("s1", self.core.assignment.new_actual(), 0))
        self.core.reconciled("s1", 0, 0, 0)
        self.core.elect(0)
        for node_id in SERVICES:
            self.check(node_id)
        self.core.written({"s1"}, 0)

    def check(self, node_id: int, failure: str = "") -> int:
        """Probes of all its vservers; the number of keys that change."""
        keys = 0
        for name in SERVICES[node_id]:
            for _ in range(3):
                outcome = Outcome(started_ns=self.now_ns, failure=failure)
                found = self.core.observe(node_id, Check(CheckKind.PATH, "s1", name), outcome, self.now_ns)
                keys += len(found.keys) if found else 0
        return keys

    def nodes(self) -> dict[int, set[int]]:
        return {vserver_id: set(self.core.map.holding(vserver_id)) for vserver_id in (1, 2, 3)}

    def idle(self, vserver_id: int, buckets: range) -> int:
        """How many keys change by a notice."""
        found = self.core.bucket_idle("s1", [Key(Kind.BUCKET, (vserver_id, b)) for b in buckets], self.now_ns)
        return len(found.keys) if found else 0


@pytest.fixture
def world() -> World:
    return World()


def test_each_vserver_is_spread_over_its_own_nodes(world: World) -> None:
    assert world.nodes() == {1: {1, 2}, 2: {11, 12, 13}, 3: {11, 12, 13}}
    assert sorted(world.core.map.holding(3).values()) == [85, 85, 86]


def test_a_failure_costs_the_slots_of_the_node_and_moves_nothing_of_others(world: World) -> None:
    web = world.core.map.owners(1).tolist()
    assert world.check(12, "no answer") == 16
    assert world.nodes() == {1: {1, 2}, 2: {11, 13}, 3: {11, 13}}
    assert world.core.map.owners(1).tolist() == web


def test_a_vserver_without_nodes_is_withdrawn_by_itself(world: World) -> None:
    for node_id in (11, 12, 13):
        world.check(node_id, "no answer")
    (event,) = [e for e in world.core.events.after(0) if e.kind is EventKind.VIPS_WITHDRAWN]
    assert event.details == {"vips": "10.0.0.101"}
    found = [a.key.subject for a in world.core.alarms() if a.key.kind is AlarmKind.NO_HEALTHY_NODE]
    assert sorted(found) == ["dns", "plain"]
    assert world.nodes()[1] == {1, 2}, "TLS nodes do not take over from direct servers"


def test_direct_servers_are_asked_for_no_connections_and_move_what_is_idle_at_once(world: World) -> None:
    world.core.set_intent(11, DRAINING, world.now_ns)
    world.now_ns += 100 * S
    world.core.advance(world.now_ns)
    assert world.core.bucket_functions() == {11: {}}
    assert {key[0] for key in world.core.map.splits} == {2}, "UDP is not split"
    leaving = world.core.map.holding(3)[11]
    assert leaving
    assert world.idle(3, range(256)) >= leaving
    assert world.core.map.holding(3)[11] == 0


def test_a_drained_direct_server_is_one_without_buckets(world: World) -> None:
    world.core.set_intent(11, DRAINING, world.now_ns)
    for _ in range(5):
        world.now_ns += 40 * S
        world.core.advance(world.now_ns)
        world.core.written({"s1"}, world.now_ns)
        for vserver_id in (2, 3):
            world.idle(vserver_id, range(256))
    world.now_ns += 40 * S
    world.idle(2, range(256))
    world.core.advance(world.now_ns)
    assert world.nodes() == {1: {1, 2}, 2: {12, 13}, 3: {12, 13}}
    assert not world.core.map.splits
    assert world.core.balancing.is_drained(11)


def test_a_node_that_nothing_is_known_of_holds_up_its_own_vservers_only() -> None:
    world = World()
    world.core.availability.forget("s1", world.now_ns)
    for node_id in (1, 2):
        world.check(node_id)
    world.core.set_intent(1, DRAINING, world.now_ns)
    world.core.set_intent(11, DRAINING, world.now_ns)
    world.core.advance(world.now_ns)
    started = [e.details for e in world.core.events.after(0) if e.kind is EventKind.MOVES_STARTED]
    assert [details["buckets"] for details in started] == [2048]


def test_a_plan_that_leaves_a_vserver_without_nodes_is_refused_by_its_name(world: World) -> None:
    gone = dict.fromkeys((11, 12, 13), NodeState.DRAINING)
    with pytest.raises(ConfigurationError, match="no node would be left to serve plain, dns"):
        world.core.plan(world.core.configuration, gone)
    plan = world.core.plan(world.core.configuration, {11: NodeState.DRAINING})
    assert set(plan.by_vserver()) == {2, 3}
    assert world.core.connections_at_risk(plan, world.now_ns) is None, "nobody knows"


def test_explain_hashes_with_the_vservers_protocol(world: World) -> None:
    core = world.core
    dns = core.configuration.vservers[2].model_copy(update={"hash": HashKeyKind.FIVE_TUPLE})
    client = (core.configuration.vservers[0].vip, 4000)
    over_udp = explain(core.assignment, core.availability, core.history, dns, 3, client)
    over_tcp = explain(
        core.assignment, core.availability, core.history, dns.model_copy(update={"protocol": Protocol.TCP}), 3, client
    )
    assert over_udp.node_id in (11, 12, 13)
    assert over_udp.bucket != over_tcp.bucket
