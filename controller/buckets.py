"""The bucket map [B1] [B8]: (vserver, bucket) → slot, slot → node.

Node n owns the home slots n * 16 … n * 16 + slots_per_node - 1, in every switch and shared by all vservers. Where a
node's buckets are in its home slots, its failure is mended by writing those slots, whatever the number of vservers.

A bucket may have no slot (`UNASSIGNED`, [B2 on_demand]: the switch asks for it), and it may be split [D6]: new
connections go to its slot, those that were open stay in its old one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

SLOTS_RESERVED_PER_NODE = 16
SLOT_LIMIT = 65_536
UNASSIGNED = -1
NO_NODE = 0

#: Slots, nodes or counts, one for each of something.
Numbers = NDArray[np.int32]


class Reason(StrEnum):
    """Why something in the map changes."""

    NODE_DOWN = "node_down"
    MASS_FAILURE = "mass_failure"
    NORMALISE = "normalise"
    HOME = "home"
    REBALANCE = "rebalance"
    DRAIN = "drain"
    WEIGHTS = "weights"
    ASSIGN = "assign"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotMove:
    """A slot is re-pointed: all its buckets go to another node, or, when it carries none, it goes home."""

    slot: int
    from_node: int
    to_node: int
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketMove:
    """What becomes of a bucket: it goes to another slot, is split, or is settled.

    Attributes:
        vserver_id: whose bucket.
        bucket: its number.
        from_slot: its slot before, or `UNASSIGNED`.
        to_slot: its slot from now on: where new connections go.
        reason: why.
        old_slot: where open connections stay (the bucket is split then); `UNASSIGNED`: they go with the others.
    """

    vserver_id: int
    bucket: int
    from_slot: int
    to_slot: int
    reason: Reason
    old_slot: int = UNASSIGNED


Move = SlotMove | BucketMove


class BucketMap:
    """The map as it should be on every switch. Changed only by `apply`; the planners read it.

    Attributes:
        buckets: vserver id → array of the slot of each bucket, `UNASSIGNED` where it has none.
        slots: slot → node id; every slot that a bucket names is there.
        splits: (vserver id, bucket) → old slot, of each bucket that is split; its new slot is in `buckets`.
        version: grows with every `apply` that changed something.
    """

    __slots__ = ("_load", "_node_of_slot", "buckets", "slots", "splits", "version")

    def __init__(
        self,
        *,
        buckets: Mapping[int, ArrayLike] | None = None,
        slots: Mapping[int, int] | None = None,
        splits: Mapping[tuple[int, int], int] | None = None,
        version: int = 0,
    ) -> None:
        self.buckets: dict[int, Numbers] = {
            vserver_id: np.array(found, dtype=np.int32) for vserver_id, found in (buckets or {}).items()
        }
        self.slots = dict(slots or {})
        self.splits = dict(splits or {})
        self.version = version
        # One more than there are slots: the last is what UNASSIGNED (-1) finds.
        self._node_of_slot = np.full(SLOT_LIMIT + 1, NO_NODE, dtype=np.int32)
        self._node_of_slot[list(self.slots.keys())] = list(self.slots.values())
        self._load = np.zeros(SLOT_LIMIT + 1, dtype=np.int64)
        for found in self.buckets.values():
            self._load += np.bincount(found[found != UNASSIGNED], minlength=SLOT_LIMIT + 1)
        for old_slot in self.splits.values():
            self._load[old_slot] += 1

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BucketMap)
            and (self.version, self.slots, self.splits) == (other.version, other.slots, other.splits)
            and self.buckets.keys() == other.buckets.keys()
            and all(np.array_equal(found, other.buckets[vserver]) for vserver, found in self.buckets.items())
        )

    def load(self, slot: int) -> int:
        """Buckets, of all vservers, that a slot carries; a split bucket is carried by its old slot as well."""
        return int(self._load[slot])

    def loads(self, slots: ArrayLike) -> NDArray[np.int64]:
        """`load` of each of some slots."""
        found: NDArray[np.int64] = self._load[np.asarray(slots, dtype=np.int64)]
        return found

    def nodes_of(self, slots: ArrayLike) -> Numbers:
        """The node that each of some slots points to, `NO_NODE` for one that is not in the map or `UNASSIGNED`."""
        found: Numbers = self._node_of_slot[np.asarray(slots, dtype=np.int64)]
        return found

    def carrying(self) -> NDArray[np.int64]:
        """The slots that carry buckets, ascending."""
        return np.flatnonzero(self._load)

    def idle_abroad(self) -> NDArray[np.int64]:
        """The slots that carry no bucket and point to another node than their own, ascending."""
        pointing = np.flatnonzero(self._node_of_slot)
        abroad = (self._load[pointing] == 0) & (self._node_of_slot[pointing] != home_node(pointing))
        found: NDArray[np.int64] = pointing[abroad]
        return found

    def node_loads(self) -> Counter[int]:
        """Buckets, of all vservers, that each node serves; split ones count for the node of new connections."""
        load = self._load.copy()
        for old_slot in self.splits.values():
            load[old_slot] -= 1
        return _counted(np.bincount(self._node_of_slot, weights=load))

    def holding(self, vserver_id: int) -> Counter[int]:
        """Buckets of one vserver that each node serves; split ones count for the node of new connections."""
        return _counted(np.bincount(self.owners(vserver_id)))

    def keeping(self, vserver_id: int) -> Counter[int]:
        """Buckets of one vserver that each node serves, or keeps the open connections of while they are split."""
        if vserver_id not in self.buckets:
            return Counter()
        old = (self.slots[slot] for (vserver, _), slot in self.splits.items() if vserver == vserver_id)
        return self.holding(vserver_id) + Counter(old)

    def owners(self, vserver_id: int) -> Numbers:
        """The node of each bucket of a vserver (for new connections), `NO_NODE` where it has none."""
        return self.nodes_of(self.buckets[vserver_id])

    def maybe_node(self, vserver_id: int, bucket: int) -> int | None:
        """The node that serves new connections in a bucket."""
        return self.slots.get(int(self.buckets[vserver_id][bucket]))

    def maybe_old_node(self, vserver_id: int, bucket: int) -> int | None:
        """The node that keeps the open connections of a split bucket; None if it is not split."""
        return self.slots.get(self.splits.get((vserver_id, bucket), UNASSIGNED))

    def maybe_free_slot(self, node_id: int, slots_per_node: int) -> int | None:
        """The home slot of a node that carries least; None while all of them serve another node's buckets."""
        return min(
            (slot for slot in home_slots(node_id, slots_per_node) if self.slots.get(slot) == node_id),
            key=lambda slot: (self._load[slot], slot),
            default=None,
        )

    def apply(self, moves: Sequence[Move]) -> None:
        """Carry moves out, one after the other."""
        for move in moves:
            match move:
                case SlotMove():
                    self.slots[move.slot] = move.to_node
                    self._node_of_slot[move.slot] = move.to_node
                case BucketMove():
                    self._place(move)
        if moves:
            self.version += 1

    def _place(self, move: BucketMove) -> None:
        key = (move.vserver_id, move.bucket)
        before = (int(self.buckets[move.vserver_id][move.bucket]), self.splits.pop(key, UNASSIGNED))
        self.buckets[move.vserver_id][move.bucket] = move.to_slot
        if move.old_slot != UNASSIGNED:
            self.splits[key] = move.old_slot
        for slot, change in ((before[0], -1), (before[1], -1), (move.to_slot, 1), (move.old_slot, 1)):
            if slot != UNASSIGNED:
                self._load[slot] += change

    def assign(self, vserver_id: int, buckets: ArrayLike, slots: ArrayLike) -> None:
        """Give buckets that have none their first slots, while the map is being made: it has no other version yet."""
        self.buckets[vserver_id][np.asarray(buckets, dtype=np.int64)] = slots
        np.add.at(self._load, np.asarray(slots, dtype=np.int64), 1)

    # Moves of one bucket, as values; nothing changes before they are applied.

    def moved(self, vserver_id: int, bucket: int, to_slot: int, reason: Reason) -> BucketMove:
        """The whole bucket goes to a slot, open connections included: for buckets that are idle."""
        return BucketMove(
            vserver_id=vserver_id,
            bucket=bucket,
            from_slot=int(self.buckets[vserver_id][bucket]),
            to_slot=to_slot,
            reason=reason,
        )

    def split(self, vserver_id: int, bucket: int, to_slot: int, reason: Reason) -> BucketMove:
        """New connections go to a slot, open ones stay.

        Raises:
            ValueError: the bucket is split already (settle it first: there is one old slot) or has no slot.
        """
        from_slot = int(self.buckets[vserver_id][bucket])
        if (vserver_id, bucket) in self.splits or from_slot == UNASSIGNED:
            raise ValueError(f"bucket {bucket} of vserver {vserver_id} cannot be split now")
        return BucketMove(
            vserver_id=vserver_id,
            bucket=bucket,
            from_slot=from_slot,
            to_slot=to_slot,
            reason=reason,
            old_slot=from_slot,
        )

    def settled(self, vserver_id: int, bucket: int, reason: Reason) -> BucketMove:
        """A split ends: what is left in the old slot goes to the new one."""
        return self.moved(vserver_id, bucket, int(self.buckets[vserver_id][bucket]), reason)


def home_slots(node_id: int, slots_per_node: int) -> range:
    """The slots that a node owns."""
    first = node_id * SLOTS_RESERVED_PER_NODE
    return range(first, first + slots_per_node)


SomeSlots = TypeVar("SomeSlots", int, NDArray[np.int64])


def home_node(slot: SomeSlots) -> SomeSlots:
    """The node that a slot is reserved for; of an array of slots, an array."""
    return slot // SLOTS_RESERVED_PER_NODE


def are_at_home(slots: NDArray[np.int64], nodes: Numbers, slots_per_node: int) -> NDArray[np.bool_]:
    """Whether each slot is a home slot of the node beside it."""
    found: NDArray[np.bool_] = (home_node(slots) == nodes) & (slots % SLOTS_RESERVED_PER_NODE < slots_per_node)
    return found


def _counted(counts: NDArray[np.int64] | NDArray[np.float64]) -> Counter[int]:
    return Counter({int(n): int(counts[n]) for n in np.flatnonzero(counts) if n != NO_NODE})
