"""Which slots new buckets of a node go to: those of its home slots that carry least."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from controller.buckets import SLOTS_RESERVED_PER_NODE, UNASSIGNED, BucketMap, Numbers
from controller.shares import FULL, fill_rows


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
    found, row, counts = np.unique(wanted, return_inverse=True, return_counts=True)
    slots = _home_slots(found, slots_per_node)
    is_free = bucket_map.nodes_of(slots) == found[:, np.newaxis]
    able = is_free.any(axis=1)
    by_node = np.argsort(row, kind="stable")
    served = by_node[able[row[by_node]]]
    columns = fill_rows(np.where(is_free, bucket_map.loads(slots), FULL)[able], counts[able])
    result[served] = slots[row[served], columns]
    return result


def have_free_slots(bucket_map: BucketMap, nodes: ArrayLike, slots_per_node: int) -> NDArray[np.bool_]:
    """Whether each of some nodes has a home slot that points to it."""
    wanted = np.asarray(nodes, dtype=np.int64)
    is_free = bucket_map.nodes_of(_home_slots(wanted, slots_per_node)) == wanted[:, np.newaxis]
    found: NDArray[np.bool_] = np.any(is_free, axis=1)
    return found


def _home_slots(nodes: NDArray[np.int64], slots_per_node: int) -> NDArray[np.int64]:
    """The home slots of each node, a row each."""
    return nodes[:, np.newaxis] * SLOTS_RESERVED_PER_NODE + np.arange(slots_per_node)
