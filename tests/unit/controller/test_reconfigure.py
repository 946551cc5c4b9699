"""The core takes another configuration while it runs."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from controller.buckets import Reason
from controller.entries import Kind
from controller.explain import explain
from controller.health import Check, CheckKind, Outcome
from pentaflow.config import Configuration
from support.configurations import small_document
from support.core import CoreWorld

BUCKETS = 256
NEW_NODE = {"name": "n3", "id": 3, "mac": "02:00:00:00:01:03", "ports": {"s1": 1}, "management": "10.255.0.3:8081"}


class World(CoreWorld):
    """Two nodes that are up, and a switch that holds what it should."""

    def __init__(self) -> None:
        document = small_document()
        document["vservers"][0]["buckets"] = BUCKETS
        super().__init__(document)
        self.reconcile()
        self.up(1, 2)

    def up(self, *nodes: int) -> None:
        for vserver in self.core.configuration.vservers:
            for node_id in nodes * 2:
                self.core.observe(node_id, Check(CheckKind.PATH, "s1", vserver.name), Outcome(started_ns=0), 0)

    def reconfigure(self, change: Callable[[dict[str, Any]], None]) -> None:
        change(self.document)
        configuration = Configuration.model_validate(self.document)
        self.core.reconfigure(configuration, {vserver.id: 0xEF for vserver in configuration.vservers}, 0)
        self.entries.resize({vserver.id: vserver.buckets for vserver in configuration.vservers})
        self.reconcile()

    def buckets_of(self, vserver_id: int) -> int:
        return sum(key.kind is Kind.BUCKET and key.match[0] == vserver_id for key in self.entries)


def test_a_vserver_comes_with_a_key_of_its_own_and_goes_without_a_trace() -> None:
    world = World()
    before = dict(world.entries)
    second = world.document["vservers"][0] | {"name": "mail", "id": 2, "vip": "10.0.0.101", "port": 993}
    world.reconfigure(lambda document: document["vservers"].append(second))
    assert world.core.hash_keys == {1: 0xABCD, 2: 0xEF}, "the key in use stays"
    assert (world.buckets_of(1), world.buckets_of(2)) == (BUCKETS, BUCKETS)
    assert before.items() <= dict(world.entries).items(), "what served goes on"
    world.reconfigure(lambda document: document["vservers"].pop())
    assert dict(world.entries) == before
    assert world.core.hash_keys == {1: 0xABCD}


def test_a_node_comes_without_a_bucket_that_moves_at_once() -> None:
    world = World()
    before = world.core.map.buckets[1].tolist()
    world.reconfigure(lambda document: document["nodes"].append(NEW_NODE))
    assert world.core.map.buckets[1].tolist() == before
    assert set(world.core.health) == {1, 2, 3}
    world.up(3)
    plan = world.core.plan(world.core.configuration, {})
    assert (plan.gains()[3], plan.losses()[3]) == (BUCKETS // 3, 0)
    world.reconfigure(lambda document: document["nodes"].pop())
    assert set(world.core.health) == {1, 2}
    assert world.core.map.buckets[1].tolist() == before


def test_a_vserver_that_takes_the_id_of_one_that_is_gone_has_no_history_of_it() -> None:
    world = World()
    first = world.document["vservers"][0]
    second = first | {"name": "mail", "id": 2, "vip": "10.0.0.101"}
    world.reconfigure(lambda document: document["vservers"].append(second))
    bucket_map = world.core.map
    move = bucket_map.moved(2, 7, 16 if bucket_map.maybe_node(2, 7) == 2 else 32, Reason.DRAIN)
    world.core.history.record([move], 5)
    assert world.core.history.maybe_latest(2, 7, move.to_slot) == (5, Reason.DRAIN)
    world.reconfigure(lambda document: document["vservers"].pop())
    world.reconfigure(lambda document: document["vservers"].append(second | {"name": "shop"}))
    assert world.core.history.maybe_latest(2, 7, move.to_slot) is None


def test_other_weights_move_buckets_by_a_plan_only() -> None:
    world = World()
    before = dict(world.entries)
    world.reconfigure(lambda document: document["nodes"][0].update(weight=3))
    assert dict(world.entries) == before
    assert world.core.plan(world.core.configuration, {}).flows() == {(1, 2, 1): BUCKETS // 4}


def test_a_switch_comes_and_goes() -> None:
    world = World()

    def add(document: dict[str, Any]) -> None:
        document["switches"].append(document["switches"][0] | {"name": "s2", "probe_address": "10.0.0.253"})
        document["switches"][1]["grpc"] = "127.0.0.1:9560"
        for node in document["nodes"]:
            node["ports"]["s2"] = node["ports"]["s1"]

    def remove(document: dict[str, Any]) -> None:
        document["switches"].pop()
        for node in document["nodes"]:
            del node["ports"]["s2"]

    world.reconfigure(add)
    other = world.core.assignment.new_actual()
    keys = [key for batch in world.core.reconcile("s2", other, 0) for key in batch]
    assert sum(key.kind is Kind.BUCKET for key in keys) == BUCKETS
    assert world.core.election.active(IPv4Address("10.0.0.100")) == "s1"
    world.reconfigure(remove)
    assert set(world.core.stations.tables) == {"s1"}
    assert world.reconcile() == 0


def test_a_client_is_explained() -> None:
    world = World()
    core = world.core
    (vserver,) = core.configuration.vservers
    client = (IPv4Address("10.0.0.7"), 4711)

    def why() -> Any:
        return explain(core.assignment, core.availability, core.history, vserver, core.hash_keys[1], client)

    found = why()
    assert core.map.maybe_node(1, found.bucket) == found.node_id
    assert (found.slot, found.old_node_id, found.since_ns) == (core.map.buckets[1][found.bucket], None, 0)
    assert len(found.reasons) == 2
    for _ in range(3):
        core.observe(found.node_id, Check(CheckKind.PATH, "s1", "web"), Outcome(started_ns=1, failure="gone"), 9)
    moved = why()
    assert moved.node_id == 3 - found.node_id
    assert (moved.slot, moved.since_ns) == (found.slot, 9)
    assert moved.reasons[2:] == (
        f"the slot is at home on n{found.node_id}, which is down",
        "it came there by node_down",
    )
    del core.map.buckets[1]
    assert (why().slot, why().node_id, why().reasons[-1]) == (None, None, "the bucket is not assigned yet")
