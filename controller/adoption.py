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
    members: Mapping[int, Collection[int]] | None = None,
) -> BucketMap:
    """The map that a switch holds, with the buckets that have no slot spread by weight.

    Args:
        read_buckets: vserver id → slot of each bucket as read back, `UNASSIGNED` where there was none.
        read_slots: slot → node id, as read back; the node may be one that is no longer configured.
        sizes: vserver id → number of buckets.
        weights: node id → weight, of the nodes that new buckets may go to. If all of a vserver's are 0 they count as
            equal; if it has none its buckets stay without a slot.
        configured: ids of all nodes.
        slots_per_node: home slots of a node that are used.
        read_splits: (vserver id, bucket) → old slot, as read back.
        on_demand: vservers whose buckets stay without a slot until somebody comes.
        members: vserver id → the nodes that may serve it; None: all nodes serve all vservers. A bucket that is found on
            another node that is configured, or, when there are several sets of nodes, on one that is not, counts as
            without a slot: the slot of a set's node is never to carry the buckets of another set.
    """
    members = dict.fromkeys(sizes, configured) if members is None else members
    has_several_sets = len({frozenset(nodes) for nodes in members.values()}) > 1

    def is_foreign(vserver_id: int, node: int) -> bool:
        return node not in members[vserver_id] and (node in configured or has_several_sets)

    buckets = {}
    for vserver_id, size in sizes.items():
        known = np.array([s for s, node in sorted(read_slots.items()) if not is_foreign(vserver_id, node)], np.int32)
        read = np.asarray(read_buckets.get(vserver_id, ()), dtype=np.int32)[:size]
        kept = buckets[vserver_id] = np.full(size, UNASSIGNED, dtype=np.int32)
        kept[: len(read)] = np.where(np.isin(read, known), read, UNASSIGNED)
    splits = {
        (vserver_id, bucket): old_slot
        for (vserver_id, bucket), old_slot in (read_splits or {}).items()
        if bucket < sizes.get(vserver_id, 0)
        and buckets[vserver_id][bucket] != UNASSIGNED
        and old_slot in read_slots
        and not is_foreign(vserver_id, read_slots[old_slot])
    }
    carrying = {int(slot) for kept in buckets.values() for slot in np.unique(kept[kept != UNASSIGNED])} | set(
        splits.values()
    )
    homes = {slot: node for node in configured for slot in home_slots(node, slots_per_node)}
    slots = homes | {slot: node for slot, node in read_slots.items() if slot in carrying}
    whole = BucketMap(buckets=buckets, slots=slots, splits=splits)
    for vserver_id in sorted(sizes.keys() - set(on_demand)):
        missing = np.flatnonzero(buckets[vserver_id] == UNASSIGNED)
        able = {node: weight for node, weight in weights.items() if node in members[vserver_id]}
        if len(missing) and able:
            able = able if any(able.values()) else dict.fromkeys(able, 1)
            found = _slots_for(whole, vserver_id, len(missing), able, slots_per_node)
            whole.assign(vserver_id, missing[: len(found)], found)
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
        own = [slot for slot, node in sorted(bucket_map.slots.items()) if node in weights]
        return np.resize(np.array(own, dtype=np.int64), count if own else 0)
    return pick_slots(bucket_map, nodes[usable][fill((holding - share)[usable], count)], slots_per_node)
