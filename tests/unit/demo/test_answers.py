"""What the demo reads in the controller's answers; the whole demo runs it on real ones."""

from typing import Any

from pentaflow.demo import answers
from pentaflow.demo.judge import Failover
from pentaflow.parsing import parse
from topologies.configuration import configuration_yaml
from topologies.inline import INLINE


def event(number: int, kind: str, **details: Any) -> dict[str, Any]:
    return {"id": number, "kind": kind, "at_ms": 0.5, "monotonic_ms": 1000.5 + number, "details": details}


DOWN = event(4, "node_down", node="n2", reason="refused")
MOVED = event(5, "slots_moved", node="n2", cause=4, switch="s1", updates=16, duration_ms=2.0)


def test_a_bucket_map_names_the_node_of_each_bucket() -> None:
    vserver = parse(configuration_yaml(INLINE, hash_key="00000000000000ff"), "generated").vservers[0]
    answer = {"version": 7, "slots": [16, 33, 16], "slot_nodes": {"16": "n1", "33": "n2"}}
    bucket_map = answers.bucket_map(answer, vserver)
    assert (bucket_map.version, bucket_map.nodes) == (7, ("n1", "n2", "n1"))
    assert (bucket_map.hash_key, bucket_map.vip, bucket_map.port) == (0xFF, INLINE.vips[0].vip, 443)


def test_only_nodes_that_are_up_are_up() -> None:
    healths = {"n1": "up", "n2": "down", "n3": "unknown"}
    assert answers.nodes_up([{"name": n, "health": h} for n, h in healths.items()]) == {"n1"}


def test_the_last_event() -> None:
    assert answers.last_event([]) == 0
    assert answers.last_event([DOWN, MOVED]) == 5


def test_a_failover_is_over_when_its_own_writes_are_in_the_switch() -> None:
    other = event(3, "slots_moved", node="n1", cause=2, switch="s1", updates=99, duration_ms=2.0)
    assert answers.maybe_failover([other, DOWN], "n2") is None
    assert answers.maybe_failover([MOVED], "n2") is None
    assert answers.maybe_failover([other, DOWN, MOVED], "n1") is None
    assert answers.maybe_failover([other, DOWN, MOVED], "n2") == Failover(
        node="n2", decided_ns=1_004_500_000, switch_writes=16
    )


def test_writes_to_several_switches_add_up() -> None:
    second = event(6, "slots_moved", node="n2", cause=4, switch="s2", updates=16, duration_ms=2.0)
    failover = answers.maybe_failover([DOWN, MOVED, second], "n2")
    assert failover is not None
    assert failover.switch_writes == 32
