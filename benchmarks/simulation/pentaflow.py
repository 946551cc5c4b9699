"""Pentaflow on a trace: the controller's own planner and moves, once a second, on a switch and nodes of arithmetic.

Nodes answer each second, without delay, how many connections each bucket has open; a connection in its handshake is
not among them. The switch's idle notices come when a bucket was silent for the vserver's idle timeout. Writes are
carried out at once. So nothing is in this that the network adds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulation.events import Event, Happening, hashes
from benchmarks.simulation.trace import Numbers, Times, Trace
from benchmarks.simulation.transit import CELLS, TransitFilter
from controller.adoption import adopt
from controller.buckets import NO_NODE, UNASSIGNED, Reason
from controller.moves import MoveLimits, Moves, View, VserverTraits
from controller.planner import make_plan, plan_failover, plan_tidy
from controller.transit import Load, flow_limit

_BUCKETS = 4096
_SLOTS_PER_NODE = 16
_VSERVER_ID = 1
_IDLE_TIMEOUT_S = 90.0
_KEY = 0xA54F_F53A_5F1D_36F1
_NS_PER_S = 1_000_000_000
_PATIENCE_NS = 3600 * _NS_PER_S
_LOAD_OVER_S = 10.0


class Report(NamedTuple):
    """How the moves went.

    Attributes:
        moved: buckets that serve new connections on another node than before the event.
        left: buckets that were not where they belong when the trace ended, or still split.
        took_s: from the event until all were settled; the end of the trace, if some never were.
        old_flows: connections that were open, on their old node, in buckets as these were split.
        most_in_transit: flows that the transit filter held at most.
        expected_wrong: old flows that it should have taken for new ones: all of them times its rate at that most.
    """

    moved: int
    left: int
    took_s: float
    old_flows: int
    most_in_transit: int
    expected_wrong: float


class _Answers(NamedTuple):
    """What all nodes have open, asked just now."""

    asked_ns: int
    open: Numbers

    def maybe_open(self, vserver_id: int, bucket: int, node_id: int, *, asked_after_ns: int, now_ns: int) -> int | None:
        """See `controller.moves.OpenConnections`."""
        return int(self.open[node_id, bucket]) if self.asked_ns > asked_after_ns else None


class Pentaflow:
    """Bucket maps, split buckets, and the controller's rules of moves.

    Attributes:
        report: how the moves of the last `route` went.
    """

    report: Report

    def __init__(self, deadline_s: float | None = None) -> None:
        """`deadline_s`: how long after the event moves are forced; None: never."""
        self._deadline_s = deadline_s

    def route(self, trace: Trace, event: Event) -> Numbers:
        """The node that each packet goes to."""
        replay = _Replay(trace, event, self._deadline_s)
        nodes = replay.run()
        self.report = replay.report()
        return nodes


class _Replay:
    def __init__(self, trace: Trace, event: Event, deadline_s: float | None) -> None:
        self._trace, self._event, self._deadline_s = trace, event, deadline_s
        self._buckets = (hashes(trace, _KEY) & (_BUCKETS - 1)).astype(np.int64)
        self._packet_buckets = self._buckets[trace.connections]
        self._map = adopt(
            {},
            {},
            sizes={_VSERVER_ID: _BUCKETS},
            weights=dict.fromkeys(event.before, 1),
            configured={*event.before, event.node},
            slots_per_node=_SLOTS_PER_NODE,
        )
        self._before = self._map.owners(_VSERVER_ID)
        self._nodes = np.zeros(len(trace.times), dtype=np.int64)
        self._accepted = np.zeros(len(trace.began), dtype=np.int64)
        self._filter = TransitFilter(trace, _IDLE_TIMEOUT_S)
        self._lost = {event.node} if event.happening is Happening.REMOVE else set[int]()
        self._last_hit: Times = np.full(_BUCKETS, -math.inf)
        self._noticed: Times = np.full(_BUCKETS, -math.inf)
        self._old_flows = 0
        self._took_s = 0.0
        traits = {_VSERVER_ID: VserverTraits(_BUCKETS, _IDLE_TIMEOUT_S)}
        limits = MoveLimits(flows=flow_limit(CELLS))
        self._moves = Moves(limits, traits, slots_per_node=_SLOTS_PER_NODE, patience_ns=_PATIENCE_NS)

    def run(self) -> Numbers:
        times, event = self._trace.times, self._event
        packet = self._forward(0, int(np.searchsorted(times, event.time_s)))
        self._plan()
        time_s = event.time_s
        while not self._moves.is_done and packet < len(times):
            self._control(time_s)
            self._filter.age(time_s)
            time_s += 1
            packet = self._forward(packet, int(np.searchsorted(times, time_s)))
        self._took_s = time_s - event.time_s
        self._forward(packet, len(times))
        return self._nodes

    def _plan(self) -> None:
        """What the controller makes of the event."""
        event, weights = self._event, dict.fromkeys(self._event.after, 1)
        reason = Reason.REBALANCE
        if event.happening is Happening.REMOVE:
            self._map.apply(plan_failover(self._map, self._lost, weights, _SLOTS_PER_NODE))
            while tidying := plan_tidy(self._map, _SLOTS_PER_NODE, _BUCKETS):
                self._map.apply(tidying)
        elif event.happening is Happening.DRAIN:
            weights[event.node], reason = 0, Reason.DRAIN
        plan = make_plan(self._map, weights, reason)
        deadline_ns = None if self._deadline_s is None else int((event.time_s + self._deadline_s) * _NS_PER_S)
        self._moves.follow(plan, dict.fromkeys(event.before, deadline_ns), int(event.time_s * _NS_PER_S))

    def _control(self, time_s: float) -> None:
        """One second of the controller."""
        trace, now_ns = self._trace, int(time_s * _NS_PER_S)
        silent = np.flatnonzero(time_s - np.maximum(self._last_hit, self._noticed) >= _IDLE_TIMEOUT_S)
        self._noticed[silent] = time_s
        self._moves.idle([(_VSERVER_ID, bucket) for bucket in silent.tolist()], now_ns)
        is_open = (trace.made <= time_s) & (time_s < trace.ended)
        rows = max(*self._event.before, self._event.node) + 1  # 0 is no node
        cells = self._accepted[is_open] * _BUCKETS + self._buckets[is_open]
        answers = _Answers(now_ns, np.bincount(cells, minlength=rows * _BUCKETS).reshape(rows, _BUCKETS))
        recent = np.searchsorted(trace.began, [time_s - _LOAD_OVER_S, time_s])
        load = Load(open_connections=int(is_open.sum()), new_per_s=int(recent[1] - recent[0]) / _LOAD_OVER_S)
        step = self._moves.step(
            View(map=self._map, connections=answers, loads={_VSERVER_ID: load}, lost=self._lost, now_ns=now_ns)
        )
        self._map.apply(step.moves)
        self._moves.written(now_ns)
        newly_split = [move.bucket for move in step.moves if move.old_slot != UNASSIGNED]
        self._old_flows += int(answers.open[:, newly_split].sum())

    def _forward(self, first: int, end: int) -> int:
        """The switch's work on some packets, with the map as it is; `end`."""
        trace, some = self._trace, slice(first, end)
        buckets = self._packet_buckets[some]
        nodes = self._map.owners(_VSERVER_ID).astype(np.int64)[buckets]
        for i in np.flatnonzero(self._are_split()[buckets]).tolist():
            connection = int(trace.connections[first + i])
            if not self._filter.knows(connection, float(trace.times[first + i]), bool(trace.are_syn[first + i])):
                nodes[i] = self._map.maybe_old_node(_VSERVER_ID, int(buckets[i])) or NO_NODE
        self._nodes[some] = nodes
        are_syn = trace.are_syn[some]
        self._accepted[trace.connections[some][are_syn]] = nodes[are_syn]
        np.maximum.at(self._last_hit, buckets, trace.times[some])
        return end

    def _are_split(self) -> NDArray[np.bool_]:
        result = np.zeros(_BUCKETS, dtype=bool)
        result[[bucket for _, bucket in self._map.splits]] = True
        return result

    def report(self) -> Report:
        owners = self._map.owners(_VSERVER_ID)
        left = len(make_plan(self._map, dict.fromkeys(self._event.after, 1), Reason.REBALANCE)) + len(self._map.splits)
        most = self._filter.most_in_transit
        return Report(
            moved=int((owners != self._before).sum()),
            left=left,
            took_s=self._took_s,
            old_flows=self._old_flows,
            most_in_transit=most,
            expected_wrong=self._old_flows * (1 - math.exp(-most / CELLS)) ** 2,
        )
