"""Adding a node, changing weights, restarting the controller meanwhile and draining a node break no connection [B4]."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pentaflow.demo import answers
from pentaflow.demo.array import Array, wait_for
from pentaflow.demo.judge import Sample
from pentaflow.demo.load import SteadyLoad
from pentaflow.demo.scenario import Scenario
from support.inside import inside
from support.kept import configure, kept_connections, shares
from topologies.model import Role

pytestmark = [pytest.mark.root, pytest.mark.timeout(400)]

TIMEOUT_S = 120.0
CONTROLLER = "c0"
KEPT_ON_EACH_CLIENT = 30
BUCKETS = 1024
# Short enough for a test; a kept connection is silent for a second at most.
TIMEOUTS = {"keepalive_s": 5, "response_s": 5}
IDLE_TIMEOUT_S = 8


def restart_controller(array: Array) -> None:
    array.service(CONTROLLER).kill()
    array.service(CONTROLLER).start()
    wait_for("controller ready", lambda: array.maybe_rest("/health"), timeout_s=TIMEOUT_S)


def event_kinds(array: Array) -> list[str]:
    return [event["kind"] for event in array.rest("/events")]


def failed(samples: list[Sample]) -> int:
    return sum(not sample.request.ok for sample in samples)


def add_reweigh_and_drain(array: Array) -> dict[str, Any]:
    taken_out: list[dict[str, Any]] = []

    def before(document: dict[str, Any]) -> None:
        document["vservers"][0] |= {"buckets": BUCKETS, "idle_timeout_s": IDLE_TIMEOUT_S, "timeouts": TIMEOUTS}

    def take_out(document: dict[str, Any]) -> None:
        taken_out.append(document["nodes"].pop())

    configure(array, before)
    Scenario(array).up()
    configure(array, take_out)
    restart_controller(array)
    wait_for("two nodes", lambda: set(shares(array)) == {"n1", "n2"}, timeout_s=TIMEOUT_S)

    url = f"https://{array.topology.vips[0].hostname}/moves"
    result: dict[str, Any] = {"seconds": {}, "failed": {}}

    with (
        SteadyLoad(array, array.names(Role.CLIENT), url, curls=3, rate_per_s=8) as load,
        kept_connections(array, KEPT_ON_EACH_CLIENT) as close_kept,
    ):
        wait_for("a steady load", lambda: len(load.samples()) > 100, timeout_s=TIMEOUT_S)

        def phase(name: str, change: Callable[[dict[str, Any]], None], is_reached: Callable[[], bool]) -> None:
            began_s, seen = time.monotonic(), len(load.samples())
            configure(array, change)
            restart_controller(array)
            wait_for(name, is_reached, timeout_s=TIMEOUT_S)
            result["seconds"][name] = round(time.monotonic() - began_s, 1)
            result["failed"][name] = failed(load.samples()[seen:])

        phase(
            "add",
            lambda document: document["nodes"].append(taken_out[0]),
            lambda: sorted(shares(array).values()) == [341, 341, 342],
        )
        result["after_add"] = shares(array)

        def weigh(document: dict[str, Any]) -> None:
            document["nodes"][0]["weight"] = 2

        phase("weights", weigh, lambda: shares(array) == {"n1": 512, "n2": 256, "n3": 256})

        def drain(document: dict[str, Any]) -> None:
            document["nodes"][1]["state"] = "draining"

        def has_begun() -> bool:
            return shares(array).get("n2", 0) < 256

        phase("drain begins", drain, has_begun)
        phase("controller restarts", lambda document: None, lambda: set(shares(array)) == {"n1", "n3"})
        seen = len(load.samples())
        wait_for("more requests", lambda: len(load.samples()) > seen + 50, timeout_s=TIMEOUT_S)
        result["nodes_of_new"] = sorted({sample.request.node for sample in load.samples()[seen + 10 :]})
        result["drained_early"] = "node_drained" in event_kinds(array)
        kept = [each for found in close_kept().values() for each in found]
        wait_for("n2 drained", lambda: "node_drained" in event_kinds(array), timeout_s=TIMEOUT_S)
        wait_for("splits settled", lambda: "buckets_moved" in event_kinds(array), timeout_s=TIMEOUT_S)
        samples = load.samples()
    status = next(node for node in array.rest("/nodes") if node["name"] == "n2")["status"]
    result |= {
        "new": len(samples),
        "new_failed": failed(samples),
        "kept_requests": sum(each.requests for each in kept),
        "kept_nodes": sorted({each.node for each in kept}),
        "kept_failures": [each.failure for each in kept if each.failure],
        "left_at_n2": status["vservers"][0]["open_connections"],
        "forced": "moves_forced" in event_kinds(array),
        "up": sorted(answers.nodes_up(array.rest("/nodes"))),
    }
    return result


def test_no_connection_breaks_when_nodes_are_added_weighed_and_drained(tmp_path: Path) -> None:
    result = inside(add_reweigh_and_drain, tmp_path)
    print(result)
    assert result["new_failed"] == 0, result
    assert result["kept_failures"] == [], result
    assert result["kept_nodes"] == ["n1", "n2"], "those that were there when the connections began"
    assert result["nodes_of_new"] == ["n1", "n3"]
    assert result["left_at_n2"] == 0
    assert not result["drained_early"], "connections were open on it"
    assert not result["forced"]
    assert result["up"] == ["n1", "n2", "n3"]
