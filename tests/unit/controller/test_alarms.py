"""Alarms are state; what changes of them is an event."""

from __future__ import annotations

from controller.alarms import AlarmKey, AlarmKind, Alarms
from controller.events import Event, EventLog

DOWN = AlarmKey(AlarmKind.NODE_DOWN, "n1")
MASS = AlarmKey(AlarmKind.MASS_FAILURE)


def test_what_is_stated_again_is_raised_once_and_what_is_not_is_cleared() -> None:
    told: list[Event] = []
    alarms = Alarms(EventLog(epoch_offset_ns=0, listener=told.append))
    alarms.set({MASS: "many", DOWN: "no answer"}, 1)
    alarms.set({DOWN: "connection refused"}, 2)
    alarms.set({DOWN: "connection refused"}, 3)
    (alarm,) = alarms.active()
    assert (alarm.key, alarm.reason, alarm.since_ns, alarm.event_id) == (DOWN, "connection refused", 1, 2)
    alarms.set({}, 4)
    assert alarms.active() == []
    assert [(event.kind, dict(event.details)) for event in told] == [
        ("alarm_raised", {"alarm": "mass_failure", "subject": "", "reason": "many"}),
        ("alarm_raised", {"alarm": "node_down", "subject": "n1", "reason": "no answer"}),
        ("alarm_cleared", {"alarm": "mass_failure", "subject": ""}),
        ("alarm_cleared", {"alarm": "node_down", "subject": "n1"}),
    ]


def test_the_oldest_comes_first() -> None:
    alarms = Alarms(EventLog(epoch_offset_ns=0, listener=lambda _: None))
    alarms.set({DOWN: "x"}, 1)
    alarms.set({MASS: "y", DOWN: "x"}, 2)
    assert [alarm.key for alarm in alarms.active()] == [DOWN, MASS]
