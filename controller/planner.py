"""What should change in the bucket map, and why: plans are values, minimal, and repeating one changes nothing.

1. `plan_failover`: slots that carry buckets of a node that is down are re-pointed at once, load-balanced over the
   survivors [B3]. Nobody else's buckets move.
2. `plan_tidy`, in the background: buckets go from slots that are not at home to home slots of the node that serves
   them now (no client moves), and a slot that has lost all its buckets goes home, ready for its node's return.
3. `make_plan`: which buckets must go elsewhere for the weighted target [B4] [B9]; `controller.moves` carries that out.
4. `plan_assignment`: where a bucket without a slot goes when its first packet comes [B2].
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from controller.buckets import (
    NO_NODE,
    UNASSIGNED,
    BucketMap,
    BucketMove,
    Move,
    Numbers,
    Reason,
    SlotMove,
    are_at_home,
    home_node,
    home_slots,
)
from controller.plan import MOVE_DTYPE, Plan
from controller.shares import Counts, interleave, shares
from controller.slots import have_free_slots, pick_slots

# 16 of 4,096: what the transit filter is good for (docs/pipeline.md, "Split buckets").
WAVES_PER_MAP = 256

_NO_MOVES = np.zeros(0, dtype=MOVE_DTYPE)


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
    if not survivors or not down:
        return ()
    carrying = bucket_map.carrying()
    orphans = carrying[np.isin(bucket_map.nodes_of(carrying), list(down))]
    if not len(orphans):
        return ()
    heaviest_first = orphans[np.lexsort((orphans, -bucket_map.loads(orphans)))]
    weight_of = dict(zip(heaviest_first.tolist(), bucket_map.loads(heaviest_first).tolist(), strict=True))
    loads = bucket_map.node_loads()
    targets: dict[int, int] = {}
    for slot, load in weight_of.items():
        home = home_node(slot)
        if home in survivors and slot in home_slots(home, slots_per_node):
            targets[slot] = home
            loads[home] += load
    heap = [(loads[node] / weight, node) for node, weight in survivors.items()]
    heapq.heapify(heap)
    for slot, load in weight_of.items():
        if slot not in targets:
            share, node = heap[0]
            targets[slot] = node
            heapq.heapreplace(heap, (share + load / survivors[node], node))
    return tuple(
        SlotMove(slot=slot, from_node=bucket_map.slots[slot], to_node=targets[slot], reason=Reason.NODE_DOWN)
        for slot in weight_of
    )


def plan_tidy(bucket_map: BucketMap, slots_per_node: int, limit: int) -> tuple[Move, ...]:
    """Bring buckets and slots home: first up to `limit` buckets, when none is left the empty slots.

    A split bucket whose old slot is not at home is settled: the connections that it was split for went with their node.
    """
    carrying = bucket_map.carrying()
    nodes = bucket_map.nodes_of(carrying)
    is_away = ~are_at_home(carrying, nodes, slots_per_node)
    away = carrying[is_away]
    moves: list[Move] = []
    if len(away):
        movable = away[have_free_slots(bucket_map, nodes[is_away], slots_per_node)]
        abroad = set(away.tolist())
        for (vserver_id, bucket), old_slot in bucket_map.splits.items():
            if old_slot in abroad and len(moves) < limit:
                moves.append(bucket_map.settled(vserver_id, bucket, Reason.NORMALISE))
        moves += _to_home_slots(bucket_map, movable, slots_per_node, limit) if not moves else ()
    if moves:
        return tuple(moves)
    return tuple(
        SlotMove(slot=slot, from_node=bucket_map.slots[slot], to_node=home_node(slot), reason=Reason.HOME)
        for slot in bucket_map.idle_abroad().tolist()
    )


def _to_home_slots(
    bucket_map: BucketMap, away: NDArray[np.int64], slots_per_node: int, limit: int
) -> tuple[BucketMove, ...]:
    """Moves of up to `limit` buckets that are in these slots."""
    found: list[tuple[int, int, int]] = []
    for vserver_id, slots in bucket_map.buckets.items():
        hits = np.flatnonzero(np.isin(slots, away))[: limit - len(found)]
        found += zip([vserver_id] * len(hits), hits.tolist(), slots[hits].tolist(), strict=True)
        if len(found) == limit:
            break
    to_slots = pick_slots(bucket_map, bucket_map.nodes_of([slot for _, _, slot in found]), slots_per_node)
    return tuple(
        BucketMove(
            vserver_id=vserver_id,
            bucket=bucket,
            from_slot=slot,
            to_slot=to_slot,
            reason=Reason.NORMALISE,
            old_slot=bucket_map.splits.get((vserver_id, bucket), UNASSIGNED),
        )
        for (vserver_id, bucket, slot), to_slot in zip(found, to_slots.tolist(), strict=True)
    )


def make_plan(
    bucket_map: BucketMap,
    weights: Mapping[int, int],
    reason: Reason,
    members: Mapping[int, Collection[int]] | None = None,
) -> Plan:
    """The fewest moves after which each node has its share of each vserver's buckets.

    Buckets without a slot stay so. Split buckets count for their new node, and are moved last of a node's: they have
    to be settled first. In a wave are 1 / `WAVES_PER_MAP` of a vserver's buckets at most.

    Args:
        bucket_map: the map as it is.
        weights: node id → weight as it is meant: 0 for a node that is drained; a node that is not in it gets nothing
            and keeps nothing. If none is above 0 nothing moves: there is nowhere to go.
        reason: why the plan is asked for.
        members: vserver id → the nodes that may serve it; vservers that are not in it stay as they are. None: all nodes
            serve all vservers.
    """
    if members is None:
        members = dict.fromkeys(bucket_map.buckets, weights.keys())
    parts = [
        _moves_of(bucket_map, vserver_id, {node: weights[node] for node in weights if node in members[vserver_id]})
        for vserver_id in sorted(bucket_map.buckets.keys() & members.keys())
    ]
    moves = np.concatenate([_NO_MOVES, *parts])
    return Plan(map_version=bucket_map.version, reason=reason, moves=moves[np.argsort(moves["wave"], kind="stable")])


def _moves_of(bucket_map: BucketMap, vserver_id: int, weights: Mapping[int, int]) -> NDArray[np.void]:
    owners = bucket_map.owners(vserver_id)
    last = {bucket for vserver, bucket in bucket_map.splits if vserver == vserver_id}
    candidates = np.flatnonzero(owners != NO_NODE)
    if last:
        candidates = candidates[np.argsort(np.isin(candidates, list(last)), kind="stable")]
    moving, to_nodes = _balance(owners, candidates, weights)
    moves = np.zeros(len(moving), dtype=MOVE_DTYPE)
    moves["vserver_id"] = vserver_id
    moves["bucket"] = moving
    moves["from_node"] = owners[moving]
    moves["to_node"] = to_nodes
    moves["wave"] = np.arange(len(moving)) // max(1, len(owners) // WAVES_PER_MAP)
    return moves


def _balance(
    owners: Numbers, candidates: NDArray[np.int64], weights: Mapping[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which candidates leave nodes that have more than their share, and where they go, evenly in turn.

    Args:
        owners: the node of each bucket.
        candidates: all buckets that have a node, the first of a node's to move first.
        weights: node id → weight.
    """
    nodes = np.union1d(np.unique(owners[owners != NO_NODE]), sorted(weights)).astype(np.int64)
    weight = np.array([weights.get(node, 0) for node in nodes.tolist()], dtype=np.int64)
    nothing = np.zeros(0, dtype=np.int64)
    if not weight.any() or not len(candidates):
        return nothing, nothing
    holding = np.bincount(np.searchsorted(nodes, owners[owners != NO_NODE]), minlength=len(nodes))
    excess = holding - shares(int(holding.sum()), weight, holding)
    giving, taking = np.maximum(excess, 0), np.maximum(-excess, 0)
    giver = np.searchsorted(nodes, owners[candidates])
    by_giver = np.argsort(giver, kind="stable")
    offered = np.bincount(giver, minlength=len(nodes))
    firsts = np.cumsum(offered) - offered
    # One of each giver in turn, in proportion.
    turns = interleave(giving)
    seen: Counts = np.argsort(np.argsort(turns, kind="stable"), kind="stable")
    rank = seen - (np.cumsum(giving) - giving)[turns]
    moving = candidates[by_giver[firsts[turns] + rank]]
    return moving, nodes[interleave(taking)]


