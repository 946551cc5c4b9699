"""What the deadline of a drain and the death of a node in the middle of a move break, and what they don't [B4]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pentaflow.demo.array import Array, wait_for
from pentaflow.demo.scenario import Scenario
from support.inside import inside
from support.kept import (
    TIMEOUT_S,
    cancel_drain,
    configure,
    drain,
    events,
    kept_connections,
    shares,
    wait_event,
)

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

KEPT_ON_EACH_CLIENT = 30
BUCKETS = 256
DEADLINE_S = 3.0
TIMEOUTS = {"keepalive_s": 3, "response_s": 3}


def count(connections: Any) -> dict[str, dict[str, int]]:
    """Node → how many connections it had, and how many of them broke."""
    all_of = [each for found in connections.values() for each in found]
    return {
        node: {
            "kept": sum(each.node == node for each in all_of),
            "broken": sum(each.node == node and bool(each.failure) for each in all_of),
        }
        for node in sorted({each.node for each in all_of})
    }


def force_then_kill(array: Array) -> dict[str, Any]:
    def prepare(document: dict[str, Any]) -> None:
        document["vservers"][0] |= {"buckets": BUCKETS, "idle_timeout_s": 8, "timeouts": TIMEOUTS}

    configure(array, prepare)
    Scenario(array).up()
    with kept_connections(array, KEPT_ON_EACH_CLIENT) as close_first:
        drain(array, "n2", DEADLINE_S)
        wait_event(array, "node_drained", node="n2")
        forced, after_drain = events(array, "moves_forced"), shares(array)
        cancel_drain(array, "n2")
        wait_for("n2 has its share", lambda: shares(array).get("n2", 0) >= BUCKETS // 3, timeout_s=TIMEOUT_S)
        with kept_connections(array, KEPT_ON_EACH_CLIENT) as close_second:
            split = len(array.rest("/vservers/web/buckets")["splits"])
            array.service("n2").kill()
            wait_event(array, "node_down", node="n2")
            second = count(close_second())
        first = count(close_first())
    return {"forced": forced, "after_drain": after_drain, "split": split, "first": first, "second": second}


def test_a_deadline_and_a_death_break_the_connections_of_their_node_and_no_other(tmp_path: Path) -> None:
    result = inside(force_then_kill, tmp_path)
    print(result)
    first, second = result["first"], result["second"]
    assert sorted(first) == sorted(second) == ["n1", "n2", "n3"], result
    (forced,) = result["forced"]
    assert (forced["node"], forced["connections_at_risk"]) == ("n2", first["n2"]["kept"]), result
    assert set(result["after_drain"]) == {"n1", "n3"}, result
    assert result["split"] > 0, "the death came in the middle of a move"
    for connections in (first, second):
        assert connections["n2"]["broken"] == connections["n2"]["kept"], result
        assert [connections[node]["broken"] for node in ("n1", "n3")] == [0, 0], result
