"""What the core makes of several nodes' health and of intent: guard, withdrawal, alarms."""

from __future__ import annotations

from typing import Any

import pytest

from controller.alarms import AlarmKind
from controller.entries import Kind
from controller.events import EventKind
from controller.health import Health
from controller.intents import Intent
from pentaflow.config import NodeState
from support.configurations import small_document
from support.core import CoreWorld, S

VIP_ENTRIES = 2


class World(CoreWorld):
    """Ten nodes, all up, and a switch that holds what it should."""

    def __init__(self, nodes: int = 10, **health: Any) -> None:
        document = small_document()
        document["controller"] = {"health": health}
        document["nodes"] = [
            document["nodes"][0] | {"name": f"n{i}", "id": i, "mac": f"02:00:00:00:01:{i:02x}"}
            for i in range(1, nodes + 1)
        ]
        super().__init__(document)
        self.reconcile()
        self.up(range(1, nodes + 1), at_ns=0)

    def up(self, nodes: range, *, at_ns: int) -> int:
        return self._check(nodes, "", 2, at_ns)

    def fail(self, nodes: range, *, at_ns: int) -> int:
        return self._check(nodes, "no answer", 3, at_ns)

    def slots(self) -> dict[int, int]:
        return {key.match[0]: entry.params[0] for key, entry in self.entries.items() if key.kind is Kind.SLOT}

    def is_announced(self) -> bool:
        kinds = [key.kind for key in self.entries if key.kind in (Kind.ARP, Kind.ADMIT)]
        assert kinds.count(Kind.ADMIT) == kinds.count(Kind.ARP) - 1, "the probe address answers ARP in any case"
        return Kind.ADMIT in kinds

    def alarms(self) -> list[tuple[AlarmKind, str]]:
        return [(alarm.key.kind, alarm.key.subject) for alarm in self.core.alarms()]

    def _check(self, nodes: range, failure: str, times: int, now_ns: int) -> int:
        self.now_ns = now_ns
        return sum(self.carry_out(self.observe(node_id, failure)) for node_id in nodes for _ in range(times))


def test_a_mass_failure_keeps_the_map_as_it_was_before_and_raises_an_alarm() -> None:
    world = World()
    before = world.slots()
    world.fail(range(1, 7), at_ns=S)
    assert world.slots() == before, "what had failed over before the guard tripped is put back"
    assert world.alarms()[-1] == (AlarmKind.NODE_DOWN, "n6")
    assert (AlarmKind.MASS_FAILURE, "") in world.alarms()
    assert world.is_announced()
    world.fail(range(7, 9), at_ns=2 * S)
    assert world.slots() == before
    (held,) = world.events(EventKind.FAILOVER_HELD)
    assert held == {"reason": "6 nodes failed within 2 s (60% of those that served)"}
    assert world.core.tidy(1000) is None


def test_when_nodes_return_the_others_are_failed_over() -> None:
    world = World()
    world.fail(range(1, 7), at_ns=S)
    assert world.up(range(1, 2), at_ns=5 * S) == 5 * 16
    assert set(world.slots().values()) == {1, 7, 8, 9, 10}
    assert world.events(EventKind.FAILOVER_RELEASED) == [{"reason": "nodes are back"}]
    assert (AlarmKind.MASS_FAILURE, "") not in world.alarms()


def test_an_operator_confirms_the_loss() -> None:
    world = World(guard={"hold_s": None})
    assert world.core.confirm_mass_failure(0) is None
    world.fail(range(1, 7), at_ns=S)
    assert world.core.tick(100, 10_000 * S) is None
    assert world.carry_out(world.core.confirm_mass_failure(10_000 * S)) == 6 * 16
    assert set(world.slots().values()) == {7, 8, 9, 10}


def test_after_a_while_the_survivors_take_over_by_themselves() -> None:
    world = World(guard={"hold_s": 10})
    world.fail(range(1, 7), at_ns=S)
    assert world.core.tick(100, 11 * S - 1) is None
    assert world.carry_out(world.core.tick(100, 11 * S)) == 6 * 16
    assert set(world.slots().values()) == {7, 8, 9, 10}


def test_a_single_failure_is_tidied_up_when_it_can_be_no_part_of_a_mass_failure() -> None:
    world = World()
    world.fail(range(1, 2), at_ns=S)
    assert world.core.tidy(1000) is None
    assert world.core.tick(1000, 3 * S) is None
    assert world.core.tick(1000, 3 * S + 1) is not None


