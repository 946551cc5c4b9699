"""Digest lists: when they are due, and what is left out of them."""

from __future__ import annotations

import pytest

from softswitch.p4runtime import digests
from softswitch.p4runtime.digests import MAX_LIST_SIZE, DigestList, DigestStream

A, B, C = (1, 1), (2, 2), (3, 3)


def stream(*, max_timeout_ns: int = 100, max_list_size: int = 0, ack_timeout_ns: int = 1000) -> DigestStream:
    return DigestStream(max_timeout_ns=max_timeout_ns, max_list_size=max_list_size, ack_timeout_ns=ack_timeout_ns)


def test_a_list_waits_for_its_oldest_message() -> None:
    waiting = stream()
    assert waiting.deadline_ns() is None
    assert waiting.offer(A, 50) is None
    assert waiting.offer(B, 149) is None
    assert waiting.deadline_ns() == 150
    assert waiting.take(149) is None
    assert waiting.take(150) == DigestList(list_id=1, messages=(A, B))
    assert waiting.deadline_ns() is None
    assert waiting.take(1000) is None


def test_a_full_list_does_not_wait() -> None:
    full = stream(max_list_size=2)
    assert full.offer(A, 0) is None
    assert full.offer(A, 1) is None
    assert full.offer(B, 2) == DigestList(list_id=1, messages=(A, B))


def test_without_a_timeout_nothing_waits() -> None:
    assert stream(max_timeout_ns=0).offer(A, 0) == DigestList(list_id=1, messages=(A,))


def test_an_unbounded_list_is_bounded() -> None:
    unbounded = stream(max_timeout_ns=1 << 60)
    lists = [unbounded.offer((number,), 0) for number in range(MAX_LIST_SIZE)]
    assert [due for due in lists if due is not None] == [lists[-1]]


def test_what_was_sent_is_held_back_until_the_ack() -> None:
    sent = stream(max_list_size=1)
    assert sent.offer(A, 0) is not None
    assert sent.offer(A, 1) is None
    sent.acknowledge(7)
    assert sent.offer(A, 2) is None
    sent.acknowledge(1)
    assert sent.offer(A, 3) == DigestList(list_id=2, messages=(A,))


def test_what_was_sent_is_held_back_until_the_ack_is_overdue() -> None:
    sent = stream(max_list_size=1)
    assert sent.offer(A, 0) is not None
    assert sent.offer(A, 999) is None
    assert sent.offer(B, 999) is not None
    assert sent.offer(A, 1000) is not None
    assert sent.offer(B, 1000) is None


def test_without_an_ack_timeout_nothing_is_held_back() -> None:
    eager = stream(max_list_size=1, ack_timeout_ns=0)
    assert [eager.offer(A, 0) is not None for _ in range(3)] == [True, True, True]


def test_a_new_primary_gets_everything_again() -> None:
    sent = stream(max_list_size=1)
    sent.offer(A, 0)
    sent.reset_cache()
    assert sent.offer(A, 1) is not None


def test_unacknowledged_messages_are_bounded_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "MAX_UNACKNOWLEDGED", 2)
    bounded = stream(max_list_size=1)
    assert [bounded.offer(message, 0) is not None for message in (A, B, C)] == [True, True, False]
    assert bounded.dropped == 1
    bounded.acknowledge(1)
    assert bounded.offer(C, 1) is not None


def test_new_parameters_keep_what_waits() -> None:
    changed = stream()
    changed.offer(A, 0)
    changed.configure(max_timeout_ns=10, max_list_size=2, ack_timeout_ns=0)
    assert changed.deadline_ns() == 10
    assert changed.offer(B, 1) == DigestList(list_id=1, messages=(A, B))
