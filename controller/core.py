"""The controller's state and decisions, without I/O.

Shells report what they see (a switch read back, probe outcomes, digests, idle notices) and carry out the `Changes`
that come back: keys whose entries may differ from the switch's now. What an entry should be is asked of `maybe_entry`
when it is written, so start, reconnect, learning and failure all go desired → diff → apply the same way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from controller.addresses import probe_mac, vip_mac
from controller.buckets import BucketMap, BucketMove, Move, SlotMove, adopt
from controller.desired import fixed_entries, vserver_key
from controller.diff import batches, diff
from controller.entries import Entry, Key, Kind
from controller.events import EventKind, EventLog
from controller.health import Check, Health, NodeHealth, Outcome, Transition
from controller.planner import plan_failover, plan_rebalance, plan_tidy
from controller.stations import StationTable
from pentaflow.config import Configuration, parse_mac

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000
_TRANSITION_EVENTS = {
    Health.UP: EventKind.NODE_UP,
    Health.DOWN: EventKind.NODE_DOWN,
    Health.UNKNOWN: EventKind.NODE_UNKNOWN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Entries that a switch may have to be told of.

    Attributes:
        keys: which; those that are as they should be cost nothing.
        switch: the only switch concerned; None: all.
        urgent_for: name of the node whose failure this mends; such changes overtake all others.
        cause_event_id: id of the event that says so.
    """

    keys: tuple[Key, ...]
    switch: str | None = None
    urgent_for: str = ""
    cause_event_id: int = 0


