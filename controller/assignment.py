"""Which bucket is in which slot, and which slot points at which node: the map, kept by plans (`controller.planner`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from controller.actual import Actual, Rows, rows
from controller.adoption import adopt
from controller.buckets import UNASSIGNED, BucketMap, Move, Reason, SlotMove
from controller.entries import SPLIT_SLOT, Entry, Key, Kind
from controller.node_sets import members, node_sets
from controller.planner import plan_assignment, plan_failover, plan_tidy
from controller.transit import window_ticks
from pentaflow.config import AssignmentMode, Configuration, parse_mac

_NS_PER_S = 1_000_000_000


class Assignment:
    """The bucket map of an array and the entries that follow from it."""

    def __init__(self, configuration: Configuration) -> None:
        self.map = BucketMap()
        self._revocable: list[SlotMove] = []
        self._configure(configuration)

    def _configure(self, configuration: Configuration) -> None:
        self._nodes = {node.id: node for node in configuration.nodes}
        self._macs = {node_id: parse_mac(node.mac) for node_id, node in self._nodes.items()}
        self._sizes = {vserver.id: vserver.buckets for vserver in configuration.vservers}
        self._idle_ns = {vserver.id: int(vserver.idle_timeout_s * _NS_PER_S) for vserver in configuration.vservers}
        self._sets = node_sets(configuration)
        self._slots_per_node = configuration.controller.slots_per_node
        self._on_demand = {v.id for v in configuration.vservers if v.assignment is AssignmentMode.ON_DEMAND}

    def reconfigure(self, configuration: Configuration, weights: Mapping[int, int]) -> None:
        """Other vservers, nodes or timeouts from now on: the map stays as far as they do; what is new is filled.

        Args:
            configuration: vservers that remain have as many buckets as before.
            weights: node id → weight, of the nodes that new buckets may go to.
        """
        self._configure(configuration)
        if self._nodes:
            version = self.map.version
            self.map = adopt(
                self.map.buckets,
                self.map.slots,
                read_splits=self.map.splits,
                sizes=self._sizes,
                weights=weights,
                configured=self._nodes.keys(),
                slots_per_node=self._slots_per_node,
                on_demand=self._on_demand,
                members=members(self._sets),
            )
            self.map.version = version + 1

    def maybe_entry(self, switch: str, key: Key) -> Entry | None:
        """The entry that a `slot` or `bucket` key should have on a switch."""
        if key.kind is Kind.SLOT:
            node = self._nodes.get(self.map.slots.get(key.match[0], 0))
            if node is None or switch not in node.ports:
                return None
            return Entry((node.id, self._macs[node.id], node.ports[switch]))
        vserver_id, bucket = key.match
        slots = self.map.buckets.get(vserver_id)
        if slots is None or bucket >= len(slots) or slots[bucket] == UNASSIGNED:
            return None
        slot, old_slot = int(slots[bucket]), self.map.splits.get((vserver_id, bucket))
        idle_ns = self._idle_ns[vserver_id]
        if old_slot is None:
            return Entry((slot,), idle_ns)
        return Entry((slot, old_slot, window_ticks(idle_ns / _NS_PER_S)), idle_ns, SPLIT_SLOT)

    def bucket_rows(self, vserver_id: int) -> Rows:
        """The entries of all buckets of a vserver."""
        found = rows(self._sizes[vserver_id])
        if vserver_id not in self.map.buckets:
            return found
        found["slot"] = self.map.buckets[vserver_id]
        idle_ns = self._idle_ns[vserver_id]
        found["idle_timeout_ns"] = np.where(found["slot"] == UNASSIGNED, 0, idle_ns)
        for (split_vserver_id, bucket), old_slot in self.map.splits.items():
            if split_vserver_id == vserver_id:
                found["old_slot"][bucket], found["window"][bucket] = old_slot, window_ticks(idle_ns / _NS_PER_S)
        return found

    @property
    def sizes(self) -> Mapping[int, int]:
        """Vserver id → buckets."""
        return self._sizes

    def new_actual(self) -> Actual:
        """What an empty switch holds."""
        return Actual(self._sizes)

    def slot_keys(self) -> Iterator[Key]:
        """The keys of all `slot` entries."""
        return (Key(Kind.SLOT, (slot,)) for slot in self.map.slots)

    def carries(self, slot: int) -> bool:
        """Whether any bucket is in a slot, or may be at any moment."""
        return bool(self._on_demand) or self.map.load(slot) > 0

    def adopt(self, actual: Actual, weights: Mapping[int, int]) -> None:
        """Take over the map that a switch holds, completed where it has gaps [B7].

        Args:
            actual: all that was read back.
            weights: node id → weight, of the nodes that new buckets may go to.
        """
        if not self._nodes:
            return
        slots = {key.match[0]: entry.params[0] for key, entry in actual.others.items() if key.kind is Kind.SLOT}
        self.map = adopt(
            {vserver_id: found["slot"] for vserver_id, found in actual.buckets.items()},
            slots,
            read_splits=actual.splits(),
            sizes=self._sizes,
            weights=weights,
            configured=self._nodes.keys(),
            slots_per_node=self._slots_per_node,
            on_demand=self._on_demand,
            members=members(self._sets),
        )

    def assign(
        self,
        vserver_id: int,
        bucket: int,
        weights: Mapping[int, int],
        *,
        hits: Mapping[int, int],
        open_connections: Mapping[int, int],
    ) -> tuple[Move, ...]:
        """Give a bucket its first slot [B2]; arguments as for `planner.plan_assignment`.

        Returns:
            nothing if it has a slot, no such bucket is known, or nobody may serve it.
        """
        if bucket >= len(self.map.buckets.get(vserver_id, ())):
            return ()
        moves = plan_assignment(
            self.map,
            vserver_id,
            bucket,
            weights,
            self._slots_per_node,
            hits=hits,
            open_connections=open_connections,
        )
        self.map.apply(moves)
        return moves

    def fail_over(self, down: Collection[int], survivors: Mapping[int, int]) -> tuple[SlotMove, ...]:
        """Re-point the slots of nodes that are down, or no longer configured [B3]."""
        unknown = {node_id for node_id in self.map.slots.values() if node_id not in self._nodes}
        moves: tuple[SlotMove, ...] = ()
        for its in self._sets:
            # With several sets nothing is left on unknown nodes (`controller.adoption`).
            lost = its.node_ids.intersection(down) | (unknown if len(self._sets) == 1 else set())
            able = {node_id: weight for node_id, weight in survivors.items() if node_id in its.node_ids}
            moves += plan_failover(self.map, lost, able, self._slots_per_node)
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

    @property
    def is_revocable(self) -> bool:
        """Whether what failed over may still be revoked."""
        return bool(self._revocable)

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
