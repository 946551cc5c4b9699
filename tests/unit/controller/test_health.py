"""Rise, fall, and what several checks say of a node together."""

from __future__ import annotations

from controller.health import Check, CheckKind, Health, NodeHealth, Outcome, Transition

PATH = Check(CheckKind.PATH, "s1", "web")
OTHER_PATH = Check(CheckKind.PATH, "s2", "web")
STATUS = Check(CheckKind.STATUS)


def make() -> NodeHealth:
    return NodeHealth(node_id=1, rise=2, fall=3, since_ns=0)


def ok(at_ns: int = 0) -> Outcome:
    return Outcome(started_ns=at_ns)


def failed(at_ns: int = 0, why: str = "no answer") -> Outcome:
    return Outcome(started_ns=at_ns, failure=why)


def test_one_success_on_the_data_path_makes_an_unknown_node_up() -> None:
    node = make()
    assert node.observe(STATUS, ok(), 1) is None, "its own word is no proof of the path"
    transition = node.observe(PATH, ok(), 2)
    assert transition == Transition(
        node_id=1, before=Health.UNKNOWN, after=Health.UP, reason="answers", failing_since_ns=0
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
        node.observe(STATUS, failed(why="timed out"), 1)
    assert (node.state, node.reason) == (Health.DOWN, "status check: timed out")


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
