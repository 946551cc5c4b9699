"""When a controller takes itself for the leader."""

from __future__ import annotations

import pytest

from controller.leadership import Candidate, Role
from controller.store.base import Campaign, Leader, next_epoch

S = 1_000_000_000
LEADER = Leader(epoch=7, name="a", address="a:80")


def test_an_epoch_is_beyond_the_last_and_not_before_the_time() -> None:
    assert [next_epoch(*pair) for pair in ((0, 100), (100, 100), (100, 99), (100, 200))] == [100, 101, 101, 200]


def test_a_lease_counts_from_when_it_was_asked_for_and_is_left_before_it_ends() -> None:
    candidate = Candidate(lease_s=5)
    change = candidate.campaigned(Campaign(leader=LEADER, is_won=True), asked_ns=10 * S, now_ns=12 * S)
    assert change
    assert (change.role, change.epoch, candidate.role) == (Role.LEADER, 7, Role.LEADER)
    assert candidate.interval_ns == S
    assert [candidate.may_lead(now_s * S) for now_s in (12, 13, 14, 15)] == [True, True, False, False]
    candidate.renewed(12 * S)
    assert [candidate.may_lead(now_s * S) for now_s in (15, 16)] == [True, False]


def test_who_does_not_win_follows() -> None:
    candidate = Candidate(lease_s=5)
    change = candidate.campaigned(Campaign(leader=LEADER, is_won=False), asked_ns=0, now_ns=0)
    assert change
    assert (change.role, change.epoch, change.reason) == (Role.FOLLOWER, 7, "a leads")
    assert candidate.campaigned(Campaign(leader=LEADER, is_won=False), asked_ns=1, now_ns=1) is None, "known already"
    assert (candidate.role, candidate.leader, candidate.may_lead(0)) == (Role.FOLLOWER, LEADER, False)
    candidate.unreachable()
    assert candidate.leader is None


@pytest.mark.parametrize("late_s", [4, 5, 100])
def test_a_victory_that_is_heard_of_too_late_is_none(late_s: int) -> None:
    candidate = Candidate(lease_s=5)
    change = candidate.campaigned(Campaign(leader=LEADER, is_won=True), asked_ns=0, now_ns=late_s * S)
    assert change
    assert (change.role, change.epoch) == (Role.FOLLOWER, 7)
    assert candidate.role is Role.FOLLOWER


def test_what_ends_is_over() -> None:
    candidate = Candidate(lease_s=5)
    candidate.campaigned(Campaign(leader=LEADER, is_won=True), asked_ns=0, now_ns=0)
    change = candidate.ended("so")
    assert (change.role, change.epoch, change.reason) == (Role.FOLLOWER, 7, "so")
    assert not candidate.may_lead(1)
    assert candidate.leader is None
