"""Observed health of nodes [H1], apart from what the operator intends [B6].

A node is checked in several ways; each check counts for itself. From UNKNOWN, one success makes a check UP; from DOWN
it takes `rise` in a row; `fall` failures in a row make it DOWN. A node is DOWN when any of its checks is, or while it
is held down because it flapped (`controller.damping`); else UP when a probe on the data path has succeeded, else
UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from controller.damping import Penalty


class Health(StrEnum):
    """What was observed of a node."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"


class CheckKind(StrEnum):
    """Ways to look at a node."""

    PATH = "path"
    MANAGEMENT = "management"
    TICKET_KEYS = "ticket_keys"


class Check(NamedTuple):
    """One check of a node: a probe through a switch to a vserver, or one of its management address."""

    kind: CheckKind
    switch: str = ""
    vserver: str = ""

    def __str__(self) -> str:
        return ":".join(part for part in self if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one check went; `started_ns` is when it was begun, `failure` says why it failed (empty: it did not)."""

    started_ns: int
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A node's health changed, or why it is down: from failing to held down, or back.

    Attributes:
        is_held: whether it is held down though its checks succeed.
        failing_since_ns: when the first failed check of the row was begun.
    """

    node_id: int
    before: Health
    after: Health
    reason: str
    is_held: bool
    failing_since_ns: int


@dataclass(slots=True)
class _Counter:
    state: Health = Health.UNKNOWN
    successes: int = 0
    failures: int = 0
    failing_since_ns: int = 0
    failure: str = ""

    def count(self, outcome: Outcome, rise: int, fall: int) -> bool:
        """Whether the state has changed."""
        before = self.state
        if outcome.failure:
            if not self.failures:
                self.failing_since_ns = outcome.started_ns
            self.failures, self.successes, self.failure = self.failures + 1, 0, outcome.failure
            if self.failures >= fall:
                self.state = Health.DOWN
        else:
            self.failures, self.successes = 0, self.successes + 1
            if self.state is Health.UNKNOWN or self.successes >= rise:
                self.state = Health.UP
        return self.state is not before


@dataclass(slots=True)
class NodeHealth:
    """The checks of one node and what follows from them.

    Attributes:
        is_answering: whether its checks succeed, though it may be held down.
    """

    node_id: int
    rise: int
    fall: int
    since_ns: int
    penalty: Penalty
    state: Health = Health.UNKNOWN
    reason: str = "not checked yet"
    is_answering: bool = False
    _counters: dict[Check, _Counter] = field(default_factory=dict)

    def observe(self, check: Check, outcome: Outcome, now_ns: int) -> Transition | None:
        """Count the outcome of a check."""
        counter = self._counters.setdefault(check, _Counter())
        has_changed = counter.count(outcome, self.rise, self.fall)
        return self._judge(now_ns) if has_changed or self.penalty.is_held else None

    def hold_back(self, check: Check, reason: str, now_ns: int) -> Transition | None:
        """Down from now on, and until this check is `retain`ed no longer, whatever the others say."""
        self._counters[check] = _Counter(state=Health.DOWN, failing_since_ns=now_ns, failure=reason)
        return self._judge(now_ns)

    def is_held_back_by(self, check: Check) -> bool:
        """Whether it would be up but for this check."""
        others = {other: counter.state for other, counter in self._counters.items() if other != check}
        return Health.DOWN not in others.values() and any(
            state is Health.UP and other.kind is CheckKind.PATH for other, state in others.items()
        )

    def forget(self, switch: str, now_ns: int) -> Transition | None:
        """Drop the checks through a switch that was lost: they say nothing of the node any more."""
        return self.retain(lambda check: check.switch != switch, now_ns)

    def retain(self, is_wanted: Callable[[Check], bool], now_ns: int) -> Transition | None:
        """Drop the checks that are no longer made."""
        self._counters = {check: counter for check, counter in self._counters.items() if is_wanted(check)}
        return self._judge(now_ns)

    def clear_penalty(self, now_ns: int) -> Transition | None:
        """An operator forgives the node that it flapped."""
        self.penalty.clear()
        return self._judge(now_ns)

    def _judge(self, now_ns: int) -> Transition | None:
        down = [(check, counter) for check, counter in self._counters.items() if counter.state is Health.DOWN]
        is_up = any(c.state is Health.UP and check.kind is CheckKind.PATH for check, c in self._counters.items())
        if down:
            after = Health.DOWN
            reason = "; ".join(f"{check} check: {counter.failure}" for check, counter in down)
        elif is_up and not self.penalty.release(now_ns):
            after, reason = Health.DOWN, "answers, but is held down for flapping"
        elif is_up:
            after, reason = Health.UP, "answers"
        else:
            after, reason = Health.UNKNOWN, "not checked on the data path"
        if self.is_answering and down:  # counts while it is held down, too
            self.penalty.fail(now_ns)
        had_answered, self.is_answering = self.is_answering, is_up and not down
        before, self.state = self.state, after
        self.reason = reason
        if before is not after:
            self.since_ns = now_ns
        elif after is not Health.DOWN or had_answered is self.is_answering:
            return None
        return Transition(
            node_id=self.node_id,
            before=before,
            after=after,
            reason=reason,
            is_held=after is Health.DOWN and self.is_answering,
            failing_since_ns=min((counter.failing_since_ns for _, counter in down), default=0),
        )
