"""What happened, for operators: a bounded list of values with ids that only grow."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

CAPACITY = 10_000
_NS_PER_MS = 1_000_000


class EventKind(StrEnum):
    """What an event is about; `docs` and REST use the same words."""

    CONTROLLER_LEADS = "controller_leads"
    CONTROLLER_FOLLOWS = "controller_follows"
    NODE_UP = "node_up"
    NODE_DOWN = "node_down"
    NODE_UNKNOWN = "node_unknown"
    NODE_HELD_DOWN = "node_held_down"
    SLOTS_MOVED = "slots_moved"
    MOVES_STARTED = "moves_started"
    WAVE_DONE = "wave_done"
    MOVES_FORCED = "moves_forced"
    BUCKETS_MOVED = "buckets_moved"
    NODE_DRAINED = "node_drained"
    SWITCH_RECONCILED = "switch_reconciled"
    SWITCH_LOST = "switch_lost"
    VIP_MOVED = "vip_moved"
    STATIONS_FULL = "stations_full"
    NODE_INTENT = "node_intent"
    FAILOVER_HELD = "failover_held"
    FAILOVER_RELEASED = "failover_released"
    VIPS_WITHDRAWN = "vips_withdrawn"
    VIPS_ANNOUNCED = "vips_announced"
    TICKET_KEY = "ticket_key"
    ALARM_RAISED = "alarm_raised"
    ALARM_CLEARED = "alarm_cleared"


Detail = str | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened; `monotonic_ms` is of the controller's own clock, for differences."""

    id: int
    kind: EventKind
    at_ms: float
    monotonic_ms: float
    details: Mapping[str, Detail]


class EventLog:
    """The last `CAPACITY` events."""

    def __init__(self, *, epoch_offset_ns: int, listener: Callable[[Event], None]) -> None:
        """
        Args:
            epoch_offset_ns: adds to the monotonic clock to make nanoseconds since 1970.
            listener: is told of every event, to log it.

        `counts`: how many events of each kind there were.
        """
        self._epoch_offset_ns = epoch_offset_ns
        self._listeners = [listener]
        self.counts: Counter[EventKind] = Counter()
        self._events: deque[Event] = deque(maxlen=CAPACITY)
        self._last_id = 0

    def monotonic_ns(self, epoch_ms: int) -> int:
        """A wall-clock time on the monotonic clock."""
        return epoch_ms * _NS_PER_MS - self._epoch_offset_ns

    def add(self, kind: EventKind, now_ns: int, **details: Detail) -> Event:
        """Write an event down."""
        self._last_id += 1
        event = Event(
            id=self._last_id,
            kind=kind,
            at_ms=(now_ns + self._epoch_offset_ns) / _NS_PER_MS,
            monotonic_ms=now_ns / _NS_PER_MS,
            details=details,
        )
        self._events.append(event)
        self.counts[kind] += 1
        for listener in tuple(self._listeners):
            listener(event)
        return event

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Have somebody else told of every event from now on; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def after(self, event_id: int) -> list[Event]:
        """Events with a higher id that are still kept, oldest first."""
        return [event for event in self._events if event.id > event_id]
