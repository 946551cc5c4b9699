"""Alarms: what is wrong now, as against events, which say what changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from controller.events import EventKind, EventLog


class AlarmKind(StrEnum):
    """What an alarm is about."""

    MASS_FAILURE = "mass_failure"
    NODE_DOWN = "node_down"
    NODE_HELD_DOWN = "node_held_down"
    NO_HEALTHY_NODE = "no_healthy_node"
    SWITCH_LOST = "switch_lost"
    NODE_CONFIGURATION = "node_configuration"
    TICKET_KEYS = "ticket_keys"
    UNKNOWN_TICKETS = "unknown_tickets"


class AlarmKey(NamedTuple):
    """An alarm's kind and the name of what it concerns; empty: the whole array."""

    kind: AlarmKind
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that is wrong, since `since_ns` on the monotonic clock; `event_id` names the event that said so."""

    key: AlarmKey
    reason: str
    since_ns: int
    event_id: int


class Alarms:
    """The alarms that are active."""

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._active: dict[AlarmKey, Alarm] = {}

    def active(self) -> list[Alarm]:
        """All of them, oldest first."""
        return sorted(self._active.values(), key=lambda alarm: (alarm.since_ns, alarm.event_id))

    def set(self, reasons: Mapping[AlarmKey, str], now_ns: int) -> None:
        """State all that is wrong now: what is new is raised, what is not among it is cleared; each is an event."""
        for key in self._active.keys() - reasons.keys():
            del self._active[key]
            self._events.add(EventKind.ALARM_CLEARED, now_ns, alarm=key.kind, subject=key.subject)
        for key, reason in reasons.items():
            if found := self._active.get(key):
                if found.reason != reason:
                    self._active[key] = Alarm(key=key, reason=reason, since_ns=found.since_ns, event_id=found.event_id)
                continue
            event = self._events.add(EventKind.ALARM_RAISED, now_ns, alarm=key.kind, subject=key.subject, reason=reason)
            self._active[key] = Alarm(key=key, reason=reason, since_ns=now_ns, event_id=event.id)
