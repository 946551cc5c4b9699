"""What the packet generator gives by itself: the scheduler's figures mean something while they are well below it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from benchmarks import vip
from benchmarks.figures import Better
from benchmarks.frames import SYN
from benchmarks.generator import Generator
from benchmarks.harness import Benchmark, Profile
from benchmarks.network import cable
from benchmarks.traffic import Lane, client_frames


def sample(profile: Profile) -> Mapping[str, float]:
    """Packets/s at the other end of a bare veth pair."""
    with (
        cable("node", "client", mac=vip.CLIENT_MAC, offloads=True),
        closing(Generator("client", client_frames(SYN))) as generator,
    ):
        return {"64 octets": Lane(generator, "node").offer(None, profile.seconds).delivered_pps}


BENCHMARK = Benchmark(name="generator_pps", unit="packets/s", better=Better.MORE, sample=sample)
