"""The core's decisions, with an in-memory switch that applies what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from controller.buckets import Reason
from controller.changes import Changes
from controller.entries import SPLIT_SLOT, Entry, Key, Kind
from controller.events import EventKind
from support.configurations import small_document
from support.core import MS, CoreWorld


class World(CoreWorld):
    """One vserver of 256 buckets."""

    def __init__(self, entries: Mapping[Key, Entry] | None = None, **vserver: Any) -> None:
        document = small_document()
        document["vservers"][0] |= {"buckets": 256} | vserver
        super().__init__(document, entries)

    def check(self, node_id: int, failure: str = "", *, now_ns: int = 0) -> Changes | None:
        self.now_ns = now_ns
        return self.observe(node_id, failure)

    def fail(self, node_id: int, *, at_ms: int = 0) -> Changes | None:
        return [self.check(node_id, "no answer", now_ns=(at_ms + n * 100) * MS) for n in range(3)][-1]


def test_a_second_reconcile_finds_nothing_to_write() -> None:
    world = World()
    assert world.reconcile() == 256 + 32 + 7
    assert world.reconcile() == 0


def test_the_hash_key_is_the_configured_one_else_the_switchs_else_random() -> None:
    def hash_key(world: World) -> int:
        world.reconcile()
        return next(entry.params[3] for key, entry in world.entries.items() if key.kind is Kind.VSERVER)

    first = World()
    assert hash_key(first) == 0xABCD
    second = World(first.entries)
    second.core._random_hash_keys = {1: 7}
    assert hash_key(second) == 0xABCD
    assert hash_key(World(first.entries, hash_key="00000000000000ff")) == 0xFF


def test_another_switch_later_gets_the_map_that_is_in_use() -> None:
    world = World()
    world.reconcile()
    first = dict(world.entries)
    moved = Key(Kind.BUCKET, (1, 0))
    world.entries[moved] = Entry((40,), first[moved].idle_timeout_ns)
    assert world.reconcile() == 1
    assert world.entries == first


def test_a_failure_re_points_the_slots_and_names_its_cause() -> None:
    world = World()
    world.reconcile()
    world.check(1)
    changes = world.fail(2)
    assert changes is not None
    assert (changes.urgent_for, {key.kind for key in changes.keys}) == ("n2", {Kind.SLOT})
    assert world.carry_out(changes) == 16
    world.core.applied("s1", changes, 16, 200 * MS, 205 * MS)
    (down,) = [event for event in world.told if event.kind is EventKind.NODE_DOWN]
    assert down.details == {"node": "n2", "reason": "path:s1:web check: no answer", "detection_ms": 200.0}
    assert (down.monotonic_ms, down.at_ms) == (200.0, 1200.0)
    assert world.events(EventKind.SLOTS_MOVED) == [
        {"node": "n2", "cause": down.id, "switch": "s1", "updates": 16, "duration_ms": 5.0}
    ]
    assert {entry.params[0] for key, entry in world.entries.items() if key.kind is Kind.SLOT} == {1}


def test_a_controller_restart_after_a_failure_moves_nothing() -> None:
    world = World()
    world.reconcile()
    world.check(1)
    world.carry_out(world.fail(2))
    assert World(world.entries).reconcile() == 0


def test_traffic_waits_for_the_first_node_that_comes_back() -> None:
    world = World()
    world.reconcile()
    world.check(1)
    world.carry_out(world.fail(1))
    withdrawn = world.fail(2, at_ms=5_000)
    assert withdrawn is not None
    assert {key.kind for key in withdrawn.keys} == {Kind.ARP, Kind.ADMIT}, "nobody left: the last map stays"
    world.carry_out(withdrawn)
    assert world.check(1) is None
    changes = world.check(1)
    assert changes is not None
    assert world.carry_out(changes) == 32 + 2
    assert {entry.params[0] for key, entry in world.entries.items() if key.kind is Kind.SLOT} == {1}


def test_a_node_that_was_removed_gives_its_buckets_away_and_its_slots_back() -> None:
    before = World()
    before.reconcile()
    after = World(before.entries)
    del after.document["nodes"][1]
    after.start_controller()
    assert after.reconcile() == 16, "its slots are re-pointed, no bucket is written"
    while changes := after.core.tidy(100):
        after.carry_out(changes)
    assert sorted(key.match[0] for key in after.entries if key.kind is Kind.SLOT) == list(range(16, 32))
    assert after.reconcile() == 0


def test_a_lost_switch_leaves_health_unknown_and_the_map_alone() -> None:
    world = World()
    world.reconcile()
    world.check(1)
    world.check(2)
    version = world.core.map.version
    assert world.core.lost("s1", "gone", 5) == ()
    assert world.core.map.version == version
    assert [event.kind for event in world.told[-4:]] == [
        EventKind.SWITCH_LOST,
        EventKind.NODE_UNKNOWN,
        EventKind.NODE_UNKNOWN,
        EventKind.ALARM_RAISED,
    ]
    world.core.reconciled("s1", 0, 6, 7)
    assert world.core.alarms() == []


def test_stations_are_learnt_aged_and_bounded() -> None:
    world = World()
    world.reconcile()
    stations = [(0, 0x020000000011, 1), (0, 0x020000000012, 2), (0, 0x020000000013, 3)]
    assert world.carry_out(world.core.learn("s1", stations, 0)) == 4
    assert world.events(EventKind.STATIONS_FULL) == [{"switch": "s1", "stations": 2}]
    assert world.core.learn("s1", stations, 0) is None
    assert World(world.entries).reconcile() == 0, "read back, not forgotten"
    assert world.carry_out(world.core.station_idle("s1", [Key(Kind.SMAC, stations[0])])) == 2
    assert world.core.station_idle("s1", [Key(Kind.SMAC, stations[0])]) is None


@pytest.mark.parametrize("mac", [0x02500A000064, 0x02510A0000FE])
def test_addresses_of_vips_and_probes_are_not_learnt(mac: int) -> None:
    world = World()
    world.reconcile()
    assert world.core.learn("s1", [(0, mac, 1)], 0) is None


def test_without_nodes_the_rest_of_the_switch_is_still_set_up() -> None:
    world = CoreWorld(small_document() | {"nodes": []})
    assert world.reconcile() == 7
    assert world.core.tidy(10) is None


def test_a_split_bucket_is_written_and_found_again_by_the_next_controller() -> None:
    world = World()
    world.reconcile()
    bucket_map, key = world.core.map, Key(Kind.BUCKET, (1, 0))
    from_slot = int(bucket_map.buckets[1][0])
    to_slot = bucket_map.maybe_free_slot(2 if bucket_map.maybe_node(1, 0) == 1 else 1, 16)
    assert to_slot is not None
    bucket_map.apply([bucket_map.split(1, 0, to_slot, Reason.DRAIN)])
    assert world.carry_out(Changes(keys=(key,))) == 1
    entry = world.entries[key]
    assert (entry.other_action, entry.params[:2]) == (SPLIT_SLOT, (to_slot, from_slot))
    assert entry.params[2] * 1_024_000 > entry.idle_timeout_ns, "no connection is silent for as long as the window"
    after = World(world.entries)
    assert after.reconcile() == 0
    assert after.core.map.splits == {(1, 0): from_slot}
    after.core.map.apply([after.core.map.settled(1, 0, Reason.DRAIN)])
    assert after.carry_out(Changes(keys=(key,))) == 1
    assert after.entries[key] == Entry((to_slot,), entry.idle_timeout_ns)
