"""Two schedulers while buckets get nodes on demand, move, and are split: what fail-over costs then [B2] [B4] [H3]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controller.buckets import UNASSIGNED
from pentaflow.demo.array import Array, wait_for
from pentaflow.demo.load import SteadyLoad
from pentaflow.demo.scenario import Scenario
from support.inside import inside
from support.keep_alive import Kept
from support.kept import TIMEOUT_S, configure, drain, kept_connections, push, shares
from topologies.model import Role

pytestmark = [pytest.mark.root, pytest.mark.timeout(400)]

KEPT_ON_EACH_CLIENT = 30
BUCKETS = 256
TIMEOUTS = {"keepalive_s": 3, "response_s": 3}
S1, S2 = "s1", "s2"


def wait_active(array: Array, switch: str) -> None:
    def is_active() -> bool:
        return any(found["active_for"] and found["name"] == switch for found in array.rest("/switches"))

    wait_for(f"{switch} is active", is_active, timeout_s=TIMEOUT_S)


def bucket_map(array: Array) -> dict[str, Any]:
    found: dict[str, Any] = array.rest("/vservers/web/buckets")
    return found


def wait_for_more(load: SteadyLoad) -> None:
    seen = len(load.samples())
    wait_for("more requests", lambda: len(load.samples()) > seen + 60, timeout_s=TIMEOUT_S)


def in_split_buckets(array: Array, connections: dict[str, list[Kept]], splits: dict[str, int]) -> int:
    """How many of the connections are in buckets that were split."""
    addresses = {host.name: host.address.ip for host in array.topology.of(Role.CLIENT)}
    buckets = [
        array.rest(f"/explain?vserver=web&client={addresses[client]}:{each.port}")["bucket"]
        for client, found in connections.items()
        for each in found
    ]
    return sum(str(bucket) in splits for bucket in buckets)


def broken(connections: dict[str, list[Kept]]) -> dict[str, list[Kept]]:
    return {client: [each for each in found if each.failure] for client, found in connections.items()}


def size(connections: dict[str, list[Kept]]) -> int:
    return sum(map(len, connections.values()))


def fail_over_and_move(array: Array) -> dict[str, Any]:
    def prepare(document: dict[str, Any]) -> None:
        document["vservers"][0] |= {
            "buckets": BUCKETS,
            "idle_timeout_s": 8,
            "timeouts": TIMEOUTS,
            "assignment": "on_demand",
        }
        document["controller"]["election"] = {"hold_s": 1}

    def take_out(document: dict[str, Any]) -> None:
        document["nodes"][2]["state"] = "maintenance"

    def assign_all(document: dict[str, Any]) -> None:
        document["vservers"][0]["assignment"] = "eager"

    def add(document: dict[str, Any]) -> None:
        del document["nodes"][2]["state"]

    configure(array, prepare)
    Scenario(array).up()
    push(array, take_out)  # it has its ticket keys by now: who is out of service and has none counts as down
    wait_for("n3 is out", lambda: "n3" not in shares(array), timeout_s=TIMEOUT_S)
    wait_active(array, S1)
    url = f"https://{array.topology.vips[0].hostname}/moves"
    result: dict[str, Any] = {}

    with kept_connections(array, KEPT_ON_EACH_CLIENT) as close_first:
        assigned = {b: s for b, s in enumerate(bucket_map(array)["slots"]) if s != UNASSIGNED}
        array.service(S1).kill()
        wait_active(array, S2)
        with kept_connections(array, KEPT_ON_EACH_CLIENT) as close_second:
            slots = bucket_map(array)["slots"]
            result["assigned"] = len(assigned)
            result["moved_on_demand"] = sum(slots[bucket] != slot for bucket, slot in assigned.items())
            result["assigned_after"] = sum(slot != UNASSIGNED for slot in slots)
            array.service(S1).start()
            array.service(S1).wait_listening()
            wait_active(array, S1)
            second = close_second()
        push(array, assign_all)
        wait_for("two nodes", lambda: sorted(shares(array).values()) == [128, 128], timeout_s=TIMEOUT_S)
        with SteadyLoad(array, array.names(Role.CLIENT), url, curls=3, rate_per_s=5) as load:
            push(array, add)
            wait_for("three nodes", lambda: sorted(shares(array).values()) == [85, 85, 86], timeout_s=TIMEOUT_S)
            wait_for_more(load)
            drain(array, "n2")
            wait_for("n2 drained", lambda: set(shares(array)) == {"n1", "n3"}, timeout_s=TIMEOUT_S)
            wait_for_more(load)
            samples = load.samples()
        with kept_connections(array, KEPT_ON_EACH_CLIENT) as close_third:
            splits = bucket_map(array)["splits"]
            array.service(S1).kill()
            wait_active(array, S2)
            third = close_third()
        first = close_first()
    return result | {
        "requests": len(samples),
        "failed": [repr(sample) for sample in samples if not sample.request.ok],
        "splits": len(splits),
        "first_broken": size(broken(first)),
        "second_broken": size(broken(second)),
        "third": size(third),
        "third_split": in_split_buckets(array, third, splits),
        "third_broken": size(broken(third)),
        "third_broken_split": in_split_buckets(array, broken(third), splits),
        "node_events": [e["kind"] for e in array.rest("/events") if e["kind"] in ("node_down", "moves_forced")],
    }


def test_what_fail_over_costs_on_demand_while_moving_and_while_split(tmp_path: Path) -> None:
    result = inside(fail_over_and_move, tmp_path, topology="redundant")
    print(result)
    assert (result["first_broken"], result["second_broken"], result["failed"]) == (0, 0, []), result
    assert result["node_events"] == [], result
    assert result["moved_on_demand"] == 0, "the standby holds what was assigned"
    assert 0 < result["assigned"] < result["assigned_after"] < BUCKETS, result
    assert result["requests"] > 0, result
    assert result["splits"] > 0, result
    assert result["third_broken"] == result["third_broken_split"] <= result["third_split"], result
