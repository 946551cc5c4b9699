"""Slow start: a server that comes up gets its full weight little by little."""

from __future__ import annotations

FLOOR = 0.1
"""The share of its weight that a server starts with."""

STEPS = 20
"""How often the weight is adjusted on the way."""


def ramp(age_s: float, slow_start_s: float) -> float:
    """The share of its weight that a server has, `age_s` after it came up: a line from `FLOOR` to 1."""
    if age_s >= slow_start_s:
        return 1.0
    return FLOOR + (1.0 - FLOOR) * age_s / slow_start_s
