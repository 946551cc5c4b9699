"""Carries a plan out without breaking connections [B4] [B5] [D6]: which bucket is split now, and which is settled.

A bucket that is to leave its node waits for its turn, is split (new connections go to the new node, open ones stay),
and is settled when the switch is known to hold the split and the old node has reported no open connection since, in
every answer over a quiet time. Then nothing is left that could break: handshakes that had begun before the split have
become connections or have failed, and what a closed socket still held has been sent.

A bucket that is proven idle (the switch's notice, and no open connection in an answer to a question asked after it) is
split as well, since a connection may begin at the very moment that it moves; but it costs the transit filter next to
nothing, so it does not wait for room in it, and needs to be quiet only for as long as a handshake takes.

That is so where nodes tell their open connections. Direct servers tell nothing (`Way`): of theirs the switch alone is
asked, and it only knows which buckets no packet has come for.

At a deadline the rest is forced: it moves with its connections. What follows from failures needs no waiting: a bucket
whose old node is lost is settled at once, and whose new node is lost stays split while failover re-points its slot.

All of this can be read off the map, which is in the switches: after a restart of the controller the splits that it
finds are finished, whatever else is planned then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from controller.buckets import NO_NODE, UNASSIGNED, BucketMap, BucketMove, Reason
from controller.plan import Plan, PlannedMove
from controller.slots import pick_slots
from controller.transit import Load, flows_of_bucket

_NS_PER_S = 1_000_000_000
# A notice that is older is no reason to move a bucket as a whole: a flow may have begun since.
_FRESH_NS = _NS_PER_S // 10
# Notices of a bucket that stays idle come once in its timeout, up to 1.1 s late on BMv2.
_NOTICE_SLACK_NS = 2 * _NS_PER_S
_NEVER_NS = -(1 << 62)

BucketKey = tuple[int, int]


class OpenConnections(Protocol):
    """What nodes have said of the connections that are open in a bucket."""

    def maybe_open(self, vserver_id: int, bucket: int, node_id: int, *, asked_after_ns: int, now_ns: int) -> int | None:
        """In an answer to a question asked after a time; None: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveLimits:
    """What moves are bounded by.

    Attributes:
        flows: in transit at most (`controller.transit.flow_limit`); one bucket may exceed it alone.
        split: buckets that are split at the same time at most, those that were idle not counted.
        idle_split: and of those that were idle.
        quiet_ns: how long the old node must report no open connection.
        idle_quiet_ns: the same for a bucket that was idle: as long as a handshake takes, one lost segment included.
    """

    flows: float
    split: int = 256
    idle_split: int = 1024
    quiet_ns: int = 5 * _NS_PER_S
    idle_quiet_ns: int = 3 * _NS_PER_S


class Way(Enum):
    """How the buckets of a vserver move."""

    ASK = "split, until the old node has no open connection"
    WATCH = "split, until no packet has come for the idle timeout: nobody knows about connections"
    # A split bucket would send every flow to its old node: only a SYN marks a new one (p4/transit.p4).
    WHOLE = "as a whole, at the moment that the switch says that no packet has come for the idle timeout"


class VserverTraits(NamedTuple):
    """What moves need to know of a vserver."""

    buckets: int
    idle_timeout_s: float
    way: Way = Way.ASK


class View(NamedTuple):
    """How things stand.

    Attributes:
        map: the bucket map; only read.
        connections: what nodes have said.
        loads: vserver id → its load; those that nothing is known of are not in it.
        lost: nodes that nothing must be sent to.
        now_ns: the monotonic clock.
    """

    map: BucketMap
    connections: OpenConnections
    loads: Mapping[int, Load]
    lost: Collection[int]
    now_ns: int

    def maybe_open(self, key: BucketKey, node_id: int, asked_after_ns: int = _NEVER_NS) -> int | None:
        """Open connections of a bucket on a node."""
        return self.connections.maybe_open(*key, node_id, asked_after_ns=asked_after_ns, now_ns=self.now_ns)


class Forced(NamedTuple):
    """A bucket that moved with what was open in it: `at_risk` connections, as its old node said last."""

    node_id: int
    at_risk: int


