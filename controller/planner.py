"""What should change in the bucket map, and why: plans are values, minimal, and repeating one changes nothing.

1. `plan_failover`: slots that carry buckets of a node that is down are re-pointed at once, load-balanced over the
   survivors [B3]. Nobody else's buckets move.
2. `plan_tidy`, in the background: buckets go from slots that are not at home to home slots of the node that serves
   them now (no client moves), and a slot that has lost all its buckets goes home, ready for its node's return.
3. `plan_rebalance`: towards the weighted target, but only buckets that are idle now, so no connection breaks [B4].
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping

from controller.buckets import (
    BucketMap,
    BucketMove,
    Move,
    Reason,
    SlotMove,
    SlotPicker,
    home_node,
    home_slots,
    spread,
)


def plan_failover(
    bucket_map: BucketMap, down: Collection[int], survivors: Mapping[int, int], slots_per_node: int
) -> tuple[SlotMove, ...]:
    """Re-point the slots that carry buckets of nodes that are down.

    A slot whose own node survives goes home; the others, heaviest first, go where buckets per weight are fewest.

    Args:
        bucket_map: the map as it is.
        down: ids of nodes that must not be sent anything.
        survivors: node id → weight above 0. When it is empty the last map is kept.
        slots_per_node: home slots of a node that are used.
    """
    if not survivors:
        return ()
    orphans = sorted(
        (slot for slot, node in bucket_map.slots.items() if node in down and bucket_map.load(slot)),
        key=lambda slot: (-bucket_map.load(slot), slot),
    )
    if not orphans:
        return ()
    loads = bucket_map.node_loads()
    targets: dict[int, int] = {}
    for slot in orphans:
        home = home_node(slot)
        if home in survivors and slot in home_slots(home, slots_per_node):
            targets[slot] = home
            loads[home] += bucket_map.load(slot)
    heap = [(loads[node] / weight, node) for node, weight in survivors.items()]
    heapq.heapify(heap)
    for slot in orphans:
        if slot not in targets:
            share, node = heap[0]
            targets[slot] = node
            heapq.heapreplace(heap, (share + bucket_map.load(slot) / survivors[node], node))
    return tuple(
        SlotMove(slot=slot, from_node=bucket_map.slots[slot], to_node=targets[slot], reason=Reason.NODE_DOWN)
        for slot in orphans
    )


def plan_tidy(bucket_map: BucketMap, slots_per_node: int, limit: int) -> tuple[Move, ...]:
    """Bring buckets and slots home: first up to `limit` buckets, when none is left the empty slots."""
    at_home = {
        slot
        for slot, node in bucket_map.slots.items()
        if home_node(slot) == node and slot in home_slots(node, slots_per_node)
    }
    away = {slot for slot in bucket_map.slots if slot not in at_home and bucket_map.load(slot)}
    moves: list[Move] = []
    if away:
        picker = SlotPicker(bucket_map, slots_per_node)
        for vserver_id, bucket, slot in _buckets_in(bucket_map, away):
            to_slot = picker.maybe_pick(bucket_map.slots[slot])
            if to_slot is None:
                continue
            move = BucketMove(
                vserver_id=vserver_id, bucket=bucket, from_slot=slot, to_slot=to_slot, reason=Reason.NORMALISE
            )
            moves.append(move)
            if len(moves) == limit:
                break
    if moves:
        return tuple(moves)
    return tuple(
        SlotMove(slot=slot, from_node=node, to_node=home_node(slot), reason=Reason.HOME)
        for slot, node in sorted(bucket_map.slots.items())
        if node != home_node(slot) and not bucket_map.load(slot)
    )


def plan_rebalance(
    bucket_map: BucketMap, vserver_id: int, idle: Iterable[int], weights: Mapping[int, int], slots_per_node: int
) -> tuple[BucketMove, ...]:
    """Move idle buckets of one vserver from nodes above their share to nodes below it.

    Args:
        bucket_map: the map as it is.
        vserver_id: whose buckets.
        idle: buckets that have no open connection now.
        weights: node id → weight of the nodes that may serve; at least one above 0.
        slots_per_node: home slots of a node that are used.
    """
    slots = bucket_map.buckets[vserver_id]
    holding = bucket_map.holding(vserver_id)
    shares = spread(len(slots), weights, holding)
    wanting = [(holding[node] - share, node) for node, share in shares.items() if holding[node] < share]
    if not wanting:
        return ()
    heapq.heapify(wanting)
    excess = {node: count - shares.get(node, 0) for node, count in holding.items()}
    picker = SlotPicker(bucket_map, slots_per_node)
    moves = []
    for bucket in sorted(set(idle)):
        owner = bucket_map.slots[slots[bucket]]
        if excess[owner] <= 0:
            continue
        to_slot = None
        while wanting and to_slot is None:
            missing, node = wanting[0]
            to_slot = picker.maybe_pick(node)
            if to_slot is None or missing == -1:
                heapq.heappop(wanting)
            else:
                heapq.heapreplace(wanting, (missing + 1, node))
        if to_slot is None:
            break
        excess[owner] -= 1
        moves.append(
            BucketMove(
                vserver_id=vserver_id,
                bucket=bucket,
                from_slot=slots[bucket],
                to_slot=to_slot,
                reason=Reason.REBALANCE,
            )
        )
    return tuple(moves)


def _buckets_in(bucket_map: BucketMap, wanted: Collection[int]) -> Iterable[tuple[int, int, int]]:
    """(vserver id, bucket, slot) of every bucket in one of these slots."""
    for vserver_id, slots in bucket_map.buckets.items():
        for bucket, slot in enumerate(slots):
            if slot in wanted:
                yield vserver_id, bucket, slot
