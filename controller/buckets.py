"""The bucket map [B1] [B2 eager]: (vserver, bucket) → slot, slot → node.

Node n owns the home slots n * 16 … n * 16 + slots_per_node - 1, in every switch and shared by all vservers. Where a
node's buckets are in its home slots, its failure is mended by writing those slots, whatever the number of vservers.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import cycle, islice

SLOTS_RESERVED_PER_NODE = 16


class Reason(StrEnum):
    """Why something in the map changes."""

    NODE_DOWN = "node_down"
    MASS_FAILURE = "mass_failure"
    NORMALISE = "normalise"
    HOME = "home"
    REBALANCE = "rebalance"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotMove:
    """A slot is re-pointed: all its buckets go to another node, or, when it carries none, it goes home."""

    slot: int
    from_node: int
    to_node: int
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketMove:
    """A bucket goes to another slot: of the node that serves it now (NORMALISE), or of another (REBALANCE)."""

    vserver_id: int
    bucket: int
    from_slot: int
    to_slot: int
    reason: Reason


Move = SlotMove | BucketMove


@dataclass(slots=True)
class BucketMap:
    """The map as it should be on every switch. Changed only by `apply`; the planners read it.

    Attributes:
        buckets: vserver id → slot of each bucket; every bucket has one.
        slots: slot → node id; every slot that a bucket names is there.
        version: grows with every `apply` that changed something.
    """

    buckets: dict[int, list[int]] = field(default_factory=dict)
    slots: dict[int, int] = field(default_factory=dict)
    version: int = 0
    _load: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for slots in self.buckets.values():
            self._load.update(slots)

    def load(self, slot: int) -> int:
        """Buckets, of all vservers, that a slot carries."""
        return self._load[slot]

    def node_loads(self) -> Counter[int]:
        """Buckets, of all vservers, that each node serves."""
        loads: Counter[int] = Counter()
        for slot, node in self.slots.items():
            loads[node] += self._load[slot]
        return loads

    def holding(self, vserver_id: int) -> Counter[int]:
        """Buckets of one vserver that each node serves."""
        return Counter(self.slots[slot] for slot in self.buckets[vserver_id])

    def apply(self, moves: Sequence[Move]) -> None:
        """Carry a plan out."""
        for move in moves:
            match move:
                case SlotMove():
                    self.slots[move.slot] = move.to_node
                case BucketMove():
                    self.buckets[move.vserver_id][move.bucket] = move.to_slot
                    self._load[move.from_slot] -= 1
                    self._load[move.to_slot] += 1
        if moves:
            self.version += 1


def home_slots(node_id: int, slots_per_node: int) -> range:
    """The slots that a node owns."""
    first = node_id * SLOTS_RESERVED_PER_NODE
    return range(first, first + slots_per_node)


def home_node(slot: int) -> int:
    """The node that a slot is reserved for."""
    return slot // SLOTS_RESERVED_PER_NODE


def spread(size: int, weights: Mapping[int, int], holding: Mapping[int, int] | None = None) -> dict[int, int]:
    """How many of `size` buckets each node should have: by weight, largest remainder.

    Equal weights differ by one at most; weight 0 gets none. Of equal remainders a node that holds one more already
    comes first, so that nothing moves without need, then the lower id.

    Raises:
        ValueError: no node has a weight above 0.
    """
    total = sum(weights.values())
    if total <= 0:
        raise ValueError("no node has a weight above 0")
    shares = {node: size * weight // total for node, weight in weights.items()}
    held = holding or {}
    by_remainder = sorted(
        weights, key=lambda node: (-(size * weights[node] % total), held.get(node, 0) <= shares[node], node)
    )
    for node in by_remainder[: size - sum(shares.values())]:
        shares[node] += 1
    return shares


class SlotPicker:
    """Hands out, for a node, the home slot that carries least, counting what it has handed out."""

    def __init__(self, bucket_map: BucketMap, slots_per_node: int) -> None:
        self._map = bucket_map
        self._slots_per_node = slots_per_node
        self._heaps: dict[int, list[tuple[int, int]]] = {}

    def maybe_pick(self, node: int) -> int | None:
        """A home slot of the node that points to it; None while all of them serve another node's buckets."""
        heap = self._heaps.get(node)
        if heap is None:
            slots = (s for s in home_slots(node, self._slots_per_node) if self._map.slots.get(s) == node)
            heap = self._heaps[node] = [(self._map.load(slot), slot) for slot in slots]
            heapq.heapify(heap)
        if not heap:
            return None
        load, slot = heap[0]
        heapq.heapreplace(heap, (load + 1, slot))
        return slot


def adopt(
    read_buckets: Mapping[int, Mapping[int, int]],
    read_slots: Mapping[int, int],
    *,
    sizes: Mapping[int, int],
    weights: Mapping[int, int],
    configured: Collection[int],
    slots_per_node: int,
) -> BucketMap:
    """The map that a switch holds, completed [B7]; with nothing read, a fresh one spread by weight.

    Args:
        read_buckets: vserver id → bucket → slot, as read back.
        read_slots: slot → node id, as read back; the node may be one that is no longer configured.
        sizes: vserver id → number of buckets.
        weights: node id → weight, of the nodes that new buckets may go to; not empty. If all are 0 they count as equal.
        configured: ids of all nodes.
        slots_per_node: home slots of a node that are used.
    """
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1)
    kept = {
        vserver: {b: s for b, s in read_buckets.get(vserver, {}).items() if b < size and s in read_slots}
        for vserver, size in sizes.items()
    }
    carrying = {slot for slots in kept.values() for slot in slots.values()}
    homes = {slot: node for node in configured for slot in home_slots(node, slots_per_node)}
    slots = homes | {slot: node for slot, node in read_slots.items() if slot in carrying}
    whole = BucketMap(buckets={vserver: list(found.values()) for vserver, found in kept.items()}, slots=slots)
    picker = SlotPicker(whole, slots_per_node)
    buckets = {}
    for vserver, size in sizes.items():
        missing = [bucket for bucket in range(size) if bucket not in kept[vserver]]
        filled = kept[vserver] | dict(
            zip(missing, _fill(len(missing), size, weights, whole.holding(vserver), slots, picker), strict=True)
        )
        buckets[vserver] = [filled[bucket] for bucket in range(size)]
    return BucketMap(buckets=buckets, slots=slots)


def _fill(
    count: int,
    size: int,
    weights: Mapping[int, int],
    holding: Mapping[int, int],
    slots: Mapping[int, int],
    picker: SlotPicker,
) -> list[int]:
    """Slots for `count` buckets, the node that is furthest below its share first."""
    wanting = [(holding.get(node, 0) - share, node) for node, share in spread(size, weights, holding).items()]
    heapq.heapify(wanting)
    result: list[int] = []
    while len(result) < count and wanting:
        excess, node = wanting[0]
        slot = picker.maybe_pick(node)
        if slot is None:
            heapq.heappop(wanting)
        else:
            result.append(slot)
            heapq.heapreplace(wanting, (excess + 1, node))
    # Where a foreign map leaves no node a home slot to itself, any slot will do: the planner tidies up.
    result += islice(cycle(sorted(slots)), count - len(result))
    return result
