"""The map that is found on a switch, taken over and completed [B7] [B2]; where nothing is found, a fresh one.

It is taken from a switch that holds a VIP, if there is one [B8]: what that one forwards by is in use.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from controller.buckets import UNASSIGNED, BucketMap, Numbers, home_slots
from controller.shares import fill, shares
from controller.slots import have_free_slots, pick_slots

PATIENCE_NS = 1_000_000_000


class FirstRead:
    """Which of the switches that are read back after a start gives the map."""

    def __init__(self, started_ns: int) -> None:
        self._started_ns = started_ns
        self._read_ns: dict[str, int] = {}

    def is_it(self, switch: str, switches: Collection[str], *, holds_vip: bool, now_ns: int) -> bool:
        """Whether a switch that was read back is to give the map now; it is asked again until one does.

        One that holds a VIP does. The others wait for such a one until all have been read, for as long as it took to
        read the first, and a second, at most.

        Args:
            switch: its name.
            switches: those of all.
            holds_vip: whether it has entries that draw a VIP's traffic.
            now_ns: the monotonic clock.
        """
        self._read_ns.setdefault(switch, now_ns)
        first_ns = min(self._read_ns.values())
        has_waited = now_ns - first_ns >= first_ns - self._started_ns + PATIENCE_NS
        return holds_vip or has_waited or set(switches) <= self._read_ns.keys()


def adopt(
    read_buckets: Mapping[int, ArrayLike],
    read_slots: Mapping[int, int],
    *,
    sizes: Mapping[int, int],
    weights: Mapping[int, int],
    configured: Collection[int],
    slots_per_node: int,
    read_splits: Mapping[tuple[int, int], int] | None = None,
    on_demand: Collection[int] = (),
) -> BucketMap:
    """The map that a switch holds, with the buckets that have no slot spread by weight.

    Args:
        read_buckets: vserver id → slot of each bucket as read back, `UNASSIGNED` where there was none.
        read_slots: slot → node id, as read back; the node may be one that is no longer configured.
        sizes: vserver id → number of buckets.
        weights: node id → weight, of the nodes that new buckets may go to; not empty. If all are 0 they count as equal.
        configured: ids of all nodes.
        slots_per_node: home slots of a node that are used.
        read_splits: (vserver id, bucket) → old slot, as read back.
        on_demand: vservers whose buckets stay without a slot until somebody comes.
    """
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1)
    known = np.array(sorted(read_slots), dtype=np.int32)
    buckets = {}
    for vserver_id, size in sizes.items():
        read = np.asarray(read_buckets.get(vserver_id, ()), dtype=np.int32)[:size]
        kept = buckets[vserver_id] = np.full(size, UNASSIGNED, dtype=np.int32)
        kept[: len(read)] = np.where(np.isin(read, known), read, UNASSIGNED)
    splits = {
        (vserver_id, bucket): old_slot
        for (vserver_id, bucket), old_slot in (read_splits or {}).items()
        if bucket < sizes.get(vserver_id, 0) and buckets[vserver_id][bucket] != UNASSIGNED and old_slot in read_slots
    }
    carrying = {int(slot) for kept in buckets.values() for slot in np.unique(kept[kept != UNASSIGNED])} | set(
        splits.values()
    )
    homes = {slot: node for node in configured for slot in home_slots(node, slots_per_node)}
    slots = homes | {slot: node for slot, node in read_slots.items() if slot in carrying}
    whole = BucketMap(buckets=buckets, slots=slots, splits=splits)
    for vserver_id in sorted(sizes.keys() - set(on_demand)):
        missing = np.flatnonzero(buckets[vserver_id] == UNASSIGNED)
        if len(missing):
            whole.assign(vserver_id, missing, _slots_for(whole, vserver_id, len(missing), weights, slots_per_node))
    return whole


def _slots_for(
    bucket_map: BucketMap, vserver_id: int, count: int, weights: Mapping[int, int], slots_per_node: int
) -> NDArray[np.int64] | Numbers:
    """Slots for `count` buckets, the node that is furthest below its share first."""
    nodes = np.array(sorted(weights))
    held = bucket_map.holding(vserver_id)
    holding = np.array([held[node] for node in nodes.tolist()])
    share = shares(len(bucket_map.buckets[vserver_id]), np.array([weights[node] for node in nodes.tolist()]), holding)
    usable = have_free_slots(bucket_map, nodes, slots_per_node)
    if not usable.any():
        # Where a foreign map leaves no node a home slot to itself, any slot will do: the planner tidies up.
        return np.resize(np.array(sorted(bucket_map.slots)), count)
    return pick_slots(bucket_map, nodes[usable][fill((holding - share)[usable], count)], slots_per_node)
