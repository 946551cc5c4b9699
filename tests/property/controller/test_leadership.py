"""Two controllers, one store, and whatever pauses, clocks and networks do."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.leadership import Candidate
from controller.store.base import Campaign, Fenced, Put
from controller.store.database import Database, Moment

LEASE_S = 5
NS_PER_MS = 1_000_000


@dataclass
class Process:
    """A controller with its own clock. It asks the store, is heard, and hears the answer, in turn."""

    name: str
    offset_ms: int
    percent: int
    candidate: Candidate = field(default_factory=lambda: Candidate(lease_s=LEASE_S))
    asked_ns: int | None = None
    answer: Campaign | Fenced | None = None
    is_answered: bool = False
    epochs: list[int] = field(default_factory=list)

    def now_ns(self, true_ms: int) -> int:
        return (self.offset_ms + true_ms * self.percent // 100) * NS_PER_MS

    def act(self, database: Database, true_ms: int, unix_s: int) -> None:
        now_ns, candidate = self.now_ns(true_ms), self.candidate
        if self.asked_ns is None:
            if candidate.epoch and not candidate.may_lead(now_ns):
                candidate.ended("late")
            self.asked_ns = now_ns
        elif not self.is_answered:
            self.answer, self.is_answered = self._ask(database, Moment("boot", true_ms * NS_PER_MS), unix_s), True
        else:
            if isinstance(self.answer, Fenced):
                candidate.ended("fenced")
            elif self.answer:
                candidate.campaigned(self.answer, self.asked_ns, now_ns)
            else:
                candidate.renewed(self.asked_ns)
            self.asked_ns, self.answer, self.is_answered = None, None, False

    def _ask(self, database: Database, moment: Moment, unix_s: int) -> Campaign | Fenced | None:
        if not self.candidate.epoch:
            campaign = database.campaign(self.name, "", LEASE_S, unix_s, moment)
            if campaign.is_won:
                self.epochs.append(campaign.leader.epoch)
            return campaign
        try:
            database.renew(self.candidate.epoch, moment)
        except Fenced as fenced:
            return fenced
        return None


@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 1),
            st.one_of(st.integers(0, 50), st.integers(0, 1_500), st.integers(0, 12_000)),
            st.integers(0, 2_000_000_000),
        ),
        max_size=80,
    ),
    clocks=st.tuples(*[st.tuples(st.integers(0, 1_000_000), st.integers(90, 110))] * 2),
)
def test_never_two_take_themselves_for_the_leader_and_the_fence_holds(
    steps: list[tuple[int, int, int]], clocks: tuple[tuple[int, int], ...]
) -> None:
    """Steps: who goes on, how long after the step before, and what the wall clock says meanwhile."""
    database = Database(None, busy_timeout_s=0)
    processes = [
        Process(name=name, offset_ms=offset_ms, percent=percent)
        for name, (offset_ms, percent) in zip("ab", clocks, strict=True)
    ]
    true_ms = 0
    for who, after_ms, unix_s in steps:
        true_ms += after_ms
        processes[who].act(database, true_ms, unix_s)
        assert all(p.epochs == sorted(p.epochs) for p in processes)
        epochs = sorted(epoch for p in processes for epoch in p.epochs)
        assert len(set(epochs)) == len(epochs)
        believers = [p.candidate.epoch for p in processes if p.candidate.may_lead(p.now_ns(true_ms))]
        assert believers in ([], epochs[-1:])
        for epoch in epochs[:-1]:
            with pytest.raises(Fenced):
                database.commit(epoch, [Put("a", b"")], (), Moment("boot", true_ms * NS_PER_MS))
        for epoch in believers:
            assert database.commit(epoch, [Put("a", b"")], (), Moment("boot", true_ms * NS_PER_MS))
    database.close()


def test_a_lease_of_another_boot_has_ended() -> None:
    database = Database(None, busy_timeout_s=0)
    first = database.campaign("a", "", LEASE_S, 0, Moment("first", 1000))
    assert database.maybe_leader(Moment("first", 2000)) == first.leader
    assert database.maybe_leader(Moment("second", 10)) is None
    with pytest.raises(Fenced):
        database.renew(first.leader.epoch, Moment("second", 10))
    second = database.campaign("b", "", LEASE_S, 0, Moment("second", 10))
    assert second.is_won
    assert second.leader.epoch > first.leader.epoch
    database.close()
