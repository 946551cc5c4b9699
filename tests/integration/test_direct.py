"""Direct vservers [B11] in Mininet: nginx on plain HTTP and a UDP service hold the VIP and answer clients themselves.

The three servers of `inline-dual` serve three vservers beside the TLS nodes': over TCP, over UDP, and over UDP and
IPv6, which is only probed. Each client gets the server that `explain` says; a killed server costs its own flows only; a
drain breaks no flow that is alive.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from pentaflow.demo.array import Array, wait_for
from pentaflow.demo.files import nginx_conf
from support.inside import inside
from topologies.model import REST_PORT, Role

pytestmark = [pytest.mark.root, pytest.mark.timeout(400)]

TIMEOUT_S = 120.0
VIP = "10.0.0.101"
VIP_V6 = "2001:db8::101"
CLIENT = "c1"
PORTS = {"plain": 80, "echo": 7}
BUCKETS = 256
# Short enough for a test; a flow that is kept is silent for a second.
IDLE_TIMEOUT_S = 4
# A busy machine takes no server for dead.
HEALTH = {"interval_ms": 250, "timeout_ms": 1000}
FIRST_PORT, FLOWS = 20_000, 30

T = TypeVar("T")

Answers = dict[str, dict[str, tuple[list[str], str]]]


class DirectServers:
    """nginx and the UDP service on each server of a topology, killed by their pids."""

    def __init__(self, array: Array) -> None:
        self._array = array
        self._running: dict[str, list[subprocess.Popen[str]]] = {}
        for name in array.names(Role.SERVER):
            for command in (
                "echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore",
                "echo 2 > /proc/sys/net/ipv4/conf/all/arp_announce",
                f"ip address add {VIP}/32 dev lo",
                f"ip address add {VIP_V6}/128 dev lo",
            ):
                array.output(name, ["sh", "-c", command], timeout_s=TIMEOUT_S)
            self.start(name)

    def start(self, name: str) -> None:
        prefix = self._array.files.folder / "direct" / name
        prefix.mkdir(parents=True, exist_ok=True)
        (prefix / "nginx.conf").write_text(nginx_conf(name, f"{VIP}:{PORTS['plain']}"))
        self._running[name] = [
            self._array.popen(name, argv)
            for argv in (
                ["nginx", "-e", str(prefix / "error.log"), "-p", str(prefix), "-c", str(prefix / "nginx.conf")],
                *([sys.executable, "-m", "support.udp_echo", vip, str(PORTS["echo"]), name] for vip in (VIP, VIP_V6)),
            )
        ]

    def kill(self, name: str) -> None:
        for process in self._running[name]:
            process.kill()
            process.wait()


def configure(array: Array) -> None:
    """The servers of the topology are nodes as well: d1 is w1."""
    document = yaml.safe_load(array.files.configuration.read_text())
    servers = array.topology.of(Role.SERVER)
    document["controller"]["health"] |= HEALTH
    document["nodes"] += [
        {
            "name": f"d{host.number}",
            "id": 100 + host.number,
            "kind": "direct",
            "mac": host.mac,
            "ports": array.topology.ports_to(host),
        }
        for host in servers
    ]
    of_all = {
        "mode": "direct",
        "vip": VIP,
        "buckets": BUCKETS,
        "idle_timeout_s": IDLE_TIMEOUT_S,
        "nodes": [f"d{host.number}" for host in servers],
    }
    of_udp = {"port": PORTS["echo"], "protocol": "udp", "probe": {"payload": "3f"}}
    document["vservers"] += [
        of_all | {"name": "plain", "id": 11, "port": PORTS["plain"]},
        of_all | of_udp | {"name": "echo", "id": 12},
        of_all | of_udp | {"name": "echo6", "id": 13, "vip": VIP_V6},
    ]
    array.files.configuration.write_text(yaml.safe_dump(document))


def flows(array: Array, first_port: int, rounds: int) -> subprocess.Popen[str]:
    arguments = [VIP, *map(str, PORTS.values()), str(first_port), str(FLOWS), str(rounds)]
    return array.popen(CLIENT, [sys.executable, "-m", "support.direct_flows", *arguments])


def result_of(process: subprocess.Popen[str]) -> Answers:
    output, errors = process.communicate(timeout=TIMEOUT_S)
    assert output, errors
    document: Answers = json.loads(output)
    return document


@contextmanager
def kept_flows(array: Array, first_port: int) -> Iterator[subprocess.Popen[str]]:
    before = packets(array)
    process = flows(array, first_port, rounds=0)
    try:
        # SYN, ACK, and a request and an ACK each second.
        wait_for("requests", lambda: packets(array) > before + 8 * FLOWS, timeout_s=TIMEOUT_S)
        yield process
    finally:
        process.kill()
        process.wait()


def end(process: subprocess.Popen[str]) -> Answers:
    process.terminate()
    return result_of(process)


def packets(array: Array) -> int:
    """Packets that the switch has counted for vserver `plain`."""
    return sum(row["packets"] for row in array.rest("/tables/buckets?vserver=plain&limit=1000"))


def health(array: Array) -> dict[str, str]:
    found: dict[str, str] = (array.maybe_rest("/health") or {"nodes": {}})["nodes"]
    return found


def shares(array: Array) -> dict[str, dict[str, int]]:
    found = {name: array.rest(f"/vservers/{name}/buckets")["node_buckets"] for name in PORTS}
    return {name: {node: count for node, count in its.items() if count} for name, its in found.items()}


def explained(array: Array, first_port: int) -> Answers:
    """What `explain` says of a client's flows, in the form of their own results."""
    address = next(host.address.ip for host in array.topology.of(Role.CLIENT) if host.name == CLIENT)
    found: Answers = {name: {} for name in PORTS}
    for name in PORTS:
        for port in range(first_port, first_port + FLOWS):
            node = array.rest(f"/explain?vserver={name}&client={address}:{port}")["node"]
            found[name][str(port)] = ([f"w{node.removeprefix('d')}"], "")
    return found


