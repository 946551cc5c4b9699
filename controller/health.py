"""Observed health of nodes [H1], apart from what the operator intends [B6].

A node is checked in several ways; each check counts for itself. From UNKNOWN, one success makes a check UP; from DOWN
it takes `rise` in a row; `fall` failures in a row make it DOWN. A node is DOWN when any of its checks is, else UP when
a probe on the data path has succeeded, else UNKNOWN.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Health(StrEnum):
    """What was observed of a node."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"


class CheckKind(StrEnum):
    """Ways to look at a node."""

    PATH = "path"
    STATUS = "status"


class Check(NamedTuple):
    """One check of a node: a probe through a switch to a vserver, or the node's own status."""

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
    """A node's health changed. `failing_since_ns` is when the first failed check of the row was begun."""

    node_id: int
    before: Health
    after: Health
    reason: str
    failing_since_ns: int


@dataclass(slots=True)
class _Counter:
    state: Health = Health.UNKNOWN
    successes: int = 0
    failures: int = 0
    failing_since_ns: int = 0
    failure: str = ""

    def count(self, outcome: Outcome, rise: int, fall: int) -> None:
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


@dataclass(slots=True)
class NodeHealth:
    """The checks of one node and what follows from them."""

    node_id: int
    rise: int
    fall: int
    since_ns: int
    state: Health = Health.UNKNOWN
    reason: str = "not checked yet"
    _counters: dict[Check, _Counter] = field(default_factory=dict)

    def observe(self, check: Check, outcome: Outcome, now_ns: int) -> Transition | None:
        """Count the outcome of a check."""
        counter = self._counters.setdefault(check, _Counter())
        counter.count(outcome, self.rise, self.fall)
        return self._judge(now_ns)

    def forget(self, switch: str, now_ns: int) -> Transition | None:
        """Drop the checks through a switch that was lost: they say nothing of the node any more."""
        self._counters = {check: counter for check, counter in self._counters.items() if check.switch != switch}
        return self._judge(now_ns)

    def _judge(self, now_ns: int) -> Transition | None:
        down = [(check, counter) for check, counter in self._counters.items() if counter.state is Health.DOWN]
        if down:
            after = Health.DOWN
            reason = "; ".join(f"{check} check: {counter.failure}" for check, counter in down)
        elif any(c.state is Health.UP and check.kind is CheckKind.PATH for check, c in self._counters.items()):
            after, reason = Health.UP, "answers"
        else:
            after, reason = Health.UNKNOWN, "not checked on the data path"
        before, self.state = self.state, after
        if before is after:
            return None
        self.since_ns, self.reason = now_ns, reason
        return Transition(
            node_id=self.node_id,
            before=before,
            after=after,
            reason=reason,
            failing_since_ns=min((counter.failing_since_ns for _, counter in down), default=0),
        )
