"""Rise, fall, and what several checks say of a node together."""

from __future__ import annotations

from controller.damping import Penalty
from controller.health import Check, CheckKind, Health, NodeHealth, Outcome, Transition
from pentaflow.config import Damping

PATH = Check(CheckKind.PATH, "s1", "web")
OTHER_PATH = Check(CheckKind.PATH, "s2", "web")
MANAGEMENT = Check(CheckKind.MANAGEMENT)


S = 1_000_000_000


def make(damping: Damping | None = None) -> NodeHealth:
    return NodeHealth(node_id=1, rise=2, fall=3, since_ns=0, penalty=Penalty(damping or Damping()))


def ok(at_ns: int = 0) -> Outcome:
    return Outcome(started_ns=at_ns)


def failed(at_ns: int = 0, why: str = "no answer") -> Outcome:
    return Outcome(started_ns=at_ns, failure=why)


def test_one_success_on_the_data_path_makes_an_unknown_node_up() -> None:
    node = make()
    assert node.observe(MANAGEMENT, ok(), 1) is None, "its own word is no proof of the path"
    transition = node.observe(PATH, ok(), 2)
    assert transition == Transition(
        node_id=1, before=Health.UNKNOWN, after=Health.UP, reason="answers", is_held=False, failing_since_ns=0
    )
    assert (node.state, node.since_ns) == (Health.UP, 2)


def test_fall_failures_in_a_row_make_it_down_and_say_since_when() -> None:
    node = make()
    node.observe(PATH, ok(), 0)
    for outcome in (failed(10), failed(20), ok(30), failed(40), failed(50)):
        assert node.observe(PATH, outcome, 60) is None
    transition = node.observe(PATH, failed(60), 70)
    assert transition is not None
    assert (transition.after, transition.failing_since_ns) == (Health.DOWN, 40)
    assert transition.reason == "path:s1:web check: no answer"
    assert node.observe(PATH, failed(70), 80) is None, "said once"


def test_rise_successes_in_a_row_bring_it_back() -> None:
    node = make()
    for _ in range(3):
        node.observe(PATH, failed(), 1)
    for outcome in (ok(), failed(), ok()):
        assert node.observe(PATH, outcome, 2) is None
    transition = node.observe(PATH, ok(), 3)
    assert transition is not None
    assert (transition.before, transition.after) == (Health.DOWN, Health.UP)


def test_a_process_that_hangs_is_down_though_its_kernel_answers() -> None:
    node = make()
    node.observe(PATH, ok(), 0)
    for _ in range(3):
        node.observe(PATH, ok(), 1)
        node.observe(MANAGEMENT, failed(why="timed out"), 1)
    assert (node.state, node.reason) == (Health.DOWN, "management check: timed out")


def test_checks_count_for_themselves() -> None:
    node = make()
    for _ in range(2):
        node.observe(PATH, failed(), 1)
        node.observe(OTHER_PATH, failed(), 1)
    assert node.state is Health.UNKNOWN


def test_a_lost_switch_takes_its_checks_along() -> None:
    node = make()
    node.observe(PATH, ok(), 0)
    for _ in range(3):
        node.observe(OTHER_PATH, failed(), 1)
    assert node.state is Health.DOWN
    transition = node.forget("s2", 5)
    assert transition is not None
    assert transition.after is Health.UP
    transition = node.forget("s1", 6)
    assert transition is not None
    assert (transition.after, node.since_ns) == (Health.UNKNOWN, 6)


def flap(node: NodeHealth, times: int, *, from_ns: int) -> int:
    """Fail and recover, once a second; when that was over."""
    now_ns = from_ns
    for _ in range(times):
        for outcome in [failed(now_ns)] * 3 + [ok(now_ns)] * 2:
            node.observe(PATH, outcome, now_ns)
        now_ns += S
    return now_ns


def test_a_node_that_flaps_is_held_down_until_its_penalty_has_decayed() -> None:
    node = make(Damping(suppress=2.5, reuse=1.0, half_life_s=10))
    node.observe(PATH, ok(), 0)
    now_ns = flap(node, 2, from_ns=S)
    assert node.state is Health.UP
    now_ns = flap(node, 1, from_ns=now_ns)
    assert (node.state, node.is_answering) == (Health.DOWN, True)
    assert node.reason == "answers, but is held down for flapping"
    until_ns = node.penalty.held_until_ns()
    assert 13 * S < until_ns - 3 * S < 16 * S, "2.8 failures decay to one in one and a half half-lives"
    assert node.observe(PATH, ok(), until_ns - 1) is None
    transition = node.observe(PATH, ok(), until_ns)
    assert transition is not None
    assert (transition.before, transition.after) == (Health.DOWN, Health.UP)


def test_failing_while_it_is_held_down_makes_it_wait_longer() -> None:
    node = make()
    node.observe(PATH, ok(), 0)
    now_ns = flap(node, 3, from_ns=S)
    before_ns = node.penalty.held_until_ns()
    flap(node, 1, from_ns=now_ns)
    assert node.penalty.held_until_ns() > before_ns
    assert node.state is Health.DOWN


def test_an_operator_can_clear_it() -> None:
    node = make()
    node.observe(PATH, ok(), 0)
    now_ns = flap(node, 5, from_ns=S)
    assert node.state is Health.DOWN
    transition = node.clear_penalty(now_ns)
    assert transition is not None
    assert (transition.after, transition.reason) == (Health.UP, "answers")
    assert node.clear_penalty(now_ns) is None


def test_clearing_does_not_raise_what_really_fails() -> None:
    node = make()
    for _ in range(3):
        node.observe(PATH, failed(), 1)
    assert node.clear_penalty(2) is None
    assert node.state is Health.DOWN


def test_a_lost_switch_is_no_failure_of_the_node() -> None:
    node = make()
    for now_ns in range(20):
        node.observe(PATH, ok(), now_ns)
        node.forget("s1", now_ns)
    assert node.penalty.value(20) == 0