class Step(NamedTuple):
    """What to do now.

    Attributes:
        moves: for the map, and so for the switches.
        forced: those of them that did not wait any longer.
        waves: waves of the plan that are over by what happened since the last step.
    """

    moves: tuple[BucketMove, ...] = ()
    forced: tuple[Forced, ...] = ()
    waves: tuple[int, ...] = ()


class Progress(NamedTuple):
    """How far the buckets of one vserver that leave one node are.

    Attributes:
        node_id: which they leave.
        vserver_id: whose they are.
        waiting: not begun.
        split: begun.
        done: left, those that were forced included.
        forced: left at the deadline.
        at_risk: connections that were open in those.
        connections_left: connections that are open in what waits and what is split, as the node said last.
    """

    node_id: int
    vserver_id: int
    waiting: int
    split: int
    done: int
    forced: int
    at_risk: int
    connections_left: int


@dataclass(slots=True, kw_only=True)
class _Split:
    from_node: int
    reason: Reason
    deadline_ns: int
    was_idle: bool = False
    wave: int | None = None
    written_ns: int | None = None
    quiet_since_ns: int | None = None
    last_open: int = 0


@dataclass(slots=True)
class _Tally:
    done: Counter[tuple[int, int]] = field(default_factory=Counter)
    forced: Counter[tuple[int, int]] = field(default_factory=Counter)
    at_risk: Counter[tuple[int, int]] = field(default_factory=Counter)


