"""Losing and regaining schedulers costs no established connection [H3]: topology `redundant`, open TLS connections."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pentaflow.demo.array import Array, wait_for
from pentaflow.demo.scenario import Scenario
from support.inside import inside
from support.keepalive_load import CONNECTIONS, Load, keepalive_load, wait_until_answered
from topologies.model import REST_PORT

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

TIMEOUT_S = 60.0
S1, S2, LAN = "s1", "s2", "l1"
CONTROLLER = "c0"
VIP = "10.0.0.100"


def active(array: Array) -> str:
    """The switch that holds the VIP; empty: none."""
    return ",".join(switch["name"] for switch in array.rest("/switches") if VIP in switch["active_for"])


def wait_active(array: Array, switch: str) -> None:
    wait_for(f"{switch} is active", lambda: active(array) == switch, timeout_s=TIMEOUT_S)


def wait_state(array: Array, switch: str, *, ready: bool) -> None:
    def there() -> bool:
        states = {s["name"]: s["state"] == "ready" for s in array.rest("/switches")}
        return states[switch] is ready

    wait_for(f"{switch} ready: {ready}", there, timeout_s=TIMEOUT_S)


def start_again(array: Array, switch: str) -> None:
    array.service(switch).start()
    array.service(switch).wait_listening()


def moves(array: Array) -> list[list[str]]:
    events = array.rest("/events")
    return [[e["details"]["before"], e["details"]["after"]] for e in events if e["kind"] == "vip_moved"]


def node_events(array: Array) -> list[str]:
    return [e["kind"] for e in array.rest("/events") if e["kind"] in ("node_down", "slots_moved", "buckets_moved")]


def unharmed(result: dict[str, Any]) -> None:
    """Every open connection is open still and was used; no node was blamed for its switch."""
    assert result["connections"] == 2 * CONNECTIONS
    assert result["broken"] == []
    assert result["idle"] == 0
    assert result["node_events"] == []


def summary(array: Array, load: Load, **more: Any) -> dict[str, Any]:
    return load.result | {"moves": moves(array), "node_events": node_events(array), "active": active(array)} | more


def up(array: Array, **election: Any) -> None:
    document = yaml.safe_load(array.files.configuration.read_text())
    document["controller"]["election"] = {"hold_s": 1} | election
    array.files.configuration.write_text(yaml.safe_dump(document))
    Scenario(array).up()
    wait_active(array, S1)


def push(array: Array, document: dict[str, Any]) -> None:
    """Put a configuration in force while the array runs."""
    path = array.files.folder / "pushed.yaml"
    path.write_text(yaml.safe_dump(document))
    url = f"http://{array.topology.controller.management.ip}:{REST_PORT}"
    command = [sys.executable, "-m", "pentaflow", "push", str(path), "--url", url]
    assert "in force" in array.output(CONTROLLER, command, timeout_s=TIMEOUT_S)


def kill_active_with_preemption(array: Array) -> dict[str, Any]:
    up(array)
    with keepalive_load(array) as load:
        array.service(S1).kill()
        wait_active(array, S2)
        wait_until_answered(array)
        start_again(array, S1)
        wait_active(array, S1)
    return summary(array, load)


def test_the_standby_takes_over_and_the_returned_one_takes_back_without_a_broken_connection(tmp_path: Path) -> None:
    result = inside(kill_active_with_preemption, tmp_path, topology="redundant")
    unharmed(result)
    assert result["moves"] == [["", S1], [S1, S2], [S2, S1]]


# How many entries a switch has, and how many of those that draw a VIP's traffic.
COUNT_ENTRIES = """
import asyncio, sys
from ipaddress import ip_address
from controller.desired import vip_keys
from support.virtual_array import read_back
entries = asyncio.run(read_back(sys.argv[1], int(sys.argv[2])))
print(len(entries), sum(key in entries for key in vip_keys(ip_address(sys.argv[3]))))
"""


def kill_active_then_take_out_the_other(array: Array) -> dict[str, Any]:
    up(array, preempt=False)
    document = yaml.safe_load(array.files.configuration.read_text())
    (left,) = [switch for switch in document["switches"] if switch["name"] == S2]
    document["switches"].remove(left)
    for node in document["nodes"]:
        del node["ports"][S2]
    with keepalive_load(array) as load:
        array.service(S1).kill()
        wait_active(array, S2)
        start_again(array, S1)
        wait_state(array, S1, ready=True)
        wait_until_answered(array)
        stood_by = active(array) == S2
        push(array, document)
        wait_active(array, S1)
        wait_until_answered(array)
        count = [sys.executable, "-c", COUNT_ENTRIES, left["grpc"], str(left["device_id"]), VIP]
        entries, drawing = map(int, array.output(CONTROLLER, count, timeout_s=TIMEOUT_S).split())
    return summary(array, load, stood_by=stood_by, entries=entries, drawing=drawing)


def test_without_preemption_the_returned_one_stands_by_until_the_other_is_taken_out_of_the_configuration(
    tmp_path: Path,
) -> None:
    result = inside(kill_active_then_take_out_the_other, tmp_path, topology="redundant")
    unharmed(result)
    assert result["stood_by"]
    assert result["moves"] == [["", S1], [S1, S2], ["", S1]]
    assert result["entries"] > 4096, "what it has beside them stays"
    assert result["drawing"] == 0, "it gave the VIP up before it was let go"


def lose_both(array: Array) -> dict[str, Any]:
    up(array, hold_s=30)
    with keepalive_load(array) as load:
        for switch in (S2, S1):
            array.service(switch).kill()
        for switch in (S2, S1):
            wait_state(array, switch, ready=False)
        for switch in (S2, S1):
            start_again(array, switch)
        for switch in (S2, S1):
            wait_state(array, switch, ready=True)
        wait_until_answered(array)
    return summary(array, load)


def test_when_both_are_lost_and_come_back_the_same_one_is_active_and_connections_live(tmp_path: Path) -> None:
    result = inside(lose_both, tmp_path, topology="redundant")
    unharmed(result)
    assert result["active"] == S1
    assert result["moves"][0] == ["", S1]


def split_brain(array: Array) -> dict[str, Any]:
    up(array, preempt=False)
    management = f"{S1}-eth0"
    with keepalive_load(array) as load:
        array.output(S1, ["ip", "link", "set", management, "down"], timeout_s=TIMEOUT_S)
        wait_active(array, S2)
        wait_until_answered(array)
        moved = [event["details"] for event in array.rest("/events") if event["kind"] == "vip_moved"][-1]
        unfenced = array.rest("/switches")[0]["unfenced_for"]
        array.output(S1, ["ip", "link", "set", management, "up"], timeout_s=TIMEOUT_S)
        wait_for("s1 is fenced", lambda: not array.rest("/switches")[0]["unfenced_for"], timeout_s=TIMEOUT_S)
        wait_until_answered(array)
    return summary(array, load, reason=moved["reason"], unfenced=unfenced)


def test_a_switch_that_the_controller_loses_while_it_forwards_is_outvoted_and_fenced_when_it_is_back(
    tmp_path: Path,
) -> None:
    result = inside(split_brain, tmp_path, topology="redundant")
    unharmed(result)
    assert result["moves"] == [["", S1], [S1, S2]]
    assert result["unfenced"] == [VIP]
    assert result["reason"] == "s1 is not healthy: its data path fails"
