"""What is offered is raised until loss starts."""

from __future__ import annotations

from benchmarks.rate_search import GROWTH, Step, best_rate


def test_a_forwarder_that_holds_its_best_under_load() -> None:
    best = best_rate(lambda rate: Step(offered_pps=rate, delivered_pps=min(rate, 50_000)), first_pps=10_000)
    assert best == 50_000


def test_a_forwarder_that_collapses_is_judged_by_its_best() -> None:
    def offer(rate: float) -> Step:
        return Step(offered_pps=rate, delivered_pps=rate if rate <= 50_000 else 5_000)

    best = best_rate(offer, first_pps=10_000)
    assert 50_000 / GROWTH < best <= 50_000


def test_one_bad_step_does_not_end_the_search() -> None:
    offered: list[float] = []

    def offer(rate: float) -> Step:
        offered.append(rate)
        accident = len(offered) == 2
        return Step(offered_pps=rate, delivered_pps=0 if accident else min(rate, 100_000))

    assert best_rate(offer, first_pps=10_000) == 100_000


def test_it_ends_where_the_generator_does() -> None:
    def offer(rate: float) -> Step:
        offered = min(rate, 30_000)
        return Step(offered_pps=offered, delivered_pps=offered)

    assert best_rate(offer, first_pps=10_000) == 30_000
