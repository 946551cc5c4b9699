"""The controller's state and decisions, without I/O.

Shells report what they see (a switch read back, probe outcomes, digests, idle notices) and carry out the `Changes`
that come back: keys whose entries may differ from the switch's now. What an entry should be is asked of `maybe_entry`
when it is written, so start, reconnect, learning and failure all go desired → diff → apply the same way.

Each concern has a room of its own, this one connects them: `availability` (nodes), `assignment` (buckets), `balancing`
(where buckets should be, and how they get there), `election` (active switches), `views` (what each switch sees),
`stations` (layer 2), `desired` (what the configuration says), `preview` (what another one would move).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from controller.actual import Actual
from controller.addresses import vip_mac
from controller.adoption import FirstRead
from controller.agents import Agents
from controller.alarms import Alarm, AlarmKey, AlarmKind, Alarms
from controller.announcements import announcement
from controller.assignment import Assignment
from controller.availability import Availability
from controller.balancing import Balancing
from controller.buckets import BucketMap, SlotMove
from controller.changes import Changes, keys_of
from controller.connections import BucketFunction
from controller.desired import announced_in, fixed_entries, vip_keys, vserver_key
from controller.diff import batches, diff, diff_buckets
from controller.election import Election, Step, Transition
from controller.entries import Entry, Key, Kind
from controller.events import EventKind, EventLog
from controller.guard import Verdict
from controller.health import Check, CheckKind, NodeHealth, Outcome
from controller.history import History
from controller.intents import Intent
from controller.key_watch import KeyWatch
from controller.plan import Plan
from controller.preview import preview
from controller.stations import Stations
from controller.ticket_keys import TicketKeys
from controller.views import Views
from controller.withdrawal import announced_vips
from pentaflow.config import AssignmentMode, Configuration, NodeState, Vserver

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """Frames to send out of all ports of a switch."""

    switch: str
    frames: tuple[bytes, ...]


class Core:
    """One array: configuration, bucket map, health of nodes, stations of switches, events."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        random_hash_keys: Mapping[int, int],
        station_capacity: int,
        transit_cells: int,
        events: EventLog,
        now_ns: int,
        kept_intents: Mapping[int, Intent] | None = None,
    ) -> None:
        """
        Args:
            configuration: the whole array.
            random_hash_keys: vserver id → 64-bit key, for vservers that have none configured and none on a switch.
            station_capacity: stations that a switch can learn.
            transit_cells: cells of each register of a switch's transit filter.
            events: where to write down what happens.
            now_ns: the monotonic clock.
            kept_intents: node id → what an operator has set.
        """
        self.events = events
        self.availability = Availability(configuration, events, now_ns, kept_intents=kept_intents)
        self.assignment = Assignment(configuration)
        self.history = History()
        self.balancing = Balancing(configuration, self.assignment, self.availability, events, transit_cells)
        self.election = Election(configuration)
        self.views = Views(configuration)
        self.stations = Stations(configuration, station_capacity, events)
        self._random_hash_keys = dict(random_hash_keys)
        self._fixed: dict[str, dict[Key, Entry]] = {}
        self.hash_keys: dict[int, int] = {}  # vserver id → the key in use, once a switch was read
        self._announced = frozenset(vserver.vip for vserver in configuration.vservers)
        self._first_read = FirstRead(now_ns)
        self._lost: dict[str, str] = {}
        self._alarms = Alarms(events)
        self.agents = Agents()
        self._lagging: dict[str, str] = {}
        self.ticket_keys = TicketKeys(events)
        self.key_watch = KeyWatch(self.ticket_keys, self.availability)
        self._key_alarms: dict[AlarmKey, str] = {}
        self._configure(configuration)

    def _configure(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.nodes = {node.id: node for node in configuration.nodes}
        self._switches = {switch.name: switch for switch in configuration.switches}
        self._vservers = {vserver.id: vserver for vserver in configuration.vservers}
        self._vips = {vserver.name: vserver.vip for vserver in configuration.vservers}
        self.key_watch.reconfigure(configuration)

    def reconfigure(
        self, configuration: Configuration, random_hash_keys: Mapping[int, int], now_ns: int
    ) -> tuple[Changes, ...]:
        """Another configuration is in force: every switch must be compared anew (`reconcile`), after these changes.

        A switch that is no longer configured gives up all VIPs.

        Args:
            configuration: `controller.changeover` allows it after the present one.
            random_hash_keys: as for `__init__`.
            now_ns: the monotonic clock.
        """
        removed = self._switches.keys() - {switch.name for switch in configuration.switches}
        left = [
            Changes(keys=vip_keys(vip), switch=switch, vip=vip)
            for switch in sorted(removed)
            for vip in dict.fromkeys(self._vips.values())
        ]
        vips = {vserver.vip for vserver in configuration.vservers}
        self._announced = (self._announced & vips) | (vips - set(self._vips.values()))
        self._configure(configuration)
        self.stations.reconfigure(configuration)
        self._random_hash_keys |= random_hash_keys
        self.availability.reconfigure(configuration, now_ns)
        self.assignment.reconfigure(configuration, self.availability.initial_weights())
        self.balancing.reconfigure(configuration)
        steps = self.election.reconfigure(configuration, now_ns)
        self.views.reconfigure(configuration)
        self.history.keep(self._vservers)
        self._lost = {switch: reason for switch, reason in self._lost.items() if switch in self._switches}
        if self._fixed:
            known, self.hash_keys = self.hash_keys, {}
            for vserver in configuration.vservers:
                self.hash_keys[vserver.id] = known.get(vserver.id, self._new_hash_key(vserver))
            self._fixed = self._make_fixed()
        following = self._follow(now_ns)
        fenced = self._carried_out(step for step in steps if step.switch in self._switches)
        return (*left, *fenced, *((following,) if following else ()))

    def _new_hash_key(self, vserver: Vserver) -> int:
        if vserver.hash_key:
            return int(vserver.hash_key.get_secret_value(), 16)
        return self._random_hash_keys[vserver.id]

    def connections_at_risk(self, plan: Plan, now_ns: int) -> int | None:
        """Connections open in the buckets of a plan, as far as is known."""
        return self.balancing.connections_at_risk(plan, now_ns)

    def plan(self, configuration: Configuration, states: Mapping[int, NodeState]) -> Plan:
        """What would move with another configuration, and other states of nodes.

        Raises:
            ConfigurationError: nobody would serve.
        """
        return preview(self.map, configuration, self.availability.intents, states, self.health)

    @property
    def map(self) -> BucketMap:
        """The bucket map."""
        return self.assignment.map

    @property
    def health(self) -> Mapping[int, NodeHealth]:
        """Node id → what was observed of it."""
        return self.availability.health

    # Desired state.

    def maybe_entry(self, switch: str, key: Key) -> Entry | None:
        """The entry that a switch should have under this key; None: there should be none."""
        match key.kind:
            case Kind.SLOT | Kind.BUCKET:
                return self.assignment.maybe_entry(switch, key)
            case Kind.SMAC:
                return self.stations.tables[switch].maybe_entry(key)
            case Kind.DMAC:
                return self._fixed[switch].get(key) or self.stations.tables[switch].maybe_entry(key)
            case _:
                return self._fixed.get(switch, {}).get(key)

    def _keys_but_buckets(self, switch: str) -> Iterator[Key]:
        yield from self._fixed[switch]
        yield from self.stations.tables[switch].entry_keys()
        yield from self.assignment.slot_keys()

    # Switches.

    def reconcile(self, switch: str, actual: Actual, now_ns: int) -> Iterator[list[Key]]:
        """A switch was read back: what to write, in batches one after the other [B7].

        The first one gives the bucket map and hash keys that are in use (`may_reconcile`); each its stations once. VIPs
        that it holds stay on it, unless another switch is active for them.
        """
        self._record(self.election.found(switch, announced_in(actual.others, self.configuration), now_ns), now_ns)
        if not self._fixed:
            self._adopt(actual)
        self._fixed[switch] = self._make_fixed_of(switch)
        self.stations.adopt(switch, actual.others)
        keys = dict.fromkeys([*self._keys_but_buckets(switch), *actual.others])
        updates = diff(keys, lambda key: self.maybe_entry(switch, key), actual)
        bucket_diffs = [
            diff_buckets(vserver_id, self.assignment.bucket_rows(vserver_id), found)
            for vserver_id, found in actual.buckets.items()
        ]
        return batches(updates, self.assignment.carries, bucket_diffs)

    def may_reconcile(self, switch: str, actual: Actual, now_ns: int) -> bool:
        """Whether a switch that was read back may be reconciled now; else ask again soon."""
        holds_vip = bool(announced_in(actual.others, self.configuration))
        return bool(self._fixed) or self._first_read.is_it(switch, self._switches, holds_vip=holds_vip, now_ns=now_ns)

    def batches_of(self, switch: str, keys: Iterable[Key], actual: Mapping[Key, Entry]) -> Iterator[list[Key]]:
        """What to write of these keys, in batches one after the other."""
        updates = diff(keys, lambda key: self.maybe_entry(switch, key), actual)
        return batches(updates, self.assignment.carries)

    def reconciled(self, switch: str, updates: int, started_ns: int, now_ns: int) -> None:
        """A switch has everything that it should have."""
        duration_ms = (now_ns - started_ns) / _NS_PER_MS
        self.events.add(EventKind.SWITCH_RECONCILED, now_ns, switch=switch, updates=updates, duration_ms=duration_ms)
        self._lost.pop(switch, None)
        self.election.ready(switch, now_ns)
        self._raise_alarms(now_ns)

    def lost(self, switch: str, reason: str, now_ns: int) -> tuple[Changes, ...]:
        """A switch cannot be reached: it goes on forwarding, but probes through it say nothing any more.

        Who takes over brings what it has seen of the nodes, so that nothing is unknown in between.
        """
        if switch not in self._switches:
            return ()
        self.events.add(EventKind.SWITCH_LOST, now_ns, switch=switch, reason=reason)
        self._lost[switch] = reason
        self.election.lost(switch, now_ns)
        self.views.forget(switch)
        moved = self.elect(now_ns)
        self.availability.forget(switch, now_ns)
        following = self._follow(now_ns)
        return (*moved, following) if following else moved

    def applied(self, switch: str, changes: Changes, updates: int, decided_ns: int, now_ns: int) -> tuple[Changes, ...]:
        """Urgent changes were written and acknowledged: what they lead to."""
        if changes.vip is not None:
            return self._carried_out(self.election.written(switch, changes.vip, now_ns))
        if changes.is_assignment:
            return ()
        self.events.add(
            EventKind.SLOTS_MOVED,
            now_ns,
            node=changes.urgent_for,
            cause=changes.cause_event_id,
            switch=switch,
            updates=updates,
            duration_ms=(now_ns - decided_ns) / _NS_PER_MS,
        )
        return ()

    def _adopt(self, actual: Actual) -> None:
        hash_keys = self.hash_keys
        for vserver in self.configuration.vservers:
            found = actual.get(vserver_key(vserver))
            hash_keys[vserver.id] = found.params[3] if found and not vserver.hash_key else self._new_hash_key(vserver)
        self._fixed = self._make_fixed()
        self.assignment.adopt(actual, self.availability.initial_weights())
        self._fail_over()
        self.assignment.settle()

    def _make_fixed(self) -> dict[str, dict[Key, Entry]]:
        return {name: self._make_fixed_of(name) for name in self._switches}

    def _make_fixed_of(self, switch: str) -> dict[Key, Entry]:
        announced = self._announced & self.election.held_by(switch)
        return fixed_entries(self.configuration, self._switches[switch], self.hash_keys, announced)

    # Active switches.

    def elect(self, now_ns: int) -> tuple[Changes, ...]:
        """Decide which switches are active [H3]; call it several times in the shortest time that matters."""
        split = {vserver_id for vserver_id, _ in self.map.splits}
        moving = {vserver.vip for vserver in self.configuration.vservers if vserver.id in split}
        transitions, steps = self.election.decide(now_ns, moving)
        self._record(transitions, now_ns)
        moved = self._carried_out(steps)
        changed = False
        for transition in transitions:
            vservers = [name for name, vip in self._vips.items() if vip == transition.vip]
            for node_id, check, outcome in self.views.of(transition.after, vservers):
                changed |= bool(self.availability.observe(node_id, check, outcome, now_ns))
            if transition.before and not self.election.is_active(transition.before):
                changed |= self.availability.forget(transition.before, now_ns)
        following = self._follow(now_ns) if changed else None
        return (*moved, following) if following else moved

    def announcements(self, now_ns: int) -> list[Announcement]:
        """What is to be told to the LAN now."""
        return [
            Announcement(switch=step.switch, frames=announcement(step.vip, vip_mac(step.vip)))
            for step in self.election.announcements(now_ns)
            if step.vip in self._announced
        ]

    def _carried_out(self, steps: Iterable[Step]) -> tuple[Changes, ...]:
        changes = []
        for step in steps:
            if self._fixed:
                self._fixed[step.switch] = self._make_fixed_of(step.switch)
            changes.append(Changes(keys=vip_keys(step.vip), switch=step.switch, vip=step.vip))
        return tuple(changes)

    def _record(self, transitions: Iterable[Transition], now_ns: int) -> None:
        for moved in transitions:
            details = {"vip": str(moved.vip), "before": moved.before, "after": moved.after, "reason": moved.reason}
            self.events.add(EventKind.VIP_MOVED, now_ns, **details)

    # Nodes.

    def observe(self, node_id: int, check: Check, outcome: Outcome, now_ns: int) -> Changes | None:
        """A check of a node has ended. Of the probes, those through the VIP's active switch count."""
        if check.kind is CheckKind.PATH:
            if check.switch not in self._switches:
                return None
            self.views.observe(node_id, check, outcome)
            works = self.views.maybe_path_works(check.switch, now_ns)
            if works is not None:
                self.election.path(check.switch, works=works, now_ns=now_ns)
            if self.election.active(self._vips[check.vserver]) != check.switch:
                return None
            if not self.views.counts(node_id, check, outcome):
                return None
        event_id = self.availability.observe(node_id, check, outcome, now_ns)
        return self._follow(now_ns, urgent_for=self.nodes[node_id].name, cause=event_id) if event_id else None

    def set_intent(self, node_id: int, intent: Intent, now_ns: int) -> Changes | None:
        """An operator intends something else with a node."""
        return self._follow(now_ns) if self.availability.set_intent(node_id, intent, now_ns) else None

    def clear_intent(self, node_id: int, now_ns: int) -> Changes | None:
        """An operator leaves a node to what the configuration says."""
        return self._follow(now_ns) if self.availability.clear_intent(node_id, now_ns) else None

    def clear_penalty(self, node_id: int, now_ns: int) -> Changes | None:
        """An operator forgives a node that it flapped."""
        return self._follow(now_ns) if self.availability.clear_penalty(node_id, now_ns) else None

    def confirm_mass_failure(self, now_ns: int) -> Changes | None:
        """An operator says that the nodes for which the map is held are really lost."""
        return self._follow(now_ns, self.availability.confirm(now_ns)) if self.availability.guard.is_holding else None

    def watch_ticket_keys(self, now_ns: int) -> Changes | None:
        """What follows from who has which ticket keys, and is shown which tickets; to be asked about once a second."""
        alarms = self.key_watch.alarm_reasons(now_ns)
        if alarms != self._key_alarms:
            self._key_alarms = alarms
            self._raise_alarms(now_ns)
        return self._follow(now_ns) if self.key_watch.hold_back(now_ns) else None

    def alarms(self) -> list[Alarm]:
        """What is wrong now, oldest first."""
        return self._alarms.active()

    def tick(self, limit: int, now_ns: int) -> Changes | None:
        """Time has passed: what waited for that; `limit` as for `tidy`."""
        lagging = self.agents.lagging(now_ns)
        if lagging != self._lagging:
            self._lagging = lagging
            self._raise_alarms(now_ns)
        guard = self.availability.guard
        if guard.is_holding:
            return (
                self._follow(now_ns, verdict)
                if (verdict := self.availability.judge(now_ns)) is Verdict.RELEASED
                else None
            )
        return self.tidy(limit) if guard.is_settled(now_ns) and self.assignment.settle() else None

    def _follow(
        self, now_ns: int, verdict: Verdict | None = None, *, urgent_for: str = "", cause: int = 0
    ) -> Changes | None:
        """What follows from a change of nodes' health or intent, for slots, VIPs and alarms."""
        match verdict or self.availability.judge(now_ns):
            case Verdict.TRIPPED:
                moves = self.assignment.revoke()
            case Verdict.HOLDING:
                moves = ()
            case Verdict.OPEN | Verdict.RELEASED:
                moves = self._fail_over()
        self.history.record(moves, now_ns)
        keys = keys_of(moves) + self._announce(now_ns)
        self._raise_alarms(now_ns)
        if not keys:
            return None
        return Changes(keys=keys, urgent_for=urgent_for if moves else "", cause_event_id=cause)

    def _fail_over(self) -> tuple[SlotMove, ...]:
        survivors = self.availability.survivors()
        return self.assignment.fail_over(self.availability.down() - survivors.keys(), survivors)

    def _announce(self, now_ns: int) -> tuple[Key, ...]:
        """Withdraw VIPs that nobody serves and give back those that somebody does [H2]: the entries that change."""
        before = self._announced
        self._announced = announced_vips(
            self.configuration.vservers,
            self.availability.served(),
            before=before,
            withdraws=self.configuration.controller.health.vip_withdrawal,
            is_held=self.availability.guard.is_holding,
        )
        for kind, vips in (
            (EventKind.VIPS_WITHDRAWN, before - self._announced),
            (EventKind.VIPS_ANNOUNCED, self._announced - before),
        ):
            if vips:
                self.events.add(
                    kind, now_ns, vips=", ".join(map(str, sorted(vips, key=lambda vip: (vip.version, int(vip)))))
                )
        self.election.announce(self._announced - before, now_ns)
        if self._announced == before or not self._fixed:
            return ()
        old, self._fixed = self._fixed, self._make_fixed()
        changed = {key for name, entries in self._fixed.items() for key, _ in entries.items() ^ old[name].items()}
        return tuple(sorted(changed))

    def _raise_alarms(self, now_ns: int) -> None:
        reasons = self.availability.alarm_reasons()
        served = self.availability.served() if self.nodes else {v.id for v in self.configuration.vservers}
        for vserver in self.configuration.vservers:
            if vserver.id not in served:
                state = "announced still" if vserver.vip in self._announced else "withdrawn"
                reasons[AlarmKey(AlarmKind.NO_HEALTHY_NODE, vserver.name)] = f"no node serves {vserver.vip}, {state}"
        for switch, reason in self._lost.items():
            reasons[AlarmKey(AlarmKind.SWITCH_LOST, switch)] = reason
        for node, reason in self._lagging.items():
            reasons[AlarmKey(AlarmKind.NODE_CONFIGURATION, node)] = reason
        self._alarms.set(reasons | self._key_alarms, now_ns)

    # Buckets on demand.

    @property
    def assigns_on_demand(self) -> bool:
        """Whether any vserver's buckets are assigned on demand."""
        return any(v.assignment is AssignmentMode.ON_DEMAND for v in self.configuration.vservers)

    def assign(self, vserver_id: int, bucket: int, now_ns: int) -> Changes | None:
        """A packet came for a bucket without a slot [B2]; None: it has one now, or there is nobody to serve it.

        The node with fewest of the vserver's buckets per weight gets it, then who had fewest connections, then who has
        fewest open. No event tells of single buckets; `history` keeps when and why.
        """
        vserver = self._vservers.get(vserver_id)
        if vserver is None:
            return None
        able = {node.id for node in self.configuration.serving(vserver)}
        weights = self.availability.serving_weights()
        if not any(weights.get(node_id) for node_id in able):
            weights = self.availability.survivors()
        weights = {node_id: weight for node_id, weight in weights.items() if node_id in able}
        hits, open_connections = self.balancing.loads.of_nodes(vserver.name)
        moves = self.assignment.assign(vserver_id, bucket, weights, hits=hits, open_connections=open_connections)
        self.history.record(moves, now_ns)
        return Changes(keys=keys_of(moves), is_assignment=True) if moves else None

    # Background.

    def tidy(self, limit: int) -> Changes | None:
        """The next step of bringing buckets and slots home, at most `limit` buckets; None when all are."""
        moves = self.assignment.tidy(limit)
        return Changes(keys=keys_of(moves)) if moves else None

    def bucket_idle(self, switch: str, keys: Iterable[Key], now_ns: int) -> Changes | None:
        """A switch reports that these buckets are idle now: what moves at once.

        Only the active switch sees a VIP's packets, and it has not seen those from before its take-over: that counts as
        a packet to every bucket [B8].
        """
        found = [(key.match[0], key.match[1]) for key in keys if self._is_idle(switch, key, now_ns)]
        return self.advance(now_ns) if self.balancing.idle(found, now_ns) else None

    def written(self, ready: Collection[str], now_ns: int) -> None:
        """Of all that was decided, nothing waits to be written to these switches."""
        active = {self.election.active(vserver.vip) for vserver in self.configuration.vservers}
        if active <= set(ready):
            self.balancing.written(now_ns)

    def advance(self, now_ns: int) -> Changes | None:
        """The next step of moving buckets to where they are meant to be; to be asked about once a second."""
        moves = self.balancing.advance(now_ns) if self._fixed else ()
        self.history.record(moves, now_ns)
        return Changes(keys=keys_of(moves)) if moves else None

    def bucket_functions(self) -> dict[int, dict[int, BucketFunction]]:
        """Node id → vserver id → bucket function: whose open connections somebody must know."""
        functions = self.all_bucket_functions()
        return {
            node_id: {vserver_id: functions[vserver_id] for vserver_id in sorted(ids & functions.keys())}
            for node_id, ids in self.balancing.wanted().items()
        }

    def all_bucket_functions(self) -> dict[int, BucketFunction]:
        """Vserver id → bucket function, of those that TLS nodes serve and whose hash key is known."""
        return {
            vserver.id: BucketFunction(
                name=vserver.name,
                kind=vserver.hash,
                hash_key=self.hash_keys[vserver.id],
                buckets=vserver.buckets,
            )
            for vserver in self.configuration.vservers
            if vserver.id in self.hash_keys and vserver.mode.is_proxied
        }

    def _is_idle(self, switch: str, key: Key, now_ns: int) -> bool:
        vserver = self._vservers.get(key.match[0])
        if vserver is None:
            return False
        return self.election.has_rested(switch, vserver.vip, int(vserver.idle_timeout_s * _NS_PER_S), now_ns)

    # Layer 2.

    def learn(self, switch: str, stations: Iterable[tuple[int, int, int]], now_ns: int) -> Changes | None:
        """Frames came from (VLAN id, MAC, port) that the switch does not know."""
        keys = self.stations.learn(switch, stations, now_ns)
        return Changes(keys=keys, switch=switch) if keys else None

    def station_idle(self, switch: str, keys: Iterable[Key]) -> Changes | None:
        """The switch reports that these `smac` entries are idle."""
        changed = self.stations.age(switch, keys)
        return Changes(keys=changed, switch=switch) if changed else None
