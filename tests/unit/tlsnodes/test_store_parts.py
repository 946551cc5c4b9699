"""The pure parts of a worker's store: copies, the breaker, figures."""

from __future__ import annotations

from dataclasses import replace

from tlsnodes.store.breaker import FAILURES, MAX_PAUSE_S, MIN_PAUSE_S, Breaker
from tlsnodes.store.copies import OVERHEAD_BYTES, Copies
from tlsnodes.store.figures import Fault, Figures
from tlsnodes.store.store import Record

RECORD = Record(value=b"v" * 100, version=7, uses=0, left_s=10)
SIZE = OVERHEAD_BYTES + 100 + 1


def test_a_copy_lives_as_long_as_its_record() -> None:
    copies = Copies(10 * SIZE)
    copies.keep(b"a", RECORD, 1000)
    assert copies.maybe(b"a", 1004) == replace(RECORD, left_s=6)
    assert copies.maybe(b"b", 1004) is None
    assert copies.maybe(b"a", 1010) is None
    assert len(copies) == 0


def test_the_copy_that_was_not_used_for_longest_makes_room() -> None:
    copies = Copies(3 * SIZE)
    for key in (b"a", b"b", b"c"):
        copies.keep(key, RECORD, 1000)
    copies.maybe(b"a", 1000)
    copies.keep(b"d", RECORD, 1000)
    assert [key for key in (b"a", b"b", b"c", b"d") if copies.maybe(key, 1000)] == [b"a", b"c", b"d"]
    copies.keep(b"d", replace(RECORD, value=b""), 1000)  # the same again, smaller
    copies.keep(b"e", replace(RECORD, value=b""), 1000)
    assert len(copies) == 3
    copies.keep(b"f", replace(RECORD, value=b"v" * 4 * SIZE), 1000)  # larger than all that there is room for
    assert len(copies) == 0
    copies.keep(b"a", RECORD, 1000)
    copies.drop(b"a")
    copies.drop(b"a")
    copies.clear()
    assert copies.maybe(b"a", 1000) is None


def test_a_copy_that_is_touched_lives_longer_and_never_shorter() -> None:
    copies = Copies(10 * SIZE)
    copies.keep(b"a", RECORD, 1000)
    copies.touch(b"a", 1005, lifetime_s=10, uses=2)
    copies.touch(b"a", 1005, lifetime_s=1, uses=3)
    copies.touch(b"absent", 1005, lifetime_s=1, uses=3)
    assert copies.maybe(b"a", 1014) == replace(RECORD, uses=3, left_s=1)
    assert copies.maybe(b"a", 1015) is None


def test_a_store_that_fails_is_left_alone_for_longer_and_longer() -> None:
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        breaker.failed(1000)
    assert breaker.may_call(1000)
    breaker.succeeded()
    for _ in range(FAILURES):
        assert breaker.may_call(1000)
        breaker.failed(1000)
    now, pause = 1000.0, MIN_PAUSE_S
    for _ in range(10):
        assert not breaker.may_call(now + pause * 0.9)
        now += pause
        assert breaker.may_call(now)
        assert not breaker.may_call(now)  # one at a time
        breaker.failed(now)
        pause = min(pause * 2, MAX_PAUSE_S)
    now += pause
    assert breaker.may_call(now)
    breaker.succeeded()
    assert not breaker.is_open
    assert breaker.may_call(now)
    assert breaker.may_call(now)


def test_answers_are_counted_by_how_long_they_took() -> None:
    figures = Figures()
    for seconds in (0.0001, 0.0005, 0.0015, 0.03, 60.0):
        figures.answered(seconds)
    figures.faults[Fault.TIMEOUT] += 2
    found = figures.describe()
    within = {bound: count for bound, count in found["answers_within_ms"].items() if count}
    assert within == {"0.25": 1, "0.5": 1, "2": 1, "50": 1}
    assert (found["answers"], found["answers_s"]) == (5, 60.0321)
    assert found["faults"] == {"timeout": 2, "unavailable": 0, "full": 0, "paused": 0, "busy": 0}
