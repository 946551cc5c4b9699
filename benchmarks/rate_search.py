"""The best rate of a forwarder: what is offered is raised until loss starts (pure)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

GROWTH = 1.3
#: A step loses if it delivers less than this share of what was offered.
DELIVERED_SHARE = 0.95
#: The generator is at its end if it offers less than this share of what was asked for.
OFFERED_SHARE = 0.8
#: One such step may be an accident of scheduling; the search ends at the second in a row.
LAST_STEPS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Rates seen at one step, in packets/s."""

    offered_pps: float
    delivered_pps: float


def best_rate(offer: Callable[[float], Step], *, first_pps: float) -> float:
    """The highest rate delivered at any step, in packets/s.

    Args:
        offer: offers packets at a rate for a while.
        first_pps: the rate of the first step; each next one is `GROWTH` times higher.
    """
    rate, best, ends = first_pps, 0.0, 0
    while ends < LAST_STEPS:
        step = offer(rate)
        best = max(best, step.delivered_pps)
        loses = step.delivered_pps < DELIVERED_SHARE * step.offered_pps
        exhausted = step.offered_pps < OFFERED_SHARE * rate
        ends = ends + 1 if loses or exhausted else 0
        rate *= GROWTH
    return best
