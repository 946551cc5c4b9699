"""Small packets/s through a VIP at best: what is offered is raised until loss starts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from benchmarks.figures import Better
from benchmarks.harness import Profile
from benchmarks.rate_search import best_rate
from benchmarks.targets import Target, against_bmv2
from benchmarks.traffic import lanes

FIRST_PPS = 10_000
STEP_SHARE = 0.25


def sample(target: Target, profile: Profile) -> Mapping[str, float]:
    """Packets/s delivered to the node."""
    seconds = profile.seconds * STEP_SHARE
    with lanes(target) as ready:
        return {
            setting: best_rate(partial(lane.offer, seconds=seconds), first_pps=FIRST_PPS)
            for setting, lane in ready.items()
        }


BENCHMARK = against_bmv2(name="scheduler_pps", unit="packets/s", better=Better.MORE, sample=sample)
