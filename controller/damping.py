"""Flap damping [H2], as RFC 2439 has it for routes: a penalty for each failure that decays exponentially.

Backing off `rise` was the alternative: it forgets nothing gradually, and an operator cannot be told when the node will
be back. The penalty counts failures: one is 1 when it happens, half of that a half-life later. From `suppress` on the
node is held down though its checks succeed, until the penalty has decayed to `reuse` (RFC 2439 section 4.2). A ceiling
sees to it that no node is held for longer than `max_hold_s` after its last failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

from pentaflow.config import Damping

_NS_PER_S = 1_000_000_000


@dataclass(slots=True)
class Penalty:
    """The penalty of one node, and whether it is held down for it."""

    rule: Damping
    is_held: bool = False
    _value: float = 0.0
    _at_ns: int = 0

    def fail(self, now_ns: int) -> None:
        """The node has failed once more."""
        # A ceiling of a thousand half-lives is none, and still a float.
        ceiling = self.rule.reuse * 2.0 ** min(self.rule.max_hold_s / self.rule.half_life_s, 1000)
        self._value, self._at_ns = min(self.value(now_ns) + 1, ceiling), now_ns
        self.is_held = self.is_held or self._value >= self.rule.suppress

    def value(self, now_ns: int) -> float:
        """What is left of the penalty, in failures."""
        half_lives: float = max(0, now_ns - self._at_ns) / (self.rule.half_life_s * _NS_PER_S)
        return self._value * 2**-half_lives

    def release(self, now_ns: int) -> bool:
        """Whether the node may serve; from when the penalty has decayed to `reuse` it is no longer held."""
        if self.is_held and now_ns >= self.held_until_ns():
            self.is_held = False
        return not self.is_held

    def held_until_ns(self) -> int:
        """When a node that is held will be released, if it does not fail again before."""
        half_lives = max(0.0, log2(self._value / self.rule.reuse)) if self._value else 0.0
        return self._at_ns + ceil(half_lives * self.rule.half_life_s * _NS_PER_S)

    def clear(self) -> None:
        """Forget every failure: an operator knows better."""
        self._value, self.is_held = 0.0, False
