"""What the core makes of weights and intents: buckets that move, events, and splits that are found on a switch."""

from __future__ import annotations

import json
from typing import Any

from controller.entries import SPLIT_SLOT, Kind
from controller.events import EventKind
from controller.intents import Intent
from pentaflow.config import NodeState
from support.configurations import small_document
from support.core import CoreWorld, S

BUCKETS = 256


class World(CoreWorld):
    """Nodes answer for the connections that `open` says: (node, bucket) → how many."""

    def __init__(self, **moves: Any) -> None:
        document = small_document()
        document["vservers"][0] |= {"buckets": BUCKETS}
        document["controller"] = {"moves": {"max_split": 64} | moves}
        self.open: dict[tuple[int, int], int] = {}
        super().__init__(document, now_ns=100 * S)
        self.reconcile()

    def reconcile(self) -> int:
        written = super().reconcile()
        self.core.written({"s1"}, self.now_ns)
        return written

    def check(self, node_id: int, failure: str = "") -> None:
        for _ in range(3):
            self.carry_out(self.observe(node_id, failure))

    def up(self) -> None:
        self.check(1)
        self.check(2)

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now_ns += S
            for node_id, functions in self.core.bucket_functions().items():
                found = {b: count for (node, b), count in self.open.items() if node == node_id and count}
                answer = {"web": {"open": sum(found.values()), "buckets": found}}
                self.core.balancing.connections.take(node_id, functions, self.now_ns, json.dumps(answer).encode())
            for node_id in (1, 2):
                row = {"name": "web", "connections": 0, "open_connections": 0}
                self.core.balancing.loads.take(node_id, {"vservers": [row]}, self.now_ns)
            self.now_ns += 1
            self.carry_out(self.core.tick(1000, self.now_ns))
            self.carry_out(self.core.advance(self.now_ns))
            self.carry_out(self.core.tidy(1000))
            self.core.written({"s1"}, self.now_ns)

    def drain(self, node_id: int, deadline_ms: int | None = None) -> None:
        intent = Intent(state=NodeState.DRAINING, since_ms=1, deadline_ms=deadline_ms, who="operator")
        self.carry_out(self.core.set_intent(node_id, intent, self.now_ns))

    def nodes(self) -> list[int]:
        """Node of each bucket, for new connections, as the switch has it."""
        return [self.entries_slot(bucket) // 16 for bucket in range(BUCKETS)]

    def entries_slot(self, bucket: int) -> int:
        return int(self.entries.buckets[1]["slot"][bucket])

    def splits(self) -> int:
        return sum(entry.other_action == SPLIT_SLOT for key, entry in self.entries.items() if key.kind is Kind.BUCKET)


def test_nothing_moves_without_cause_or_while_a_node_is_unknown() -> None:
    world = World()
    before = world.nodes()
    world.check(1)
    world.drain(2)
    world.run(20)
    assert world.nodes() == before
    world.up()
    world.run(3)
    assert world.nodes() != before


def test_a_drained_node_ends_with_nothing_while_its_connections_stay_until_they_close() -> None:
    world = World()
    world.up()
    last = world.nodes().index(1)
    world.open[1, last] = 1
    world.drain(1)
    world.run(60)
    assert set(world.nodes()) == {2}
    assert world.splits() == 1, "the one with the connection"
    assert not world.core.balancing.is_drained(1)
    world.open.clear()
    world.run(10)
    assert world.splits() == 0
    assert world.core.balancing.is_drained(1)
    assert world.events(EventKind.NODE_DRAINED) == [{"node": "n1"}]
    (moved,) = world.events(EventKind.BUCKETS_MOVED)
    assert (moved["buckets"], moved["reason"]) == (128, "drain")
    assert not world.events(EventKind.MOVES_FORCED)
    assert world.reconcile() == 0


def test_a_drain_ends_at_the_operators_deadline() -> None:
    world = World()
    world.up()
    world.open |= {(1, bucket): 2 for bucket, node in enumerate(world.nodes()) if node == 1}
    world.drain(1, deadline_ms=world.now_ns // 1_000_000 + 30_000)
    world.run(28)
    assert 1 in world.nodes()
    assert world.splits() == 64
    world.run(4)
    assert set(world.nodes()) == {2}
    assert world.splits() == 0
    assert world.events(EventKind.MOVES_FORCED) == [{"node": "n1", "buckets": 128, "connections_at_risk": 256}]
    assert not world.core.balancing.is_drained(1), "its connections have not closed"


def test_a_drain_that_the_configuration_asks_for_has_the_default_deadline() -> None:
    world = World(drain_deadline_s=20)
    world.document["nodes"][0]["state"] = "draining"
    world.start_controller()
    world.reconcile()
    world.up()
    world.open |= {(1, bucket): 1 for bucket, node in enumerate(world.nodes()) if node == 1}
    world.run(15)
    assert not world.events(EventKind.MOVES_FORCED)
    world.run(10)
    assert set(world.nodes()) == {2}


def test_an_operator_who_changes_their_mind_gets_the_buckets_back() -> None:
    world = World()
    world.up()
    world.drain(1)
    world.run(3)
    assert world.nodes().count(1) < 128
    world.carry_out(world.core.clear_intent(1, world.now_ns))
    world.run(60)
    assert world.nodes().count(1) == 128
    assert world.splits() == 0


def test_a_node_that_is_back_gets_its_share_without_waiting_for_idleness() -> None:
    world = World()
    world.up()
    world.check(2, "no answer")
    assert world.core.map.holding(1) == {1: BUCKETS}
    world.run(10)
    world.check(2)
    world.run(60)
    assert world.core.map.holding(1) == {1: 128, 2: 128}
    assert world.splits() == 0


def test_a_new_controller_finishes_the_splits_that_it_finds() -> None:
    world = World()
    world.up()
    world.drain(1)
    world.run(2)
    assert world.splits() == 64
    world.start_controller()
    assert world.reconcile() == 0
    world.up()
    world.run(30)
    assert world.splits() == 0
    assert world.core.map.holding(1) == {1: 128, 2: 128}, "the intent went with the first controller"


def test_progress_and_estimate() -> None:
    world = World()
    world.up()
    world.drain(1)
    world.run(4)
    status = world.core.balancing.status(world.now_ns)
    (row,) = status.progress
    assert (row.node_id, row.vserver_id, row.waiting, row.split, row.done) == (1, 1, 64, 64, 0)
    assert status.estimate_ns is None
    world.run(6)
    status = world.core.balancing.status(world.now_ns)
    assert status.progress[0].done == 64
    assert status.estimate_ns is not None
    assert status.estimate_ns > world.now_ns
