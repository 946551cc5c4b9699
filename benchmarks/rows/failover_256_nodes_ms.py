"""How long a node's failure takes to be noticed and mended among 256 nodes that are probed every 100 ms."""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks import large_map
from benchmarks.figures import Better
from benchmarks.harness import Benchmark, Profile
from benchmarks.many_nodes import array
from benchmarks.network import wait_until
from pentaflow.errors import HostError

INTERVAL_MS = 100
TIMEOUT_MS = 50
FALL = 3
# Nothing is asked of the controller meanwhile: that would take the processors away from what is measured.
_UNDISTURBED_S = 1.0
# The management addresses are nobody's here: only the data path is measured.
HEALTH = {
    "interval_ms": INTERVAL_MS,
    "timeout_ms": TIMEOUT_MS,
    "rise": 2,
    "fall": FALL,
    "management": {"protocol": "none"},
}


def sample(_profile: Profile) -> Mapping[str, float]:
    """Milliseconds from the death of a node to the switch's acknowledgement that its slots lead elsewhere."""
    nodes = len(large_map.NODES)
    with array(nodes, large_map.BUCKETS, HEALTH) as (controller, responder):
        time.sleep(_UNDISTURBED_S)
        died_ns = responder.kill(large_map.DEAD)
        time.sleep(_UNDISTURBED_S)
        wait_until("the slots are moved", lambda: bool(controller.events("slots_moved")))
        moved = controller.events("slots_moved")[0]
        down = [event["details"]["node"] for event in controller.events("node_down")]
    if down != [f"n{large_map.DEAD}"]:
        raise HostError("bench", f"{', '.join(down)} taken for down, when only n{large_map.DEAD} was")
    setting = f"{nodes} nodes, {large_map.BUCKETS:,} buckets, {FALL} probes of {INTERVAL_MS} ms"
    return {setting: moved["monotonic_ms"] - died_ns / 1e6}


BENCHMARK = Benchmark(name="failover_256_nodes_ms", unit="ms", better=Better.LESS, sample=sample)
