"""Which bucket is in which slot, and which slot points at which node: the map, kept by plans (`controller.planner`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np

from controller.adoption import adopt
from controller.buckets import UNASSIGNED, BucketMap, BucketMove, Move, Reason, SlotMove
from controller.entries import Entry, Key, Kind
from controller.planner import plan_failover, plan_rebalance, plan_tidy
from pentaflow.config import Configuration, parse_mac

_NS_PER_S = 1_000_000_000


class Assignment:
    """The bucket map of an array and the entries that follow from it."""

    def __init__(self, configuration: Configuration) -> None:
        self.map = BucketMap()
        self._nodes = {node.id: node for node in configuration.nodes}
        self._macs = {node_id: parse_mac(node.mac) for node_id, node in self._nodes.items()}
        self._sizes = {vserver.id: vserver.buckets for vserver in configuration.vservers}
        self._idle_ns = {vserver.id: int(vserver.idle_timeout_s * _NS_PER_S) for vserver in configuration.vservers}
        self._slots_per_node = configuration.controller.slots_per_node
        self._revocable: list[SlotMove] = []

    def maybe_entry(self, switch: str, key: Key) -> Entry | None:
        """The entry that a `slot` or `bucket` key should have on a switch."""
        if key.kind is Kind.SLOT:
            node = self._nodes.get(self.map.slots.get(key.match[0], 0))
            if node is None or switch not in node.ports:
                return None
            return Entry((node.id, self._macs[node.id], node.ports[switch]))
        vserver_id, bucket = key.match
        slot = self._maybe_slot(vserver_id, bucket)
        return None if slot is None else Entry((slot,), self._idle_ns[vserver_id])

    def _maybe_slot(self, vserver_id: int, bucket: int) -> int | None:
        slots = self.map.buckets.get(vserver_id)
        if slots is None or bucket >= len(slots) or slots[bucket] == UNASSIGNED:
            return None
        return int(slots[bucket])

    def entry_keys(self) -> Iterator[Key]:
        """The keys of all entries."""
        for slot in self.map.slots:
            yield Key(Kind.SLOT, (slot,))
        for vserver_id, slots in self.map.buckets.items():
            for bucket in range(len(slots)):
                yield Key(Kind.BUCKET, (vserver_id, bucket))

    def carries(self, slot: int) -> bool:
        """Whether any bucket is in a slot."""
        return self.map.load(slot) > 0

    def adopt(self, actual: Mapping[Key, Entry], weights: Mapping[int, int]) -> None:
        """Take over the map that a switch holds, completed where it has gaps [B7].

        Args:
            actual: all that was read back.
            weights: node id → weight, of the nodes that new buckets may go to.
        """
        if not self._nodes:
            return
        buckets = {vserver_id: np.full(size, UNASSIGNED) for vserver_id, size in self._sizes.items()}
        slots = {}
        for key, entry in actual.items():
            if key.kind is Kind.BUCKET and key.match[1] < self._sizes.get(key.match[0], 0):
                buckets[key.match[0]][key.match[1]] = entry.params[0]
            elif key.kind is Kind.SLOT:
                slots[key.match[0]] = entry.params[0]
        self.map = adopt(
            buckets,
            slots,
            sizes=self._sizes,
            weights=weights,
            configured=self._nodes.keys(),
            slots_per_node=self._slots_per_node,
        )

    def fail_over(self, down: Collection[int], survivors: Mapping[int, int]) -> tuple[SlotMove, ...]:
        """Re-point the slots of nodes that are down, or no longer configured [B3]."""
        unknown = {node_id for node_id in self.map.slots.values() if node_id not in self._nodes}
        moves = plan_failover(self.map, unknown.union(down), survivors, self._slots_per_node)
        self.map.apply(moves)
        self._revocable += moves
        return moves

    def revoke(self) -> tuple[SlotMove, ...]:
        """Point the slots that failed over since the last `settle` back at where they were [H2]."""
        first = {move.slot: move.from_node for move in reversed(self._revocable)}
        moves = tuple(
            SlotMove(slot=slot, from_node=self.map.slots[slot], to_node=node, reason=Reason.MASS_FAILURE)
            for slot, node in sorted(first.items())
            if self.map.slots[slot] != node
        )
        self.map.apply(moves)
        self._revocable.clear()
        return moves

    def settle(self) -> bool:
        """What failed over stays where it is: whether there was anything of that kind."""
        was_open = bool(self._revocable)
        self._revocable.clear()
        return was_open

    def tidy(self, limit: int) -> tuple[Move, ...]:
        """The next step of bringing buckets and slots home, at most `limit` buckets; nothing before `settle`."""
        if self._revocable:
            return ()
        moves = plan_tidy(self.map, self._slots_per_node, limit)
        self.map.apply(moves)
        return moves

    def rebalance(self, keys: Iterable[Key], weights: Mapping[int, int]) -> tuple[BucketMove, ...]:
        """Move those of some idle buckets that should be elsewhere [B4].

        Args:
            keys: `bucket` entries without an open connection.
            weights: node id → weight of the nodes that may serve; at least one above 0.
        """
        idle: dict[int, list[int]] = defaultdict(list)
        for key in keys:
            vserver_id, bucket = key.match
            if bucket < len(self.map.buckets.get(vserver_id, ())):
                idle[vserver_id].append(bucket)
        moves: list[BucketMove] = []
        for vserver_id, buckets in idle.items():
            found = plan_rebalance(self.map, vserver_id, buckets, weights, self._slots_per_node)
            self.map.apply(found)
            moves += found
        return tuple(moves)