def pentaflow(array: Array, *arguments: str) -> str:
    controller = array.topology.controller
    url = f"http://{controller.management.ip}:{REST_PORT}"
    return array.output(
        controller.name, [sys.executable, "-m", "pentaflow", *arguments, "--url", url], timeout_s=TIMEOUT_S
    )


def serve_kill_and_drain(array: Array) -> dict[str, Any]:
    configure(array)
    array.start()
    servers = DirectServers(array)
    wait_for("all up", lambda: set(health(array).values()) == {"up"} and len(health(array)) == 6, timeout_s=TIMEOUT_S)
    result: dict[str, Any] = {"shares": shares(array)}
    result["explained"] = explained(array, FIRST_PORT)
    result["answered"] = result_of(flows(array, FIRST_PORT, rounds=1))
    result["vservers"] = pentaflow(array, "vservers")
    result["nodes"] = pentaflow(array, "nodes")

    with kept_flows(array, FIRST_PORT) as kept:
        servers.kill("w2")
        wait_for("failover", lambda: all("d2" not in its for its in shares(array).values()), timeout_s=TIMEOUT_S)
        result["after_kill"] = result_of(flows(array, FIRST_PORT + FLOWS, rounds=2))
        result["explained_after_kill"] = explained(array, FIRST_PORT + FLOWS)
        result["kept_over_kill"] = end(kept)
    (moved,) = [e["details"] for e in array.rest("/events") if e["kind"] == "slots_moved"]
    result["writes"] = moved["updates"]

    servers.start("w2")
    wait_for("w2's share", lambda: all(len(its) == 3 for its in shares(array).values()), timeout_s=TIMEOUT_S)
    wait_for("all at rest", lambda: array.rest("/drains")["reason"] is None, timeout_s=TIMEOUT_S)
    with kept_flows(array, FIRST_PORT) as kept:
        pentaflow(array, "drain", "d1", "--reason", "a test")
        # Over UDP a bucket leaves when it is idle: what is not busy with a flow that is kept has gone.
        wait_for("TCP drained", lambda: "d1" not in shares(array)["plain"], timeout_s=TIMEOUT_S)
        wait_for("UDP idle", lambda: shares(array)["echo"].get("d1", 0) <= FLOWS, timeout_s=TIMEOUT_S)
        result["new_while_draining"] = result_of(flows(array, FIRST_PORT + 2 * FLOWS, rounds=2))["plain"]
        result["drained_early"] = "node_drained" in [event["kind"] for event in array.rest("/events")]
        result["kept_over_drain"] = end(kept)
    wait_for("drained", lambda: _has(array, "node_drained"), timeout_s=TIMEOUT_S)
    wait_for("all at rest", lambda: array.rest("/drains")["reason"] is None, timeout_s=TIMEOUT_S)
    result["shares_after_drain"] = shares(array)
    result["forced"] = _has(array, "moves_forced")
    result["after_drain"] = result_of(flows(array, FIRST_PORT, rounds=1))
    return result


def _has(array: Array, kind: str) -> bool:
    return kind in [event["kind"] for event in array.rest("/events")]


def broken(answers: Answers) -> dict[str, set[str]]:
    """The servers that flows were on, of those that failed or changed servers."""
    return {
        name: {servers[0] if servers else "none" for servers, failure in its.values() if failure or len(servers) != 1}
        for name, its in answers.items()
    }


def used(answers: Answers) -> dict[str, set[str]]:
    return {name: {server for servers, _ in its.values() for server in servers} for name, its in answers.items()}


def both(value: T) -> dict[str, T]:
    """The same for both vservers."""
    return dict.fromkeys(PORTS, value)


def test_servers_that_hold_the_vip_answer_survive_each_others_death_and_drain(tmp_path: Path) -> None:
    result = inside(serve_kill_and_drain, tmp_path, topology="inline-dual")
    all_three = {"w1", "w2", "w3"}
    nothing = both(set[str]())
    assert {name: sorted(its.values()) for name, its in result["shares"].items()} == both([85, 85, 86])
    assert result["answered"] == result["explained"]
    assert used(result["answered"]) == both(all_three)
    assert "direct" in result["vservers"]
    assert f"{VIP}:7/udp" in result["vservers"]
    assert "d3" in result["nodes"]

    assert broken(result["kept_over_kill"]) == both({"w2"}), result["kept_over_kill"]
    assert broken(result["after_kill"]) == nothing
    assert result["after_kill"] == result["explained_after_kill"]
    assert used(result["after_kill"]) == both({"w1", "w3"})
    assert result["writes"] == 16, "the slots of a node"

    assert broken(result["kept_over_drain"]) == nothing, result["kept_over_drain"]
    assert "w1" in used(result["kept_over_drain"])["plain"]
    assert "w1" in used(result["kept_over_drain"])["echo"]
    assert used({"plain": result["new_while_draining"]}) == {"plain": {"w2", "w3"}}
    assert not result["drained_early"], "buckets were on it, split or not"
    assert not result["forced"]
    assert result["shares_after_drain"] == both({"d2": 128, "d3": 128})
    assert used(result["after_drain"]) == both({"w2", "w3"})
    assert broken(result["after_drain"]) == nothing
