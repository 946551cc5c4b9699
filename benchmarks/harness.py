"""How a row is measured: one sample of ours, one of each peer's, in turn, so that a slow moment hits all alike."""

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

#: Setting → value of every sample.
_Samples = defaultdict[str, list[float]]

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
    peers: tuple[Peer, ...] = ()


def run(benchmark: Benchmark, profile: Profile, *, progress: Callable[[], None] = lambda: None) -> list[Figure]:
    """Measure a row: one figure for each setting and peer that is installed; without peers, one for each setting.

    Args:
        benchmark: the row.
        profile: the effort.
        progress: called after each alternation.
    """
    peers = [peer for peer in benchmark.peers if peer.is_installed()]
    ours = _Samples(list)
    theirs = {peer.name: _Samples(list) for peer in peers}
    for _ in range(profile.alternations):
        _add(ours, benchmark.sample(profile))
        for peer in peers:
            _add(theirs[peer.name], peer.sample(profile))
        progress()
    return [
        summarise(
            name=benchmark.name,
            unit=benchmark.unit,
            better=benchmark.better,
            setting=setting,
            samples=samples,
            maybe_peer=maybe_peer,
            peer_samples=theirs[maybe_peer][setting] if maybe_peer else (),
        )
        for setting, samples in ours.items()
        for maybe_peer in theirs or (None,)
    ]


def _add(samples: _Samples, measured: Mapping[str, float]) -> None:
    for setting, value in measured.items():
        samples[setting].append(value)
