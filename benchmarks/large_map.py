"""The bucket map of the planner's benchmarks: one vserver of 65,536 buckets on 256 nodes of equal weight."""

from __future__ import annotations

from controller.adoption import adopt
from controller.buckets import BucketMap

BUCKETS = 65_536
SLOTS_PER_NODE = 16
VSERVER_ID = 1
NODES = range(1, 257)
DEAD = NODES[0]
ADDED = NODES[-1] + 1


def fresh() -> BucketMap:
    """The map, made anew."""
    weights = dict.fromkeys(NODES, 1)
    return adopt({}, {}, sizes={VSERVER_ID: BUCKETS}, weights=weights, configured=NODES, slots_per_node=SLOTS_PER_NODE)


def survivors() -> dict[int, int]:
    """Node → weight of the others when `DEAD` has failed."""
    return {node: 1 for node in NODES if node != DEAD}