class Moves:
    """The buckets of an array that are on their way."""

    def __init__(
        self, limits: MoveLimits, vservers: Mapping[int, VserverTraits], *, slots_per_node: int, patience_ns: int
    ) -> None:
        """
        Args:
            limits: of what is done at the same time.
            vservers: vserver id → what is to be known of it.
            slots_per_node: home slots of a node that are used.
            patience_ns: until buckets are forced that no plan says a deadline for.
        """
        self._limits = limits
        self._vservers = vservers
        self._slots_per_node = slots_per_node
        self._patience_ns = patience_ns
        self._reason = Reason.REBALANCE
        self._default_deadline_ns = 0
        self._deadlines: Mapping[int, int | None] = {}
        self._waiting: dict[BucketKey, PlannedMove] = {}
        self._idle_candidates: dict[BucketKey, None] = {}
        self._idle_now: dict[BucketKey, None] = {}
        self._splits: dict[BucketKey, _Split] = {}
        self._last_idle: dict[int, NDArray[np.int64]] = {}
        self._wave_left: Counter[int] = Counter()
        self._waves_done: list[int] = []
        self._tally = _Tally()

    def reconfigure(
        self, limits: MoveLimits, vservers: Mapping[int, VserverTraits], *, slots_per_node: int, patience_ns: int
    ) -> None:
        """Other limits or vservers from now on, as for a new one; vservers that remain have as many buckets as before.

        What waits in those that are gone is forgotten; what was split there goes with the map.
        """
        self._limits, self._vservers = limits, vservers
        self._slots_per_node, self._patience_ns = slots_per_node, patience_ns
        for key in [key for key in self._waiting if key[0] not in vservers]:
            self._drop(key)
        self._last_idle = {vserver_id: noted for vserver_id, noted in self._last_idle.items() if vserver_id in vservers}

    # What is wanted, and what is seen.

    @property
    def is_done(self) -> bool:
        """Whether nothing waits and nothing is split."""
        return not self._waiting and not self._splits

    def follow(self, plan: Plan, deadlines: Mapping[int, int | None], now_ns: int) -> None:
        """Do this from now on. What waits is replaced; what is split is finished, since new connections are there.

        Args:
            plan: for the map as it is.
            deadlines: node id → when what leaves it is forced, None: never; others have `patience_ns` from now.
            now_ns: the monotonic clock.
        """
        if self.is_done:
            self._tally = _Tally()
        self._reason = plan.reason
        self._deadlines, self._default_deadline_ns = dict(deadlines), now_ns + self._patience_ns
        self._waiting = {(move.vserver_id, move.bucket): move for move in plan}
        self._wave_left, self._waves_done = Counter(move.wave for move in self._waiting.values()), []
        for split in self._splits.values():
            split.wave = None
        self._idle_candidates = dict.fromkeys(
            key for key in self._waiting if self._way(key[0]) is not Way.WHOLE and self._is_idle(key, now_ns)
        )

    def idle(self, keys: Iterable[BucketKey], now_ns: int) -> bool:
        """The switch that serves these buckets says that they are idle: whether a step is to be taken at once."""
        self._idle_now.clear()
        for key in keys:
            vserver_id, bucket = key
            traits = self._vservers.get(vserver_id)
            if traits is None or bucket >= traits.buckets:
                continue
            if vserver_id not in self._last_idle:
                self._last_idle[vserver_id] = np.full(traits.buckets, _NEVER_NS, dtype=np.int64)
            self._last_idle[vserver_id][bucket] = now_ns
            if key in self._waiting:
                (self._idle_now if traits.way is Way.WHOLE else self._idle_candidates)[key] = None
        return bool(self._idle_now)

    def written(self, now_ns: int) -> None:
        """Every switch that serves holds what the map says."""
        for split in self._splits.values():
            if split.written_ns is None:
                split.written_ns = now_ns

    def asked(self, bucket_map: BucketMap) -> dict[int, set[int]]:
        """Node id → vservers whose open connections are to be asked for."""
        result: dict[int, set[int]] = {}
        for key, split in self._splits.items():
            if self._way(key[0]) is Way.ASK:
                result.setdefault(split.from_node, set()).add(key[0])
        for vserver_id in {key[0] for key in self._waiting}:
            if self._way(vserver_id) is not Way.ASK:
                continue
            for node_id in bucket_map.holding(vserver_id):
                result.setdefault(node_id, set()).add(vserver_id)
        return result

    # What to do.

    def step(self, view: View) -> Step:
        """What to do now; to be asked whenever something was seen, and applied to the map before the next step."""
        self._take_stock(view)
        settled, forced = self._settle(view)
        begun = [*self._begin(view), *self._move_whole(view)]
        pushed, pushed_forced = self._push(view)
        waves, self._waves_done = tuple(self._waves_done), []
        return Step(moves=(*settled, *begun, *pushed), forced=(*forced, *pushed_forced), waves=waves)

    def _take_stock(self, view: View) -> None:
        """Splits that the map has by somebody else's doing, or no longer has."""
        for key in [key for key in self._splits if key not in view.map.splits]:
            self._finish(key, self._splits.pop(key))
        for key in view.map.splits.keys() - self._splits.keys():
            node_id = view.map.maybe_old_node(*key) or NO_NODE
            self._splits[key] = _Split(
                from_node=node_id, reason=self._reason, deadline_ns=view.now_ns + self._patience_ns
            )

    def _settle(self, view: View) -> tuple[list[BucketMove], list[Forced]]:
        moves, forced = [], []
        for key, split in self._splits.items():
            old_node, new_node = view.map.maybe_old_node(*key), view.map.maybe_node(*key)
            if old_node != split.from_node or old_node == new_node or old_node in view.lost:
                pass
            elif new_node in view.lost:
                continue
            elif not self._is_quiet(key, split, view):
                if not self._is_due(split.from_node, split.deadline_ns, view.now_ns):
                    continue
                forced.append(self._force(key, split.from_node, split.last_open))
            moves.append(view.map.settled(*key, split.reason))
        return moves, forced

    def _is_quiet(self, key: BucketKey, split: _Split, view: View) -> bool:
        if split.written_ns is None:
            return False
        if self._way(key[0]) is not Way.ASK:  # a notice that was under way when the split was written proves nothing
            return self._last_notice_ns(key) > split.written_ns + _NOTICE_SLACK_NS
        found = view.maybe_open(key, split.from_node, split.written_ns)
        if found is None:
            return False
        split.last_open = found
        if found:
            split.quiet_since_ns = None
            return False
        if split.quiet_since_ns is None:
            split.quiet_since_ns = view.now_ns
        quiet_ns = self._limits.idle_quiet_ns if split.was_idle else self._limits.quiet_ns
        return view.maybe_open(key, split.from_node, split.quiet_since_ns + quiet_ns) == 0

    def _begin(self, view: View) -> list[BucketMove]:
        chosen = [*self._choose_idle(view), *self._choose_busy(view)]
        slots = pick_slots(view.map, [move.to_node for move, _ in chosen], self._slots_per_node).tolist()
        moves = []
        for (move, was_idle), slot in zip(chosen, slots, strict=True):
            if slot == UNASSIGNED:
                continue
            key = (move.vserver_id, move.bucket)
            del self._waiting[key]
            self._idle_candidates.pop(key, None)
            self._splits[key] = _Split(
                from_node=move.from_node,
                reason=self._reason,
                deadline_ns=self._default_deadline_ns,
                was_idle=was_idle,
                wave=move.wave,
            )
            moves.append(view.map.split(*key, slot, self._reason))
        return moves

    def _choose_idle(self, view: View) -> Iterator[tuple[PlannedMove, bool]]:
        room = dict.fromkeys(Way, self._limits.idle_split)
        for key, split in self._splits.items():
            room[self._way(key[0])] -= split.was_idle
        for key in list(self._idle_candidates)[: 2 * self._limits.idle_split]:
            way = self._way(key[0])
            move = self._waiting.get(key)
            if move is None or not self._is_idle(key, view.now_ns):
                del self._idle_candidates[key]
                continue
            if room[way] <= 0:
                continue
            if way is Way.WATCH:
                if self._may_begin(move, view):
                    room[way] -= 1
                    yield move, True
                continue
            found = view.maybe_open(key, move.from_node, int(self._last_idle[key[0]][key[1]]))
            if found:
                del self._idle_candidates[key]
            elif found == 0 and self._may_begin(move, view):
                room[way] -= 1
                yield move, True

    def _choose_busy(self, view: View) -> Iterator[tuple[PlannedMove, bool]]:
        busy = Counter(key[0] for key, split in self._splits.items() if not split.was_idle)
        count = Counter(dict.fromkeys(Way, 0))
        for vserver_id, number in busy.items():
            count[self._way(vserver_id)] += number
        flows = sum(number * self._flows(vserver_id, view) for vserver_id, number in busy.items())
        waiting = {self._way(vserver_id) for vserver_id in self._vservers} - {Way.WHOLE}
        having_room = {way for way in waiting if count[way] < self._limits.split}
        for key, move in list(self._waiting.items()) if having_room else ():
            if not having_room:
                return
            way = self._way(key[0])
            if way not in having_room or key in self._idle_candidates:
                continue
            if (way is Way.ASK and key[0] not in view.loads) or not self._may_begin(move, view):
                continue
            more = self._flows(move.vserver_id, view)
            if way is Way.ASK and count[way] and flows + more > self._limits.flows:
                having_room.discard(way)
                continue
            count[way], flows = count[way] + 1, flows + more
            if count[way] >= self._limits.split:
                having_room.discard(way)
            yield move, False

    def _move_whole(self, view: View) -> list[BucketMove]:
        """Buckets that can't be split and that the switch says are idle, right now."""
        chosen = [
            move
            for key in self._idle_now
            if view.now_ns - self._last_notice_ns(key) <= _FRESH_NS
            and (move := self._waiting.get(key))
            and self._may_begin(move, view)
        ]
        self._idle_now.clear()
        slots = pick_slots(view.map, [move.to_node for move in chosen], self._slots_per_node).tolist()
        moves = []
        for move, slot in zip(chosen, slots, strict=True):
            if slot != UNASSIGNED:
                self._tally.done[move.from_node, move.vserver_id] += 1
                self._drop((move.vserver_id, move.bucket))
                moves.append(view.map.moved(move.vserver_id, move.bucket, slot, self._reason))
        return moves

    def _flows(self, vserver_id: int, view: View) -> float:
        load, traits = view.loads.get(vserver_id), self._vservers.get(vserver_id)
        return flows_of_bucket(load, traits.idle_timeout_s, traits.buckets) if load and traits else 0.0

    def _may_begin(self, move: PlannedMove, view: View) -> bool:
        """Whether a planned move can begin now; one that has been overtaken by events is forgotten."""
        key = (move.vserver_id, move.bucket)
        if key in view.map.splits:
            return False
        if view.map.maybe_node(*key) != move.from_node:
            self._drop(key)
            return False
        return move.to_node not in view.lost

    def _push(self, view: View) -> tuple[list[BucketMove], list[Forced]]:
        """Buckets that have waited until the deadline move as they are."""
        late = [
            move
            for move in (list(self._waiting.values()) if self._is_any_due(view.now_ns) else ())
            if self._is_due(move.from_node, self._default_deadline_ns, view.now_ns) and self._may_begin(move, view)
        ]
        slots = pick_slots(view.map, [move.to_node for move in late], self._slots_per_node).tolist()
        moves, forced = [], []
        for move, slot in zip(late, slots, strict=True):
            key = (move.vserver_id, move.bucket)
            if slot == UNASSIGNED:
                continue
            forced.append(self._force(key, move.from_node, view.maybe_open(key, move.from_node) or 0))
            self._tally.done[move.from_node, move.vserver_id] += 1
            self._drop(key)
            moves.append(view.map.moved(*key, slot, self._reason))
        return moves, forced

    # Book-keeping.

    def deadline_of(self, node_id: int) -> int | None:
        """When what waits at a node is forced; None: never."""
        return self._deadlines.get(node_id, self._default_deadline_ns)

    def _is_due(self, node_id: int, default_ns: int, now_ns: int) -> bool:
        deadline_ns = self._deadlines.get(node_id, default_ns)
        return deadline_ns is not None and now_ns >= deadline_ns

    def _is_any_due(self, now_ns: int) -> bool:
        return any(ns is not None and now_ns >= ns for ns in (*self._deadlines.values(), self._default_deadline_ns))

    def _way(self, vserver_id: int) -> Way:
        return self._vservers[vserver_id].way if vserver_id in self._vservers else Way.ASK

    def _last_notice_ns(self, key: BucketKey) -> int:
        """When the switch said last that a bucket is idle."""
        noted = self._last_idle.get(key[0])
        return _NEVER_NS if noted is None else int(noted[key[1]])

    def _is_idle(self, key: BucketKey, now_ns: int) -> bool:
        """Whether the switch's last notice of a bucket is no older than its next one would be."""
        timeout_ns = int(self._vservers[key[0]].idle_timeout_s * _NS_PER_S) if key[0] in self._vservers else 0
        return now_ns - self._last_notice_ns(key) <= timeout_ns + _NOTICE_SLACK_NS

    def _force(self, key: BucketKey, node_id: int, at_risk: int) -> Forced:
        self._tally.forced[node_id, key[0]] += 1
        self._tally.at_risk[node_id, key[0]] += at_risk
        return Forced(node_id=node_id, at_risk=at_risk)

    def _finish(self, key: BucketKey, split: _Split) -> None:
        self._tally.done[split.from_node, key[0]] += 1
        if split.wave is not None:
            self._count_off(split.wave)

    def _drop(self, key: BucketKey) -> None:
        """A bucket waits no longer, without having been split."""
        self._idle_candidates.pop(key, None)
        self._count_off(self._waiting.pop(key).wave)

    def _count_off(self, wave: int) -> None:
        self._wave_left[wave] -= 1
        if not self._wave_left[wave]:
            del self._wave_left[wave]
            self._waves_done.append(wave)

    # How far it is.

    def progress(self, view: View) -> list[Progress]:
        """Each node that buckets leave, and each vserver whose they are, in the order of their ids."""
        waiting = Counter((move.from_node, move.vserver_id) for move in self._waiting.values())
        split = Counter((its.from_node, key[0]) for key, its in self._splits.items())
        left: Counter[tuple[int, int]] = Counter()
        for key, move in self._waiting.items():
            left[move.from_node, key[0]] += view.maybe_open(key, move.from_node) or 0
        for key, its in self._splits.items():
            left[its.from_node, key[0]] += view.maybe_open(key, its.from_node) or 0
        tally = self._tally
        return [
            Progress(
                node_id=row[0],
                vserver_id=row[1],
                waiting=waiting[row],
                split=split[row],
                done=tally.done[row],
                forced=tally.forced[row],
                at_risk=tally.at_risk[row],
                connections_left=left[row],
            )
            for row in sorted(waiting.keys() | split.keys() | tally.done.keys())
        ]