class Core:
    """One array: configuration, bucket map, health of nodes, stations of switches, events."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        random_hash_keys: Mapping[int, int],
        station_capacity: int,
        events: EventLog,
        now_ns: int,
    ) -> None:
        """
        Args:
            configuration: the whole array.
            random_hash_keys: vserver id → 64-bit key, for vservers that have none configured and none on a switch.
            station_capacity: stations that a switch can learn.
            events: where to write down what happens.
            now_ns: the monotonic clock.
        """
        self.configuration = configuration
        self.events = events
        self.map = BucketMap()
        self.nodes = {node.id: node for node in configuration.nodes}
        self.vservers = {vserver.id: vserver for vserver in configuration.vservers}
        health = configuration.controller.health
        self.health = {
            node_id: NodeHealth(node_id=node_id, rise=health.rise, fall=health.fall, since_ns=now_ns)
            for node_id in self.nodes
        }
        reserved = frozenset(
            [probe_mac(switch.probe_address) for switch in configuration.switches]
            + [vip_mac(vserver.vip) for vserver in configuration.vservers]
        )
        self.stations = {
            switch.name: StationTable(
                reserved=reserved, capacity=station_capacity, ageing_ns=int(switch.mac_ageing_s * _NS_PER_S)
            )
            for switch in configuration.switches
        }
        self._switches = {switch.name: switch for switch in configuration.switches}
        self._macs = {node_id: parse_mac(node.mac) for node_id, node in self.nodes.items()}
        self._slots_per_node = configuration.controller.slots_per_node
        self._random_hash_keys = random_hash_keys
        self._fixed: dict[str, dict[Key, Entry]] = {}
        self._idle_ns = {v.id: int(v.idle_timeout_s * _NS_PER_S) for v in configuration.vservers}
        self._stations_adopted: set[str] = set()

    # Desired state.

    def maybe_entry(self, switch: str, key: Key) -> Entry | None:
        """The entry that a switch should have under this key; None: there should be none."""
        match key.kind:
            case Kind.SLOT:
                node = self.nodes.get(self.map.slots.get(key.match[0], 0))
                if node is None or switch not in node.ports:
                    return None
                return Entry((node.id, self._macs[node.id], node.ports[switch]))
            case Kind.BUCKET:
                vserver_id, bucket = key.match
                slots = self.map.buckets.get(vserver_id, ())
                return Entry((slots[bucket],), self._idle_ns[vserver_id]) if bucket < len(slots) else None
            case Kind.SMAC:
                return self.stations[switch].maybe_entry(key)
            case Kind.DMAC:
                return self._fixed[switch].get(key) or self.stations[switch].maybe_entry(key)
            case _:
                return self._fixed[switch].get(key)

    def _keys(self, switch: str) -> Iterator[Key]:
        yield from self._fixed[switch]
        yield from self.stations[switch].entry_keys()
        for slot in self.map.slots:
            yield Key(Kind.SLOT, (slot,))
        for vserver_id, slots in self.map.buckets.items():
            for bucket in range(len(slots)):
                yield Key(Kind.BUCKET, (vserver_id, bucket))

    # Switches.

    def reconcile(self, switch: str, actual: Mapping[Key, Entry]) -> list[list[Key]]:
        """A switch was read back: what to write, in batches one after the other [B7].

        The first switch that is read gives the bucket map and hash keys that are in use; each gives its stations once.
        """
        if not self._fixed:
            self._adopt(actual)
        if switch not in self._stations_adopted:
            self._stations_adopted.add(switch)
            self.stations[switch].adopt(actual)
        return self.batches_of(switch, dict.fromkeys([*self._keys(switch), *actual]), actual)

    def batches_of(self, switch: str, keys: Iterable[Key], actual: Mapping[Key, Entry]) -> list[list[Key]]:
        """What to write of these keys, in batches one after the other."""
        updates = diff(keys, lambda key: self.maybe_entry(switch, key), actual)
        return batches(updates, lambda slot: self.map.load(slot) > 0)

    def reconciled(self, switch: str, updates: int, started_ns: int, now_ns: int) -> None:
        """A switch has everything that it should have."""
        duration_ms = (now_ns - started_ns) / _NS_PER_MS
        self.events.add(EventKind.SWITCH_RECONCILED, now_ns, switch=switch, updates=updates, duration_ms=duration_ms)

    def lost(self, switch: str, reason: str, now_ns: int) -> Changes | None:
        """A switch cannot be reached: it goes on forwarding, but probes through it say nothing any more."""
        self.events.add(EventKind.SWITCH_LOST, now_ns, switch=switch, reason=reason)
        moves: list[SlotMove] = []
        for health in self.health.values():
            if transition := health.forget(switch, now_ns):
                self._record(transition, now_ns)
                moves += self._fail_over()
        return Changes(keys=_keys_of(moves)) if moves else None

    def applied(self, switch: str, changes: Changes, updates: int, decided_ns: int, now_ns: int) -> None:
        """Urgent changes were written and acknowledged."""
        self.events.add(
            EventKind.SLOTS_MOVED,
            now_ns,
            node=changes.urgent_for,
            cause=changes.cause_event_id,
            switch=switch,
            updates=updates,
            duration_ms=(now_ns - decided_ns) / _NS_PER_MS,
        )

    def _adopt(self, actual: Mapping[Key, Entry]) -> None:
        hash_keys = {}
        for vserver in self.vservers.values():
            found = actual.get(vserver_key(vserver))
            if vserver.hash_key:
                hash_keys[vserver.id] = int(vserver.hash_key.get_secret_value(), 16)
            else:
                hash_keys[vserver.id] = found.params[3] if found else self._random_hash_keys[vserver.id]
        for switch in self._switches.values():
            self._fixed[switch.name] = fixed_entries(self.configuration, switch, hash_keys)
        if not self.nodes:
            return
        read_buckets: dict[int, dict[int, int]] = defaultdict(dict)
        read_slots = {}
        for key, entry in actual.items():
            if key.kind is Kind.BUCKET:
                read_buckets[key.match[0]][key.match[1]] = entry.params[0]
            elif key.kind is Kind.SLOT:
                read_slots[key.match[0]] = entry.params[0]
        all_weights = {node_id: node.weight for node_id, node in self.nodes.items()}
        weights = {n: weight for n, weight in all_weights.items() if self.health[n].state is not Health.DOWN}
        self.map = adopt(
            read_buckets,
            read_slots,
            sizes={vserver.id: vserver.buckets for vserver in self.vservers.values()},
            weights=weights or all_weights,
            configured=self.nodes.keys(),
            slots_per_node=self._slots_per_node,
        )
        self._fail_over()

    # Health.

    def observe(self, node_id: int, check: Check, outcome: Outcome, now_ns: int) -> Changes | None:
        """A check of a node has ended."""
        transition = self.health[node_id].observe(check, outcome, now_ns)
        if transition is None:
            return None
        event_id = self._record(transition, now_ns)
        moves = self._fail_over()
        if not moves:
            return None
        return Changes(keys=_keys_of(moves), urgent_for=self.nodes[node_id].name, cause_event_id=event_id)

    def _record(self, transition: Transition, now_ns: int) -> int:
        details: dict[str, str | float] = {"node": self.nodes[transition.node_id].name, "reason": transition.reason}
        if transition.after is Health.DOWN:
            details["detection_ms"] = (now_ns - transition.failing_since_ns) / _NS_PER_MS
        return self.events.add(_TRANSITION_EVENTS[transition.after], now_ns, **details).id

    def _fail_over(self) -> tuple[SlotMove, ...]:
        down = {
            node_id
            for node_id in set(self.map.slots.values())
            if node_id not in self.nodes or self.health[node_id].state is Health.DOWN
        }
        moves = plan_failover(self.map, down, self._survivors(), self._slots_per_node)
        self.map.apply(moves)
        return moves

    def _survivors(self) -> dict[int, int]:
        """Who takes over: nodes that are up, else those not known to be down, else those kept for maintenance."""
        for state, in_service in ((Health.UP, True), (Health.UNKNOWN, True), (Health.UP, False)):
            found = {
                node_id: node.weight or 1
                for node_id, node in self.nodes.items()
                if self.health[node_id].state is state and bool(node.weight) is in_service
            }
            if found:
                return found
        return {}

    # Background.

    def tidy(self, limit: int) -> Changes | None:
        """The next step of bringing buckets and slots home, at most `limit` buckets; None when all are."""
        return self._apply(plan_tidy(self.map, self._slots_per_node, limit))

    def bucket_idle(self, keys: Iterable[Key], now_ns: int) -> Changes | None:
        """The switch reports that these buckets are idle now: those that should be elsewhere move.

        With several switches nothing moves: a bucket that is idle on one may be in use on another.
        """
        states = {health.state for health in self.health.values()}
        weights = {n: node.weight for n, node in self.nodes.items() if self.health[n].state is Health.UP}
        if len(self._switches) > 1 or Health.UNKNOWN in states or not any(weights.values()):
            return None
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
        if not moves:
            return None
        self.events.add(EventKind.BUCKETS_MOVED, now_ns, buckets=len(moves), reason=moves[0].reason)
        return Changes(keys=_keys_of(moves))

    def _apply(self, moves: tuple[Move, ...]) -> Changes | None:
        self.map.apply(moves)
        return Changes(keys=_keys_of(moves)) if moves else None

    # Layer 2.

    def learn(self, switch: str, stations: Iterable[tuple[int, int, int]], now_ns: int) -> Changes | None:
        """Frames came from (VLAN id, MAC, port) that the switch does not know."""
        table = self.stations[switch]
        was_full = table.is_full
        keys = [key for station in stations for key in table.learn(*station)]
        if table.is_full and not was_full:
            self.events.add(EventKind.STATIONS_FULL, now_ns, switch=switch, stations=len(table))
        return Changes(keys=tuple(keys), switch=switch) if keys else None

    def station_idle(self, switch: str, keys: Iterable[Key]) -> Changes | None:
        """The switch reports that these `smac` entries are idle."""
        changed = [found for key in keys for found in self.stations[switch].age(*key.match)]
        return Changes(keys=tuple(changed), switch=switch) if changed else None


def _keys_of(moves: Iterable[Move]) -> tuple[Key, ...]:
    return tuple(
        Key(Kind.SLOT, (move.slot,)) if isinstance(move, SlotMove) else Key(Kind.BUCKET, (move.vserver_id, move.bucket))
        for move in moves
    )
