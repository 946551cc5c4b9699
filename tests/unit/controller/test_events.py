"""The event list."""

from __future__ import annotations

from controller.events import CAPACITY, Event, EventKind, EventLog


def test_ids_grow_and_only_the_newest_are_kept() -> None:
    told: list[Event] = []
    log = EventLog(epoch_offset_ns=0, listener=told.append)
    for number in range(CAPACITY + 5):
        log.add(EventKind.NODE_UP, number, node="n1")
    kept = log.after(0)
    assert [kept[0].id, kept[-1].id, len(kept)] == [6, CAPACITY + 5, CAPACITY]
    assert [event.id for event in log.after(CAPACITY + 3)] == [CAPACITY + 4, CAPACITY + 5]
    assert len(told) == CAPACITY + 5


def test_whoever_subscribes_is_told_until_it_does_no_longer() -> None:
    told: list[Event] = []
    log = EventLog(epoch_offset_ns=0, listener=lambda _: None)
    log.add(EventKind.NODE_UP, 0)
    unsubscribe = log.subscribe(told.append)
    for number in range(4):
        if number == 2:
            unsubscribe()
        log.add(EventKind.NODE_UP, number)
    assert [event.id for event in told] == [2, 3]
