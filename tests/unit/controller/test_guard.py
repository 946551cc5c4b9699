"""When failover waits, and what makes it go on."""

from __future__ import annotations

from controller.guard import MassFailureGuard, Verdict
from pentaflow.config import Guard

S = 1_000_000_000
TEN = range(1, 11)


def make(hold_s: float | None = 10) -> MassFailureGuard:
    return MassFailureGuard(Guard(share=0.5, window_s=2, hold_s=hold_s))


def fail(guard: MassFailureGuard, nodes: range, down: set[int], *, at_ns: int) -> list[Verdict]:
    verdicts = []
    for node_id in nodes:
        down.add(node_id)
        guard.fell(node_id, at_ns)
        verdicts.append(guard.judge(TEN, down, at_ns))
    return verdicts


def test_half_of_the_nodes_are_failed_over_and_one_more_holds_the_map() -> None:
    guard, down = make(), set[int]()
    verdicts = fail(guard, range(1, 8), down, at_ns=S)
    assert verdicts == [Verdict.OPEN] * 5 + [Verdict.TRIPPED, Verdict.HOLDING]
    assert guard.is_holding
    assert guard.reason == "6 nodes failed within 2 s (60% of those that served)"


def test_failures_that_are_spread_over_time_are_no_mass_failure() -> None:
    guard, down = make(), set[int]()
    for node_id in range(1, 10):
        assert fail(guard, range(node_id, node_id + 1), down, at_ns=node_id * 3 * S) == [Verdict.OPEN]


def test_it_lets_go_when_enough_nodes_are_back() -> None:
    guard, down = make(hold_s=None), set[int]()
    fail(guard, range(1, 8), down, at_ns=0)
    assert guard.judge(TEN, down - {1}, 1000 * S) is Verdict.HOLDING
    assert guard.judge(TEN, down - {1, 2}, 1000 * S) is Verdict.RELEASED
    assert (guard.is_holding, guard.reason) == (False, "nodes are back")
    assert guard.judge(TEN, down - {1, 2}, 1000 * S) is Verdict.OPEN


def test_it_lets_go_when_its_time_is_over() -> None:
    guard, down = make(hold_s=10), set[int]()
    fail(guard, range(1, 7), down, at_ns=S)
    assert guard.judge(TEN, down, 11 * S - 1) is Verdict.HOLDING
    assert guard.judge(TEN, down, 11 * S) is Verdict.RELEASED
    assert guard.reason == "held for 10 s"


def test_it_lets_go_when_an_operator_confirms() -> None:
    guard, down = make(hold_s=None), set[int]()
    assert guard.confirm() is Verdict.OPEN, "there was nothing to confirm"
    fail(guard, range(1, 7), down, at_ns=S)
    assert guard.confirm() is Verdict.RELEASED
    assert guard.judge(TEN, down, S) is Verdict.OPEN, "what was confirmed does not trip it again"


def test_the_next_mass_failure_among_those_that_are_left_trips_it_again() -> None:
    guard, down = make(), set[int]()
    fail(guard, range(1, 7), down, at_ns=0)
    guard.confirm()
    assert fail(guard, range(7, 10), down, at_ns=S) == [Verdict.OPEN, Verdict.OPEN, Verdict.TRIPPED]


def test_one_node_is_no_mass() -> None:
    guard = make()
    guard.fell(1, 0)
    assert guard.judge([1], {1}, 0) is Verdict.OPEN


def test_share_1_switches_it_off() -> None:
    guard, down = MassFailureGuard(Guard(share=1)), set[int]()
    assert set(fail(guard, TEN, down, at_ns=0)) == {Verdict.OPEN}


def test_nodes_that_came_back_count_no_more() -> None:
    guard, down = make(), set[int]()
    fail(guard, range(1, 6), down, at_ns=0)
    guard.judge(TEN, set(), S)
    down.clear()
    assert fail(guard, range(6, 11), down, at_ns=S) == [Verdict.OPEN] * 5


def test_it_is_settled_when_the_window_is_over() -> None:
    guard = make()
    assert guard.is_settled(0)
    guard.fell(1, 0)
    guard.judge(TEN, {1}, 0)
    assert not guard.is_settled(2 * S)
    assert guard.is_settled(2 * S + 1)
