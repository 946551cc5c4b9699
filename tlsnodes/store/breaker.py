"""When to leave a store alone that does not answer (pure)."""

from __future__ import annotations

FAILURES = 3
MIN_PAUSE_S, MAX_PAUSE_S = 0.25, 4.0


class Breaker:
    """After `FAILURES` in a row one call is let through every so often, until one succeeds."""

    def __init__(self) -> None:
        self._failures = 0
        self._pause_s = MIN_PAUSE_S
        self._next_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether calls are being held back."""
        return self._failures >= FAILURES

    def may_call(self, now: float) -> bool:
        """Whether to make a call now; whoever is told so makes it."""
        if not self.is_open:
            return True
        if now < self._next_s:
            return False
        self._next_s = now + self._pause_s
        return True

    def failed(self, now: float) -> None:
        """A call got no answer."""
        self._failures += 1
        if self.is_open:
            self._next_s = now + self._pause_s
            self._pause_s = min(MAX_PAUSE_S, self._pause_s * 2)

    def succeeded(self) -> None:
        """A call got an answer."""
        self._failures = 0
        self._pause_s = MIN_PAUSE_S
