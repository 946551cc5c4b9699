"""P4Runtime updates that a node's failure takes: the plan carried out, compared entry by entry."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks import large_map
from benchmarks.figures import Better
from benchmarks.harness import Benchmark, Profile
from benchmarks.large_map import DEAD, SLOTS_PER_NODE, VSERVER_ID
from controller.buckets import BucketMap
from controller.diff import diff
from controller.entries import Entry, Key, Kind
from controller.planner import plan_failover


def sample(_profile: Profile) -> Mapping[str, float]:
    """Updates between the switch's entries before and after."""
    bucket_map = large_map.fresh()
    before = _entries(bucket_map)
    bucket_map.apply(plan_failover(bucket_map, {DEAD}, large_map.survivors(), SLOTS_PER_NODE))
    after = _entries(bucket_map)
    updates = diff(before.keys() | after.keys(), after.get, before)
    return {f"65,536 buckets, 256 nodes, {SLOTS_PER_NODE} slots each": len(updates)}


def _entries(bucket_map: BucketMap) -> dict[Key, Entry]:
    buckets = enumerate(bucket_map.buckets[VSERVER_ID].tolist())
    return {
        **{Key(Kind.SLOT, (slot,)): Entry((node,)) for slot, node in bucket_map.slots.items()},
        **{Key(Kind.BUCKET, (VSERVER_ID, bucket)): Entry((slot,)) for bucket, slot in buckets},
    }


BENCHMARK = Benchmark(name="failover_writes", unit="updates", better=Better.LESS, sample=sample)
