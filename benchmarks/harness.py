"""How a row is measured: one sample of ours, one of the peer's, in turn, so that a slow moment hits both alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.figures import Better, Figure, summarise


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How much effort is made.

    Attributes:
        alternations: samples of each side.
        seconds: how long a sample sends, where it is for the benchmark to choose.
        scale: share of what is otherwise done a fixed number of times, above 0, up to 1.
    """

    alternations: int
    seconds: float
    scale: float


FULL = Profile(alternations=5, seconds=2.0, scale=1.0)
QUICK = Profile(alternations=1, seconds=0.3, scale=0.1)

#: Measures once: setting → value. Every call gives the same settings.
Sample = Callable[[Profile], Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What a row is compared with."""

    name: str
    is_installed: Callable[[], bool]
    sample: Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A row of the table."""

    name: str
    unit: str
    better: Better
    sample: Sample
    peer: Peer | None = None


def run(benchmark: Benchmark, profile: Profile, *, progress: Callable[[], None] = lambda: None) -> list[Figure]:
    """Measure a row: one figure for each setting.

    Args:
        benchmark: the row.
        profile: the effort.
        progress: called after each alternation.
    """
    peer = benchmark.peer if benchmark.peer and benchmark.peer.is_installed() else None
    samples: defaultdict[str, list[float]] = defaultdict(list)
    peer_samples: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(profile.alternations):
        for setting, value in benchmark.sample(profile).items():
            samples[setting].append(value)
        if peer:
            for setting, value in peer.sample(profile).items():
                peer_samples[setting].append(value)
        progress()
    return [
        summarise(
            name=benchmark.name,
            unit=benchmark.unit,
            better=benchmark.better,
            setting=setting,
            samples=values,
            maybe_peer=peer.name if peer else None,
            peer_samples=peer_samples[setting],
        )
        for setting, values in samples.items()
    ]
