"""Buckets that get their node when somebody comes [B2 on_demand]."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from controller.buckets import UNASSIGNED, Reason
from controller.changes import Changes
from controller.core import Core
from controller.entries import Entry, Key, Kind
from controller.on_demand import Fate, HeldPackets
from pentaflow.config import AssignmentMode, Configuration
from support.configurations import small_document
from support.core import CoreWorld

BUCKETS = 256


def make_document(**vserver: Any) -> dict[str, Any]:
    document = small_document()
    document["nodes"][1]["weight"] = 3
    document["vservers"][0] |= {"buckets": BUCKETS, "assignment": "on_demand"} | vserver
    return document


def make_configuration(**vserver: Any) -> Configuration:
    return Configuration.model_validate(make_document(**vserver))


def make_core(entries: dict[Key, Entry] | None = None, **vserver: Any) -> Core:
    """A core that has read back a switch with these entries."""
    world = CoreWorld(make_document(**vserver), entries)
    world.reconcile()
    return world.core


def bucket_key(bucket: int) -> Key:
    return Key(Kind.BUCKET, (1, bucket))


def limit(core: Core) -> int:
    (key,) = [key for key in core._fixed["s1"] if key.kind is Kind.VSERVER]
    entry = core.maybe_entry("s1", key)
    assert entry is not None
    return entry.params[4]


def test_buckets_are_assigned_one_by_one_and_by_weight() -> None:
    core = make_core()
    assert set(core.map.buckets[1].tolist()) == {UNASSIGNED}
    assert core.maybe_entry("s1", bucket_key(7)) is None
    assert core.assign(1, 7, 5) == Changes(keys=(bucket_key(7),), is_assignment=True)
    assert core.assign(1, 7, 6) is None, "it has a slot"
    for bucket in range(100, 115):
        assert core.assign(1, bucket, 6)
    assert core.map.holding(1) == {1: 4, 2: 12}
    entry = core.maybe_entry("s1", bucket_key(7))
    assert entry is not None
    change = core.history.maybe_latest(1, 7, entry.params[0])
    assert change is not None
    assert change == (5, Reason.ASSIGN)


def test_who_had_fewer_connections_comes_first_among_equals() -> None:
    core = make_core()
    core.balancing.loads.take(1, {"vservers": [{"name": "web", "connections": 9, "open_connections": 0}]}, 1)
    core.balancing.loads.take(2, {"vservers": [{"name": "web", "connections": 8, "open_connections": 7}]}, 1)
    core.assign(1, 0, 5)
    assert core.map.maybe_node(1, 0) == 2


@pytest.mark.parametrize(("vserver_id", "bucket"), [(2, 0), (1, BUCKETS), (0, 0)])
def test_what_is_not_configured_is_not_assigned(vserver_id: int, bucket: int) -> None:
    core = make_core()
    assert core.assign(vserver_id, bucket, 5) is None


def test_what_was_assigned_is_found_again_and_the_rest_still_waits() -> None:
    core = make_core()
    core.assign(1, 7, 5)
    slot = int(core.map.buckets[1][7])
    entries = {
        key: entry
        for key in (bucket_key(7), *core.assignment.slot_keys())
        if (entry := core.maybe_entry("s1", key)) is not None
    }
    after = make_core(entries)
    assert after.map.buckets[1].tolist() == [UNASSIGNED] * 7 + [slot] + [UNASSIGNED] * (BUCKETS - 8)


def test_only_vservers_on_demand_have_switches_ask() -> None:
    assert limit(make_core()) == 16
    assert limit(make_core(packet_in_limit_per_s=62)) == 1
    assert limit(make_core(assignment="eager")) == 0
    assert Configuration.model_validate(small_document()).vservers[0].assignment is AssignmentMode.EAGER
    with pytest.raises(ValidationError, match="greater than or equal to 62"):
        make_configuration(packet_in_limit_per_s=61)


def test_a_vserver_becomes_eager_and_back_while_the_array_runs() -> None:
    core = make_core()
    core.assign(1, 7, 5)
    slot = int(core.map.buckets[1][7])
    core.reconfigure(make_configuration(assignment="eager"), {}, 10)
    assert core.map.buckets[1][7] == slot
    assert core.map.holding(1) == {1: BUCKETS // 4, 2: BUCKETS * 3 // 4}
    assert limit(core) == 0
    filled = core.map.buckets[1].tolist()
    core.reconfigure(make_configuration(), {}, 20)
    assert core.map.buckets[1].tolist() == filled, "nobody loses a node"
    assert limit(core) == 16


def test_packets_wait_for_their_bucket_and_keep_their_order() -> None:
    held = HeldPackets()
    held.hold(bucket_key(1), b"first")
    held.hold(bucket_key(2), b"other")
    held.hold(bucket_key(1), b"second")
    held.written([bucket_key(3)])
    assert held.take_ready() == []
    held.written([bucket_key(1)])
    held.send_on(b"third")
    assert held.has_ready
    assert held.take_ready() == [b"first", b"second", b"third"]
    assert held.take_ready() == []
    assert held.waiting == [bucket_key(2)]
    held.give_up()
    assert held.waiting == []
    assert held.counts == {Fate.SENT_ON: 3, Fate.NOT_WRITTEN: 1}


def test_no_more_packets_wait_than_there_is_room_for() -> None:
    held = HeldPackets(capacity=2)
    for frame in (b"a", b"b", b"c"):
        held.hold(bucket_key(1), frame)
    held.written([bucket_key(1)])
    held.send_on(b"d")
    assert held.take_ready() == [b"a", b"b"]
    assert held.counts == {Fate.SENT_ON: 2, Fate.NO_ROOM: 2}
