"""Ours and the peer's are measured in turn; a peer that is missing is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.figures import Better
from benchmarks.harness import FULL, Benchmark, Peer, Profile, run

THREE = Profile(alternations=3, seconds=0.0, scale=1.0)


def benchmark(log: list[str], *, installed: bool = True, peers: Sequence[str] = ("other",)) -> Benchmark:
    values = iter(range(1, 100))

    def sample(_profile: Profile) -> Mapping[str, float]:
        log.append("ours")
        value = next(values)
        return {"a": value, "b": 10 * value}

    def peer_sample(_profile: Profile) -> Mapping[str, float]:
        log.append("peer's")
        return {"a": 1, "b": 1}

    return Benchmark(
        name="row",
        unit="1/s",
        better=Better.MORE,
        sample=sample,
        peers=tuple(Peer(name=name, is_installed=lambda: installed, sample=peer_sample) for name in peers),
    )


def test_samples_alternate() -> None:
    log: list[str] = []
    run(benchmark(log), THREE)
    assert log == ["ours", "peer's"] * 3


def test_each_setting_is_a_figure_of_its_own() -> None:
    figures = run(benchmark([]), THREE)
    assert [(f.name, f.setting, f.value, f.peer_value, f.ratio) for f in figures] == [
        ("row", "a", 2, 1, 2),
        ("row", "b", 20, 1, 20),
    ]


def test_each_peer_has_its_turn_and_a_figure() -> None:
    log: list[str] = []
    figures = run(benchmark(log, peers=("one", "two")), THREE)
    assert log == ["ours", "peer's", "peer's"] * 3
    assert [(f.setting, f.peer, f.ratio) for f in figures] == [
        ("a", "one", 2),
        ("a", "two", 2),
        ("b", "one", 20),
        ("b", "two", 20),
    ]


def test_a_peer_that_is_not_installed_is_not_asked() -> None:
    log: list[str] = []
    figures = run(benchmark(log, installed=False), THREE)
    assert log == ["ours"] * 3
    assert {(f.peer, f.peer_value, f.ratio) for f in figures} == {(None, None, None)}


def test_progress_is_told_after_each_alternation() -> None:
    told = []
    run(benchmark([]), THREE, progress=lambda: told.append(1))
    assert len(told) == 3


def test_a_full_run_is_the_median_of_at_least_five() -> None:
    assert FULL.alternations >= 5
