"""The core with two switches: who takes over knows the nodes, withdrawal goes on, and who leaves gives up its VIPs."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from controller.buckets import Reason
from controller.changes import Changes
from controller.desired import vip_keys
from controller.entries import Key, Kind
from controller.events import EventKind
from controller.health import Check, CheckKind, Outcome
from pentaflow.config import Configuration
from support.configurations import redundant_document
from support.core import CoreWorld, S

VIP = IPv4Address("10.0.0.100")


class World(CoreWorld):
    """Two schedulers, which carry out at once what they are told; all nodes are up, and seen by both."""

    def __init__(self) -> None:
        document = redundant_document()
        document["controller"] = {"health": {"guard": {"share": 1}}}
        document["vservers"][0]["buckets"] = 256
        super().__init__(document)
        self.other = self.core.assignment.new_actual()
        for switch, actual in (("s1", self.entries), ("s2", self.other)):
            list(self.core.reconcile(switch, actual, 0))
            self.core.reconciled(switch, 0, 0, 0)
        self.elect()
        self.probe("s1")
        self.probe("s2")

    def probe(self, switch: str, failure: str = "") -> None:
        for node_id in self.core.nodes:
            for _ in range(3):
                outcome = Outcome(started_ns=self.now_ns, failure=failure)
                self.core.observe(node_id, Check(CheckKind.PATH, switch, "web"), outcome, self.now_ns)

    def elect(self) -> None:
        self.write(self.core.elect(self.now_ns))

    def write(self, changes: tuple[Changes, ...]) -> None:
        for each in changes:
            if each.vip is not None:
                assert each.switch
                self.write(self.core.applied(each.switch, each, 1, self.now_ns, self.now_ns))

    @property
    def holders(self) -> list[str]:
        return [
            switch
            for switch in ("s1", "s2")
            if VIP in self.core.election.held_by(switch)
            and all(self.core.maybe_entry(switch, key) for key in vip_keys(VIP))
        ]

    def announced_through(self) -> list[str]:
        return [announcement.switch for announcement in self.core.announcements(self.now_ns)]


def test_nodes_stay_up_when_the_switch_that_saw_them_is_lost() -> None:
    world = World()
    assert (world.holders, world.announced_through()) == (["s1"], ["s1"])
    world.write(world.core.lost("s1", "gone", S))
    assert world.holders == ["s2"]
    assert world.events(EventKind.NODE_UNKNOWN) == []


def test_a_vip_that_is_withdrawn_meanwhile_is_given_back_and_announced_by_who_has_taken_over() -> None:
    world = World()
    world.announced_through()
    world.now_ns = 10 * S
    world.probe("s2", "no answer")
    world.probe("s1", "no answer")
    assert world.holders == []
    world.write(world.core.lost("s1", "gone", world.now_ns))
    assert world.core.election.active(VIP) == "s2"
    assert (world.holders, world.announced_through()) == ([], []), "nobody serves it"
    world.now_ns = 20 * S
    world.probe("s2")
    assert (world.holders, world.announced_through()) == (["s2"], ["s2"])
    assert [event["vips"] for event in world.events(EventKind.VIPS_ANNOUNCED)] == [str(VIP)]


def test_a_vip_that_is_given_back_is_announced() -> None:
    world = World()
    world.announced_through()
    world.now_ns = 10 * S
    world.probe("s2", "no answer")
    world.probe("s1", "no answer")
    assert world.announced_through() == []
    world.now_ns = 20 * S
    world.probe("s1")
    assert (world.holders, world.announced_through()) == (["s1"], ["s1"])


def test_a_vip_is_not_taken_back_while_its_buckets_are_split() -> None:
    world = World()
    world.write(world.core.lost("s1", "gone", 0))
    other_slot = next(slot for slot in world.core.map.buckets[1] if slot != world.core.map.buckets[1][0])
    world.core.map.apply([world.core.map.split(1, 0, int(other_slot), Reason.DRAIN)])
    world.core.reconciled("s1", 0, 0, world.now_ns)
    world.now_ns = 60 * S
    world.elect()
    assert world.holders == ["s2"]
    world.core.map.apply([world.core.map.settled(1, 0, Reason.DRAIN)])
    world.elect()
    assert world.holders == ["s1"]


def leave(document: dict[str, Any]) -> None:
    document["switches"].pop(0)
    for node in document["nodes"]:
        del node["ports"]["s1"]


def test_a_switch_that_is_no_longer_configured_gives_up_all_vips_even_those_that_go_with_it() -> None:
    world = World()
    leave(world.document)
    world.document["vservers"][0] |= {"name": "shop", "id": 2, "vip": "10.0.0.101"}
    changes = world.core.reconfigure(Configuration.model_validate(world.document), {2: 2}, world.now_ns)
    (left,) = [each for each in changes if each.switch == "s1"]
    assert (left.keys, left.is_urgent) == (vip_keys(VIP), True)
    assert [world.core.maybe_entry("s1", key) for key in left.keys] == [None, None]
    assert world.core.applied("s1", left, 2, 0, 0) == ()


def test_the_other_takes_over_once_it_has_given_up() -> None:
    world = World()
    leave(world.document)
    changes = world.core.reconfigure(Configuration.model_validate(world.document), {}, world.now_ns)
    world.elect()
    assert world.holders == [], "s1 has not answered yet"
    world.write(changes)
    world.elect()
    assert world.holders == ["s2"]
    (*_, moved) = world.events(EventKind.VIP_MOVED)
    assert moved == {"vip": str(VIP), "before": "", "after": "s2", "reason": "s1 is no scheduler of it any more"}


def test_what_a_switch_that_was_let_go_says_is_not_heard() -> None:
    world = World()
    leave(world.document)
    world.core.reconfigure(Configuration.model_validate(world.document), {}, world.now_ns)
    world.probe("s1", "no answer")
    assert world.core.lost("s1", "gone", S) == ()
    assert world.core.learn("s1", [(0, 0x020000000011, 1)], S) is None
    assert world.core.station_idle("s1", [Key(Kind.SMAC, (0, 0x020000000011, 1))]) is None
    assert world.core.alarms() == []


def test_the_map_comes_from_the_switch_that_holds_the_vip() -> None:
    world = CoreWorld(redundant_document())
    list(world.core.reconcile("s1", world.entries, 0))
    world.core.reconciled("s1", 0, 0, 0)
    world.core.elect(0)
    world.core.elect(3 * S)
    moved = world.core.map.moved(1, 0, 16 if world.core.map.maybe_node(1, 0) == 2 else 32, Reason.DRAIN)
    world.core.map.apply([moved])
    held, stale = world.core.assignment.new_actual(), world.core.assignment.new_actual()
    for key in (Key(Kind.BUCKET, (1, 0)), Key(Kind.SLOT, (moved.to_slot,)), *vip_keys(VIP)):
        entry = world.core.maybe_entry("s1", key)
        assert entry is not None
        held[key] = entry
    world.start_controller()
    assert not world.core.may_reconcile("s2", stale, 0)
    assert world.core.may_reconcile("s1", held, 1)
    list(world.core.reconcile("s1", held, 1))
    assert world.core.map.buckets[1][0] == moved.to_slot
    assert world.core.may_reconcile("s2", stale, 1), "the map is there"


def test_a_switch_that_holds_none_gives_the_map_when_the_other_has_none_either_or_does_not_come() -> None:
    world = CoreWorld(redundant_document())
    nothing = world.core.assignment.new_actual()
    assert not world.core.may_reconcile("s2", nothing, S // 2)
    assert not world.core.may_reconcile("s2", nothing, 2 * S - 1)
    assert world.core.may_reconcile("s2", nothing, 2 * S), "as long as it took, and a second"
    world.start_controller()
    assert not world.core.may_reconcile("s2", nothing, 0)
    assert world.core.may_reconcile("s1", nothing, 0)
