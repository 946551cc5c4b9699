"""Keeps buckets where they are meant to be: compares weights and intents with the map, plans, and follows the plan.

A new plan is made when the weights that are meant have changed (a node is up again, was added, is drained, has another
weight) or when the last one is over and the map is another one. Nothing is planned while the health of a node is not
known, or while failures may yet turn out to be none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from controller.assignment import Assignment
from controller.availability import Availability
from controller.buckets import BucketMove, Reason
from controller.connections import OpenConnections
from controller.events import EventKind, EventLog
from controller.loads import Loads
from controller.moves import MoveLimits, Moves, Progress, View, VserverTraits, Way
from controller.node_sets import node_sets
from controller.plan import Plan
from controller.planner import make_plan
from controller.transit import flow_limit
from pentaflow.config import Configuration, NodeState, Vserver
from pentaflow.modes import Protocol

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000


class _Wanted(NamedTuple):
    weights: dict[int, int]
    deadlines: dict[int, int | None]
    members: dict[int, frozenset[int]]  # of the vservers that can be planned for


class MovesStatus(NamedTuple):
    """How far buckets that move are.

    Attributes:
        reason: why they do.
        started_ns: since when, monotonic; 0: nothing moves.
        estimate_ns: when they are there if it goes on like this, deadlines considered; None: nothing can be said.
        progress: by node and vserver.
    """

    reason: Reason
    started_ns: int
    estimate_ns: int | None
    progress: list[Progress]


class Balancing:
    """The plans of an array, and the one that is carried out now."""

    def __init__(
        self,
        configuration: Configuration,
        assignment: Assignment,
        availability: Availability,
        events: EventLog,
        transit_cells: int,
    ) -> None:
        """`transit_cells`: of each of the two registers of the switch's transit filter."""
        self.connections = OpenConnections()
        self.loads = Loads()
        self._assignment = assignment
        self._availability = availability
        self._events = events
        self._flow_limit = flow_limit(transit_cells)
        self._moves = Moves(MoveLimits(flows=self._flow_limit), {}, slots_per_node=1, patience_ns=0)
        self.reconfigure(configuration)
        self._planned: _Wanted | None = None
        self._planned_version = -1
        self._reason = Reason.REBALANCE
        self._started_ns = 0
        self._leaving_since: dict[int, int] = {}
        self._drained: set[int] = set()

    def reconfigure(self, configuration: Configuration) -> None:
        """Other nodes, vservers or rules from now on; `assignment` and `availability` have them already."""
        self._rule = configuration.controller.moves
        self._nodes = {node.id: node for node in configuration.nodes}
        self._names = {vserver.id: vserver.name for vserver in configuration.vservers}
        self._sets = node_sets(configuration)
        told = {vserver.id for vserver in configuration.vservers if _way(vserver) is Way.ASK}
        self._told_by: dict[int, set[int]] = {node_id: set() for node_id in self._nodes}
        for its in self._sets:
            for node_id in its.node_ids:
                self._told_by[node_id] |= told.intersection(its.vserver_ids)
        self._moves.reconfigure(
            MoveLimits(flows=self._flow_limit, split=self._rule.max_split),
            {v.id: VserverTraits(v.buckets, v.idle_timeout_s, _way(v)) for v in configuration.vservers},
            slots_per_node=configuration.controller.slots_per_node,
            patience_ns=int(self._rule.rebalance_deadline_s * _NS_PER_S),
        )

    # What is seen.

    @property
    def is_moving(self) -> bool:
        """Whether buckets wait or are split: only then has anybody to know how busy vservers are."""
        return not self._moves.is_done

    def idle(self, buckets: Iterable[tuple[int, int]], now_ns: int) -> bool:
        """The switches that serve these (vserver id, bucket) say that they are idle: whether any has to move now."""
        return self._moves.idle(buckets, now_ns)

    def written(self, now_ns: int) -> None:
        """Every switch that serves holds what was decided until now."""
        self._moves.written(now_ns)

    def wanted(self) -> dict[int, set[int]]:
        """Node id → vservers whose open connections are to be asked for."""
        wanted = self._moves.asked(self._assignment.map)
        for node_id in self._leaving_since.keys() - self._drained:
            wanted[node_id] = set(self._told_by.get(node_id, ()))
        return wanted

    # What follows.

    def advance(self, now_ns: int) -> tuple[BucketMove, ...]:
        """The next moves; the map has them already."""
        if self._availability.guard.is_holding or self._assignment.is_revocable:
            return ()
        self._note_leaving(now_ns)
        self._plan(now_ns)
        if self._moves.is_done and not self._assignment.map.splits and not self._started_ns:
            self._note_drained(now_ns)
            return ()
        step = self._moves.step(self._view(now_ns))
        self._assignment.map.apply(step.moves)
        for wave in step.waves:
            self._events.add(EventKind.WAVE_DONE, now_ns, wave=wave)
        for node_id in sorted({forced.node_id for forced in step.forced}):
            at_risk = [forced.at_risk for forced in step.forced if forced.node_id == node_id]
            name = self._nodes[node_id].name if node_id in self._nodes else str(node_id)
            self._events.add(
                EventKind.MOVES_FORCED, now_ns, node=name, buckets=len(at_risk), connections_at_risk=sum(at_risk)
            )
        if self._started_ns and self._moves.is_done:
            buckets = sum(row.done for row in self._moves.progress(self._view(now_ns)))
            self._events.add(
                EventKind.BUCKETS_MOVED,
                now_ns,
                buckets=buckets,
                reason=self._reason,
                duration_ms=(now_ns - self._started_ns) / _NS_PER_MS,
            )
            self._started_ns = 0
        self._note_drained(now_ns)
        return step.moves

    def _plan(self, now_ns: int) -> None:
        bucket_map = self._assignment.map
        weights, unknown = self._availability.serving_weights(), self._availability.unknown()
        members = {
            vserver_id: its.node_ids
            for its in self._sets
            if not its.node_ids & unknown and any(weights.get(node_id) for node_id in its.node_ids)
            for vserver_id in its.vserver_ids
        }
        wanted = _Wanted(weights, self._deadlines(now_ns), members)
        if not members or not bucket_map.buckets:
            return
        is_same = wanted == self._planned
        if is_same and not (self._moves.is_done and self._planned_version != bucket_map.version):
            return
        is_leaving = any(not wanted.weights.get(node_id, 1) for node_id in self._leaving_since)
        plan = make_plan(bucket_map, weights, Reason.DRAIN if is_leaving else Reason.REBALANCE, members)
        self._planned, self._planned_version = wanted, bucket_map.version
        self._follow(plan, wanted, now_ns)

    def _follow(self, plan: Plan, wanted: _Wanted, now_ns: int) -> None:
        self._moves.follow(plan, wanted.deadlines, now_ns)
        if len(plan):
            self._reason, self._started_ns = plan.reason, now_ns
            self._events.add(EventKind.MOVES_STARTED, now_ns, buckets=len(plan), waves=plan.waves, reason=plan.reason)

    def _deadlines(self, now_ns: int) -> dict[int, int | None]:
        """Node id → when what is left of a node that is to lose all its buckets is forced; None: never."""
        default_ns = int(self._rule.drain_deadline_s * _NS_PER_S)
        result: dict[int, int | None] = {}
        for node_id, since_ns in self._leaving_since.items():
            intent = self._availability.intents.of(node_id)
            if intent.is_configured:
                result[node_id] = since_ns + default_ns
            else:
                set_ms = intent.deadline_ms
                result[node_id] = None if set_ms is None else self._events.monotonic_ns(set_ms)
        return result

    # Nodes that are to leave.

    def _note_leaving(self, now_ns: int) -> None:
        states = self._availability.intents.states()
        leaving = {node_id for node_id, state in states.items() if state is not NodeState.ACTIVE}
        self._leaving_since = {node_id: self._leaving_since.get(node_id, now_ns) for node_id in sorted(leaving)}
        self._drained &= leaving

    def _note_drained(self, now_ns: int) -> None:
        waiting = self._leaving_since.keys() - self._drained
        if not waiting:
            return
        bucket_map = self._assignment.map
        serving = bucket_map.node_loads().keys() | {bucket_map.slots[slot] for slot in bucket_map.splits.values()}
        for node_id in sorted(waiting - serving):
            totals = [
                self.connections.maybe_total(
                    vserver_id, node_id, asked_after_ns=self._leaving_since[node_id], now_ns=now_ns
                )
                for vserver_id in self._told_by[node_id]
            ]
            if all(total == 0 for total in totals):
                self._drained.add(node_id)
                self._events.add(EventKind.NODE_DRAINED, now_ns, node=self._nodes[node_id].name)

    # For operators.

    def connections_at_risk(self, plan: Plan, now_ns: int) -> int | None:
        """Connections open in the buckets of a plan, as the nodes said last; None: one of them has not said."""
        total = 0
        for move in plan:
            found = self.connections.maybe_open(
                move.vserver_id, move.bucket, move.from_node, asked_after_ns=0, now_ns=now_ns
            )
            if found is None:
                return None
            total += found
        return total

    def status(self, now_ns: int) -> MovesStatus:
        """How far it is."""
        progress = self._moves.progress(self._view(now_ns))
        left = sum(row.waiting + row.split for row in progress)
        done = sum(row.done for row in progress)
        estimate_ns = None
        if self._started_ns and done:
            estimate_ns = now_ns + (now_ns - self._started_ns) * left // done
            deadlines = [self._moves.deadline_of(row.node_id) for row in progress if row.waiting + row.split]
            bounded = [deadline for deadline in deadlines if deadline is not None]
            if bounded and len(bounded) == len(deadlines):
                estimate_ns = min(estimate_ns, max(bounded))
        return MovesStatus(self._reason, self._started_ns, estimate_ns, progress)

    def is_drained(self, node_id: int) -> bool:
        """Whether a node that is to leave has neither buckets nor open connections any more."""
        return node_id in self._drained

    def _view(self, now_ns: int) -> View:
        return View(
            map=self._assignment.map,
            connections=self.connections,
            loads=self.loads.of(self._names, self._nodes),
            lost=self._availability.down() - self._availability.survivors().keys(),
            now_ns=now_ns,
        )


def _way(vserver: Vserver) -> Way:
    if vserver.mode.is_proxied:
        return Way.ASK
    return Way.WATCH if vserver.protocol is Protocol.TCP else Way.WHOLE