def test_vips_are_withdrawn_when_no_node_is_left_and_given_back_with_the_first() -> None:
    world = World(guard={"share": 1})
    world.fail(range(1, 10), at_ns=S)
    assert world.is_announced()
    assert world.fail(range(10, 11), at_ns=S) == VIP_ENTRIES
    assert not world.is_announced()
    assert world.events(EventKind.VIPS_WITHDRAWN) == [{"vips": "10.0.0.100"}]
    assert (AlarmKind.NO_HEALTHY_NODE, "web") in world.alarms()
    assert world.up(range(3, 4), at_ns=2 * S) > VIP_ENTRIES
    assert world.is_announced()
    assert set(world.slots().values()) == {3}
    assert (AlarmKind.NO_HEALTHY_NODE, "web") not in world.alarms()


def test_while_the_guard_holds_nothing_is_withdrawn() -> None:
    world = World(guard={"hold_s": 10})
    world.fail(range(1, 11), at_ns=S)
    assert world.is_announced()
    assert world.carry_out(world.core.tick(100, 11 * S)) == VIP_ENTRIES
    assert not world.is_announced()


def test_without_withdrawal_the_vip_stays_and_the_alarm_says_so() -> None:
    world = World(guard={"share": 1}, vip_withdrawal=False)
    world.fail(range(1, 11), at_ns=S)
    assert world.is_announced()
    (alarm,) = [alarm for alarm in world.core.alarms() if alarm.key.kind is AlarmKind.NO_HEALTHY_NODE]
    assert alarm.reason == "no node serves 10.0.0.100, announced still"


def test_a_switch_that_is_lost_withdraws_nothing() -> None:
    world = World()
    assert world.core.lost("s1", "gone", S) == ()
    assert world.is_announced()
    assert world.alarms() == [(AlarmKind.SWITCH_LOST, "s1")]


def flap(world: World, times: int) -> None:
    for n in range(times):
        world.fail(range(1, 2), at_ns=n * S)
        world.up(range(1, 2), at_ns=n * S)


def test_a_flapping_node_gets_no_traffic_until_it_is_forgiven() -> None:
    world = World(nodes=3)
    flap(world, 3)
    assert world.alarms() == [(AlarmKind.NODE_HELD_DOWN, "n1")]
    assert set(world.slots().values()) == {2, 3}
    world.core.clear_penalty(1, 4 * S)
    assert world.core.health[1].state is Health.UP
    assert world.alarms() == []


def test_a_flapping_node_is_better_than_none() -> None:
    world = World(nodes=1)
    flap(world, 4)
    assert world.core.health[1].state is Health.DOWN
    assert world.is_announced()


MAINTENANCE = Intent(state=NodeState.MAINTENANCE, since_ms=1, who="alice", reason="new fan")


def test_a_node_in_maintenance_takes_over_last_and_is_not_complained_of() -> None:
    world = World(nodes=3, guard={"share": 1})
    world.carry_out(world.core.set_intent(3, MAINTENANCE, 0))
    assert world.events(EventKind.NODE_INTENT) == [
        {"node": "n3", "before": "active", "after": "maintenance", "who": "alice", "reason": "new fan"}
    ]
    world.fail(range(1, 2), at_ns=S)
    assert world.core.availability.survivors() == {2: 1}
    world.fail(range(2, 3), at_ns=5 * S)
    assert set(world.slots().values()) == {3}
    assert world.is_announced()
    world.fail(range(3, 4), at_ns=6 * S)
    assert ("node_down", "n3") not in world.alarms()
    assert not world.is_announced()


def test_a_cleared_intent_is_an_event_too() -> None:
    world = World(nodes=3)
    world.core.set_intent(3, MAINTENANCE, 0)
    world.core.clear_intent(3, 1)
    assert world.core.clear_intent(3, 2) is None
    assert [event["after"] for event in world.events(EventKind.NODE_INTENT)] == ["maintenance", "active"]


@pytest.mark.parametrize("state", ["draining", "maintenance"])
def test_the_configured_state_keeps_new_buckets_away(state: str) -> None:
    document = small_document()
    document["nodes"][0]["state"] = state
    world = CoreWorld(document)
    world.reconcile()
    assert world.core.map.node_loads()[1] == 0
