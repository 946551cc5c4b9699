"""What holds for damping and the guard, whatever happens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.damping import Penalty
from controller.guard import MassFailureGuard, Verdict
from controller.health import Check, CheckKind, Health, NodeHealth, Outcome
from pentaflow.config import Damping, Guard

S = 1_000_000_000
PATH = Check(CheckKind.PATH, "s1", "web")
RULE = Damping(suppress=3, reuse=1, half_life_s=10, max_hold_s=60)
gaps = st.lists(st.integers(min_value=0, max_value=100 * S), min_size=1, max_size=60)


@given(gaps)
def test_a_penalty_only_decays_between_failures_and_no_hold_is_longer_than_allowed(gaps_ns: list[int]) -> None:
    penalty, now_ns = Penalty(RULE), 0
    for gap_ns in gaps_ns:
        before = penalty.value(now_ns)
        now_ns += gap_ns
        decayed = penalty.value(now_ns)
        assert decayed <= before
        penalty.fail(now_ns)
        assert decayed < penalty.value(now_ns) + 1e-9 <= decayed + 1 + 1e-6
        if penalty.is_held:
            assert now_ns <= penalty.held_until_ns() <= now_ns + RULE.max_hold_s * S + 1
            assert not penalty.release(now_ns)


@given(st.integers(min_value=4, max_value=12), st.integers(min_value=1, max_value=S))
def test_a_node_that_fails_often_enough_is_held_and_comes_back_by_itself(failures: int, gap_ns: int) -> None:
    """Four failures within four seconds are above the threshold of three, whatever their spacing."""
    node = NodeHealth(node_id=1, rise=1, fall=1, since_ns=0, penalty=Penalty(RULE))
    now_ns = 0
    node.observe(PATH, Outcome(started_ns=0), now_ns)
    for _ in range(failures):
        now_ns += gap_ns
        node.observe(PATH, Outcome(started_ns=now_ns, failure="x"), now_ns)
        node.observe(PATH, Outcome(started_ns=now_ns), now_ns)
    assert (node.is_answering, node.penalty.is_held) == (True, True)
    until_ns = node.penalty.held_until_ns()
    node.observe(PATH, Outcome(started_ns=until_ns), until_ns - 1)
    assert node.reason == "answers, but is held down for flapping"
    transition = node.observe(PATH, Outcome(started_ns=until_ns), until_ns)
    assert transition is not None
    assert transition.after is Health.UP


@given(st.lists(st.integers(min_value=0, max_value=20 * S), max_size=30))
def test_a_node_that_fails_seldom_is_never_held(gaps_ns: list[int]) -> None:
    """A half-life and a half between failures: 1 + 0.35 + 0.13 + … stays below the threshold of three."""
    penalty, now_ns = Penalty(RULE), 0
    for gap_ns in gaps_ns:
        now_ns += 15 * S + gap_ns
        penalty.fail(now_ns)
        assert penalty.release(now_ns)


changes = st.lists(
    st.tuples(st.integers(min_value=1, max_value=10), st.booleans(), st.integers(min_value=0, max_value=3 * S)),
    max_size=80,
)


@given(changes, st.sampled_from([0.25, 0.5, 0.8]))
def test_the_guard_trips_on_more_than_the_share_only_and_never_holds_for_longer_than_allowed(
    changes: list[tuple[int, bool, int]], share: float
) -> None:
    guard = MassFailureGuard(Guard(share=share, window_s=2, hold_s=5))
    nodes, down, fell_ns, now_ns, tripped_ns = range(1, 11), set[int](), dict[int, int](), 0, 0
    for node_id, fails, gap_ns in changes:
        now_ns += gap_ns
        if fails and node_id not in down:
            down.add(node_id)
            fell_ns[node_id] = now_ns
            guard.fell(node_id, now_ns)
        elif not fails:
            down.discard(node_id)
        was_holding = guard.is_holding
        verdict = guard.judge(nodes, down, now_ns)
        assert guard.is_holding is (verdict in (Verdict.TRIPPED, Verdict.HOLDING))
        assert (verdict is Verdict.RELEASED) <= was_holding
        if verdict is Verdict.TRIPPED:
            tripped_ns = now_ns
            recent = [n for n in down if now_ns - fell_ns[n] <= 2 * S]
            assert len(recent) > share * (len(recent) + len(nodes) - len(down))
        if verdict is Verdict.HOLDING:
            assert now_ns - tripped_ns < 5 * S
