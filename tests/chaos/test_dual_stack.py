"""IPv4 and IPv6 side by side on the same switches, nodes and servers: real TLS, a node killed, a scheduler lost."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pentaflow.demo.array import Array, wait_for
from pentaflow.demo.scenario import Scenario
from support.inside import inside
from support.keepalive_load import CONNECTIONS, keepalive_load, wait_until_answered
from topologies.dual_stack import REDUNDANT_DUAL, WEB_V6

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

TIMEOUT_S = 60.0
IPV4, IPV6 = 0, 1
VIPS = [str(vip.vip) for vip in REDUNDANT_DUAL.vips]


def kill_node(array: Array) -> dict[str, Any]:
    Scenario(array).up()
    scenario = Scenario(array, IPV6)
    wait_until_answered(array, IPV6)
    spread, persistence, failure = scenario.spread(), scenario.persistence(), scenario.node_failure()
    tables = array.output("c1", ["ip", "-6", "neighbour", "show", str(WEB_V6.vip)], timeout_s=TIMEOUT_S)
    return {
        "spread": asdict(spread),
        "persistence": asdict(persistence),
        "failure": asdict(failure),
        "neighbour": tables,
        "vserver": array.rest(f"/vservers/{WEB_V6.name}"),
    }


def test_ipv6_clients_of_a_killed_node_are_pointed_to_the_others(tmp_path: Path) -> None:
    result = inside(kill_node, tmp_path, topology="inline-dual")
    for phase in ("spread", "persistence", "failure"):
        assert result[phase]["problems"] == [], phase
    assert result["spread"]["as_mapped"] == result["spread"]["connections"]
    assert result["failure"]["failed_requests"] < result["failure"]["requests"]
    assert "lladdr 02:52:" in result["neighbour"], "the switch has answered for the VIP"
    assert result["vserver"]["vip"] == VIPS[IPV6]


def active(array: Array) -> dict[str, str]:
    """VIP → the switches that hold it."""
    found = {switch["name"]: switch["active_for"] for switch in array.rest("/switches")}
    return {vip: ",".join(name for name, vips in found.items() if vip in vips) for vip in VIPS}


def lose_scheduler(array: Array) -> dict[str, Any]:
    Scenario(array).up()
    wait_for("s1 is active", lambda: set(active(array).values()) == {"s1"}, timeout_s=TIMEOUT_S)
    wait_until_answered(array, IPV6)
    with ExitStack() as stack:
        loads = [stack.enter_context(keepalive_load(array, vserver)) for vserver in (IPV4, IPV6)]
        array.service("s1").kill()
        wait_for("s2 is active", lambda: set(active(array).values()) == {"s2"}, timeout_s=TIMEOUT_S)
        for vserver in (IPV4, IPV6):
            wait_until_answered(array, vserver)
        array.service("s1").start()
        array.service("s1").wait_listening()
        wait_for("s1 is active again", lambda: set(active(array).values()) == {"s1"}, timeout_s=TIMEOUT_S)
    events = array.rest("/events")
    moves = [event["details"] for event in events if event["kind"] == "vip_moved"]
    return {
        "loads": [load.result for load in loads],
        "moves": {vip: [[m["before"], m["after"]] for m in moves if m["vip"] == vip] for vip in VIPS},
        "node_events": [e["kind"] for e in events if e["kind"] in ("node_down", "slots_moved", "buckets_moved")],
    }


def test_a_lost_scheduler_breaks_no_connection_of_either_family(tmp_path: Path) -> None:
    result = inside(lose_scheduler, tmp_path, topology="redundant-dual")
    for load in result["loads"]:
        assert load["connections"] == 2 * CONNECTIONS
        assert load["broken"] == []
        assert load["idle"] == 0
    assert result["moves"] == {vip: [["", "s1"], ["s1", "s2"], ["s2", "s1"]] for vip in VIPS}
    assert result["node_events"] == []
