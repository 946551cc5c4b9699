"""What killing or hanging a part of the array costs under steady load [R1]."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pentaflow.demo import answers
from pentaflow.demo.array import Array, wait_for
from pentaflow.demo.judge import Sample, recovered
from pentaflow.demo.load import SteadyLoad
from pentaflow.demo.scenario import Scenario
from support.inside import inside
from topologies.model import Role

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

TIMEOUT_S = 60.0
URL = "https://www.pentaflow.test/chaos"
CONTROLLER, SWITCH = "c0", "s1"


def steady_load(array: Array) -> SteadyLoad:
    return SteadyLoad(array, array.names(Role.CLIENT), URL, curls=3, rate_per_s=10)


def wait_for_more(load: SteadyLoad, count: int) -> None:
    target = len(load.samples()) + count
    wait_for(f"{count} more requests", lambda: len(load.samples()) >= target, timeout_s=TIMEOUT_S)


def wait_until_recovered(load: SteadyLoad, since_ns: int) -> None:
    def back() -> bool:
        return recovered(load.samples(), since_ns, time.monotonic_ns(), quiet_ns=1_000_000_000, successes=100)

    wait_for("traffic without failures", back, timeout_s=TIMEOUT_S)


def failed(samples: list[Sample]) -> int:
    return sum(not sample.request.ok for sample in samples)


def nodes_of_last(samples: list[Sample], count: int) -> list[str]:
    return sorted({sample.request.node for sample in samples[-count:]})


def bucket_map(array: Array) -> Any:
    answer = array.rest("/vservers/web/buckets")
    return {"slots": answer["slots"], "slot_nodes": answer["slot_nodes"]}


def kill_controller(array: Array) -> dict[str, Any]:
    Scenario(array).up()
    before = bucket_map(array)
    with steady_load(array) as load:
        wait_for_more(load, 50)
        array.service(CONTROLLER).kill()
        wait_for_more(load, 200)
        array.service(CONTROLLER).start()
        wait_for("controller ready", lambda: array.maybe_rest("/health"), timeout_s=TIMEOUT_S)
        wait_for(
            "all nodes up",
            lambda: answers.nodes_up(array.rest("/nodes")) == set(array.names(Role.NODE)),
            timeout_s=TIMEOUT_S,
        )
        wait_for_more(load, 100)
        samples = load.samples()
    return {
        "failed": failed(samples),
        "same_map": bucket_map(array) == before,
        "events": [(event["kind"], event["details"]) for event in array.rest("/events")],
    }


def test_the_controller_costs_nothing_and_changes_nothing_when_it_returns(tmp_path: Path) -> None:
    result = inside(kill_controller, tmp_path)
    assert result["failed"] == 0
    assert result["same_map"]
    reconciled = [details["updates"] for kind, details in result["events"] if kind == "switch_reconciled"]
    assert reconciled == [0]
    assert not [kind for kind, _ in result["events"] if kind in ("slots_moved", "buckets_moved")]


def kill_two_nodes(array: Array) -> dict[str, Any]:
    Scenario(array).up()
    with steady_load(array) as load:
        wait_for_more(load, 50)
        for node in ("n1", "n3"):
            killed_ns = time.monotonic_ns()
            array.service(node).kill()
            wait_until_recovered(load, killed_ns)
        samples = load.samples()
    return {"nodes": nodes_of_last(samples, 50), "last_failed": failed(samples[-100:])}


def test_the_last_node_serves_all_when_two_are_killed(tmp_path: Path) -> None:
    result = inside(kill_two_nodes, tmp_path)
    assert result == {"nodes": ["n2"], "last_failed": 0}


def hang_node(array: Array) -> dict[str, Any]:
    Scenario(array).up()
    with steady_load(array) as load:
        wait_for_more(load, 50)
        hung_ns = time.monotonic_ns()
        array.service("n1").signal(signal.SIGSTOP)
        wait_for("n1 is not up", lambda: "n1" not in answers.nodes_up(array.rest("/nodes")), timeout_s=TIMEOUT_S)
        wait_until_recovered(load, hung_ns)
        samples = load.samples()
        array.service("n1").signal(signal.SIGCONT)
    return {"nodes": nodes_of_last(samples, 50), "failed": failed(samples)}


def test_a_node_that_hangs_is_found_although_its_kernel_still_answers(tmp_path: Path) -> None:
    result = inside(hang_node, tmp_path)
    assert result["nodes"] == ["n2", "n3"]
    assert result["failed"] > 0, "requests to the hung node must have timed out: was it hung?"


def kill_switch(array: Array) -> dict[str, Any]:
    Scenario(array).up()
    before = bucket_map(array)
    with steady_load(array) as load:
        wait_for_more(load, 50)
        killed_ns = time.monotonic_ns()
        array.service(SWITCH).kill()
        wait_for(
            "failures", lambda: failed([s for s in load.samples() if s.finished_ns > killed_ns]), timeout_s=TIMEOUT_S
        )
        array.service(SWITCH).start()
        wait_until_recovered(load, killed_ns)
        samples = load.samples()
    return {"same_map": bucket_map(array) == before, "nodes": nodes_of_last(samples, 50)}


def test_a_switch_that_lost_everything_gets_the_same_map_again(tmp_path: Path) -> None:
    result = inside(kill_switch, tmp_path)
    assert result == {"same_map": True, "nodes": ["n1", "n2", "n3"]}
