"""Which slots new buckets of a node go to: those of its home slots that carry least."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from controller.buckets import UNASSIGNED, BucketMap, Numbers, home_slots
from controller.shares import fill


def free_slots(bucket_map: BucketMap, node_id: int, slots_per_node: int) -> NDArray[np.int64]:
    """The home slots of a node that point to it."""
    slots = np.array(home_slots(node_id, slots_per_node))
    found: NDArray[np.int64] = slots[bucket_map.nodes_of(slots) == node_id]
    return found


def pick_slots(bucket_map: BucketMap, nodes: ArrayLike, slots_per_node: int) -> Numbers:
    """A home slot for each bucket of a list, one after the other, so that a node's slots end up level.

    Args:
        bucket_map: the map as it is.
        nodes: the node of each bucket.
        slots_per_node: home slots of a node that are used.

    Returns:
        a slot for each; `UNASSIGNED` while all slots of its node serve another node's buckets.
    """
    wanted = np.asarray(nodes, dtype=np.int64)
    result: Numbers = np.full(len(wanted), UNASSIGNED, dtype=np.int32)
    order = np.argsort(wanted, kind="stable")
    found, firsts = np.unique(wanted[order], return_index=True)
    for node_id, of_node in zip(found.tolist(), np.split(order, firsts[1:]), strict=False):
        slots = free_slots(bucket_map, node_id, slots_per_node)
        if len(slots):
            result[of_node] = slots[fill(bucket_map.loads(slots), len(of_node))]
    return result


def have_free_slots(bucket_map: BucketMap, nodes: ArrayLike, slots_per_node: int) -> NDArray[np.bool_]:
    """Whether each of some nodes has a home slot that points to it."""
    wanted = np.asarray(nodes, dtype=np.int64)
    found, back = np.unique(wanted, return_inverse=True)
    return np.array([len(free_slots(bucket_map, node, slots_per_node)) > 0 for node in found.tolist()], dtype=bool)[
        back
    ]
