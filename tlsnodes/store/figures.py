"""What a worker counts of its store (pure)."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Any

BOUNDS_MS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 1000.0)
"""Upper ends of the classes that calls are counted in, by how long they took; what took longer is in none."""


class Fault(StrEnum):
    """Why a call of the store came to nothing."""

    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    FULL = "full"
    PAUSED = "paused"  # it was not made: calls before it had failed
    BUSY = "busy"  # it was not made: too many others were waiting for their answers


class Figures:
    """Counts, since the worker was started."""

    def __init__(self) -> None:
        self.hits = 0  # of copies
        self.found = 0
        self.missed = 0
        self.dropped = 0
        self.faults: Counter[Fault] = Counter()
        self._answers = [0] * len(BOUNDS_MS)
        self._count = 0
        self._sum_s = 0.0

    def answered(self, seconds: float) -> None:
        """A call got an answer."""
        self._count += 1
        self._sum_s += seconds
        for i, bound in enumerate(BOUNDS_MS):
            if seconds * 1000 <= bound:
                self._answers[i] += 1
                return

    def describe(self) -> dict[str, Any]:
        """For the status document: sums of what all workers say are the node's figures."""
        return {
            "hits": self.hits,
            "found": self.found,
            "missed": self.missed,
            "dropped": self.dropped,
            "faults": {fault.value: self.faults[fault] for fault in Fault},
            "answers": self._count,
            "answers_s": round(self._sum_s, 6),
            "answers_within_ms": {f"{bound:g}": count for bound, count in zip(BOUNDS_MS, self._answers, strict=True)},
        }
