"""Whose view of the nodes counts, and when a switch's own path is broken."""

from __future__ import annotations

from controller.health import Check, CheckKind, Outcome
from controller.views import Views
from pentaflow.config import Configuration
from support.configurations import redundant_document

MS = 1_000_000
N1, N2 = 1, 2


class World:
    """Probes through s1 and s2, each outcome 1 ms after its start."""

    def __init__(self) -> None:
        self.views = Views(Configuration.model_validate(redundant_document()))

    def probe(self, switch: str, node: int, at_ms: int, failure: str = "") -> bool:
        check, outcome = Check(CheckKind.PATH, switch, "web"), Outcome(started_ns=at_ms * MS, failure=failure)
        self.views.observe(node, check, outcome)
        return self.views.counts(node, check, outcome)


def test_a_node_that_fails_on_a_switch_that_sees_others_is_at_fault() -> None:
    world = World()
    world.probe("s2", N1, 0)
    world.probe("s1", N2, 110)
    assert world.probe("s1", N1, 100, "no answer")


def test_a_switch_that_sees_nobody_is_at_fault_while_another_sees_the_node() -> None:
    world = World()
    for at_ms in (0, 100, 200, 300):
        world.probe("s2", N1, at_ms)
        assert not world.probe("s1", N1, at_ms, "no answer")
    assert world.views.maybe_path_works("s1", 299 * MS) is None, "not for long enough"
    assert world.views.maybe_path_works("s1", 400 * MS) is False
    world.probe("s1", N2, 500)
    assert world.views.maybe_path_works("s1", 500 * MS) is True


def test_nodes_that_nobody_sees_are_at_fault_and_no_switch_is() -> None:
    world = World()
    for at_ms in (0, 100, 200, 300, 400):
        world.probe("s1", N1, at_ms, "no answer")
        world.probe("s2", N1, at_ms, "no answer")
    assert world.probe("s1", N1, 500, "no answer")
    assert world.views.maybe_path_works("s1", 600 * MS) is None


def test_a_single_switch_is_always_believed() -> None:
    world = World()
    assert world.probe("s1", N1, 0, "no answer")
    assert world.views.maybe_path_works("s1", 60_000 * MS) is None


def test_a_switch_that_takes_over_brings_what_it_saw_last() -> None:
    world = World()
    world.probe("s2", N1, 0)
    world.probe("s2", N2, 0, "no answer")
    assert [(n, o.failure) for n, _, o in world.views.of("s2", ["web"])] == [(N1, ""), (N2, "no answer")]
    assert world.views.of("s2", ["other"]) == []
    assert world.views.seen("s2") == {N1}
    world.views.forget("s2")
    assert world.views.seen("s2") == frozenset()
