"""TCP throughput through a VIP, measured by iperf (version 2)."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks import vip
from benchmarks.figures import Better
from benchmarks.harness import Profile
from benchmarks.targets import Target, against_bmv2

_ID = 5
SETTINGS = {"1 connection": 1, "4 connections": 4}


def sample(target: Target, profile: Profile) -> Mapping[str, float]:
    """Gbit/s of payload from the client to the node."""
    address, port = str(vip.VIP), str(vip.SERVICE)
    with (
        vip.hosts(target) as (client, node),
        node.serving("iperf", "-s", "-B", address, "-p", port, port=vip.SERVICE),
    ):
        command = ("iperf", "-c", address, "-p", port, "-t", str(profile.seconds), "-y", "C")
        return {
            setting: bits_per_s(client.command(*command, "-P", str(connections))) / 1e9
            for setting, connections in SETTINGS.items()
        }


def bits_per_s(report: str) -> float:
    """The sum over the connections in iperf's CSV report: its last field; id -1 is a sum that some versions add."""
    lines = [line.split(",") for line in report.split()]
    return sum(float(fields[-1]) for fields in lines if fields[_ID] != "-1")


BENCHMARK = against_bmv2(name="scheduler_tcp_gbps", unit="Gbit/s", better=Better.MORE, sample=sample)
