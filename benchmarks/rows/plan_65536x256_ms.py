"""The controller's plans for 65,536 buckets on 256 nodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from benchmarks import large_map
from benchmarks.figures import Better
from benchmarks.harness import Benchmark, Profile
from benchmarks.large_map import ADDED, DEAD, NODES, SLOTS_PER_NODE
from controller.buckets import Reason
from controller.planner import make_plan, plan_failover


def sample(_profile: Profile) -> Mapping[str, float]:
    """Milliseconds of each plan."""
    bucket_map = large_map.fresh()
    equal = dict.fromkeys(NODES, 1)
    one_more = {**equal, ADDED: 1}
    unequal = {node: 1 + node % 5 for node in NODES}
    return {
        "a fresh map": _ms(large_map.fresh),
        "failure of a node": _ms(lambda: plan_failover(bucket_map, {DEAD}, large_map.survivors(), SLOTS_PER_NODE)),
        "a node added": _ms(lambda: make_plan(bucket_map, one_more, Reason.REBALANCE)),
        "a node drained": _ms(lambda: make_plan(bucket_map, {**equal, DEAD: 0}, Reason.DRAIN)),
        "weights of 1 to 5": _ms(lambda: make_plan(bucket_map, unequal, Reason.WEIGHTS)),
    }


def _ms(plan: Callable[[], object]) -> float:
    began = time.perf_counter()
    plan()
    return (time.perf_counter() - began) * 1000


BENCHMARK = Benchmark(name="plan_65536x256_ms", unit="ms", better=Better.LESS, sample=sample)
