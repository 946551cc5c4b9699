"""How many log lines clients and servers can bring about (pure)."""

from __future__ import annotations

import math

LINES_PER_S = 10


class LogBudget:
    """At most `LINES_PER_S` lines a second; the others are counted."""

    __slots__ = ("_left", "_left_out", "_second_ends")

    def __init__(self) -> None:
        self._left = 0
        self._left_out = 0
        self._second_ends = -math.inf

    def allows(self, now: float) -> bool:
        """Whether a line may be written; `now` is seconds on a monotonic clock."""
        if now >= self._second_ends:
            self._second_ends = now + 1
            self._left = LINES_PER_S
        if self._left:
            self._left -= 1
            return True
        self._left_out += 1
        return False

    def take_left_out(self, now: float) -> int:
        """How many lines are missing since this was last told; 0 before their second is over."""
        if now < self._second_ends:
            return 0
        count, self._left_out = self._left_out, 0
        return count