def plan_assignment(
    bucket_map: BucketMap,
    vserver_id: int,
    bucket: int,
    weights: Mapping[int, int],
    slots_per_node: int,
    *,
    hits: Mapping[int, int],
    open_connections: Mapping[int, int],
) -> tuple[BucketMove, ...]:
    """Where a bucket without a slot goes: the node with fewest of the vserver's buckets per weight, then with fewest
    hits, then with fewest open connections, then the lowest id.

    Args:
        bucket_map: the map as it is.
        vserver_id: whose bucket.
        bucket: its number.
        weights: node id → weight of the nodes that may serve.
        slots_per_node: home slots of a node that are used.
        hits: node id → what it was asked so far; 0 if it is not in it.
        open_connections: node id → connections that it has open; 0 if it is not in it.

    Returns:
        one move, or none: the bucket has a slot, or no node that may serve has one.
    """
    if bucket_map.buckets[vserver_id][bucket] != UNASSIGNED:
        return ()
    holding = bucket_map.holding(vserver_id)
    ranked = sorted(
        (node for node, weight in weights.items() if weight > 0),
        key=lambda node: (holding[node] / weights[node], hits.get(node, 0), open_connections.get(node, 0), node),
    )
    slots = (bucket_map.maybe_free_slot(node, slots_per_node) for node in ranked)
    to_slot = next((slot for slot in slots if slot is not None), None)
    return () if to_slot is None else (bucket_map.moved(vserver_id, bucket, to_slot, Reason.ASSIGN),)
