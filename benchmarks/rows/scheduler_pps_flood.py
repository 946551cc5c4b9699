"""Small packets/s through a VIP while a generator sends as fast as it can."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.figures import Better
from benchmarks.harness import Profile
from benchmarks.targets import Target, against_bmv2
from benchmarks.traffic import lanes


def sample(target: Target, profile: Profile) -> Mapping[str, float]:
    """Packets/s delivered to the node."""
    with lanes(target) as ready:
        return {setting: lane.offer(None, profile.seconds).delivered_pps for setting, lane in ready.items()}


BENCHMARK = against_bmv2(name="scheduler_pps_flood", unit="packets/s", better=Better.MORE, sample=sample)
