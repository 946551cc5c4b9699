"""Idle timers: an entry is reported when it has been idle for its timeout, and once a timeout."""

from __future__ import annotations

from softswitch.p4runtime.idle import IdleTimers
from softswitch.tables import Entry, Field, MatchKind, Table


def make_table() -> Table:
    return Table(
        name="t",
        fields=(Field(name="f", width=16, kind=MatchKind.EXACT),),
        actions={"a": ()},
        size=1024,
        default=Entry(match=(), action="a", params=()),
        supports_idle_timeout=True,
    )


def insert(table: Table, timers: IdleTimers, value: int, timeout_ns: int, now_ns: int = 0) -> Entry:
    entry = Entry(match=(value,), action="a", params=(), idle_timeout_ns=timeout_ns)
    table.insert(entry, now_ns)
    timers.arm(table, entry, now_ns)
    return entry


def test_an_entry_expires_at_its_timeout_and_again_a_timeout_later() -> None:
    table, timers = make_table(), IdleTimers()
    entry = insert(table, timers, 1, 100)
    assert timers.expired(99, 10) == []
    assert timers.expired(100, 10) == [(table, entry)]
    assert timers.expired(199, 10) == []
    assert timers.expired(200, 10) == [(table, entry)]


def test_a_hit_puts_the_deadline_off() -> None:
    table, timers = make_table(), IdleTimers()
    entry = insert(table, timers, 1, 100)
    entry.last_hit_ns = 60
    assert timers.expired(100, 10) == []
    assert timers.expired(159, 10) == []
    assert timers.expired(160, 10) == [(table, entry)]


def test_deleted_entries_and_those_without_a_timeout_are_forgotten() -> None:
    table, timers = make_table(), IdleTimers()
    deleted = insert(table, timers, 1, 100)
    changed = insert(table, timers, 2, 100)
    insert(table, timers, 3, 0)
    timers.disarm(deleted)
    changed.idle_timeout_ns = 0
    timers.arm(table, changed, 50)
    assert timers.expired(1000, 10) == []


def test_arming_again_starts_anew() -> None:
    table, timers = make_table(), IdleTimers()
    entry = insert(table, timers, 1, 100)
    timers.arm(table, entry, 50)
    entry.last_hit_ns = 50
    assert timers.expired(149, 10) == []
    assert timers.expired(150, 10) == [(table, entry)]


def test_a_sweep_is_bounded_and_the_next_one_goes_on() -> None:
    table, timers = make_table(), IdleTimers()
    entries = [insert(table, timers, value, 100) for value in range(25)]
    reported = [entry for _ in range(3) for _, entry in timers.expired(150, 10)]
    assert reported == entries


def test_timers_that_are_armed_over_and_over_take_no_more_room() -> None:
    table, timers = make_table(), IdleTimers()
    entry = insert(table, timers, 1, 1 << 60)
    for now_ns in range(10_000):
        timers.arm(table, entry, now_ns)
    assert len(timers) < 100
