"""Samples become medians, ratios and spreads; figures become documents."""

from __future__ import annotations

import json

import pytest

from benchmarks.figures import Better, Figure, as_json, as_markdown, as_record, summarise


def summary(better: Better, samples: list[float], peer_samples: list[float]) -> Figure:
    return summarise(
        name="row",
        unit="s",
        better=better,
        setting="warm",
        samples=samples,
        maybe_peer="other" if peer_samples else None,
        peer_samples=peer_samples,
    )


def test_the_medians_are_compared() -> None:
    figure = summary(Better.MORE, [10, 30, 20], [5, 500, 4])
    assert (figure.value, figure.peer_value, figure.ratio) == (20, 5, 4)


def test_less_is_better_turns_the_ratio_round() -> None:
    assert summary(Better.LESS, [2.0], [8.0]).ratio == 4
    assert summary(Better.LESS, [8.0], [2.0]).ratio == 0.25


def test_the_spread_is_of_our_own_samples() -> None:
    assert summary(Better.MORE, [10, 30, 20], [1, 1000]).spread == 1.0


def test_without_a_peer_there_is_nothing_to_compare() -> None:
    figure = summary(Better.MORE, [3.0], [])
    assert (figure.peer, figure.peer_value, figure.ratio) == (None, None, None)


@pytest.mark.parametrize(("better", "ours", "theirs"), [(Better.MORE, 1.0, 0.0), (Better.LESS, 0.0, 1.0)])
def test_nothing_is_divided_by_zero(better: Better, ours: float, theirs: float) -> None:
    figure = summary(better, [ours], [theirs])
    assert figure.ratio is None
    assert figure.spread == 0


def test_values_have_four_significant_digits() -> None:
    assert summary(Better.MORE, [123456.0], [0.0123456]).value == 123500
    assert summary(Better.MORE, [123456.0], [0.0123456]).peer_value == 0.01235


FIGURE = summary(Better.MORE, [20_000], [5_000])


def test_the_document_is_a_list_of_objects() -> None:
    assert json.loads(as_json([FIGURE])) == [
        {
            "name": "row",
            "value": 20000,
            "unit": "s",
            "peer": "other",
            "peer_value": 5000,
            "ratio": 4,
            "spread": 0,
            "setting": "warm",
        }
    ]


def test_a_kept_run_names_its_machine() -> None:
    record = json.loads(as_record([FIGURE], {"memory": "4 GiB"}))
    assert record == {"machine": {"memory": "4 GiB"}, "figures": json.loads(as_json([FIGURE]))}


def test_the_table_for_the_docs() -> None:
    alone = summary(Better.MORE, [0.5], [])
    assert as_markdown([FIGURE, alone], {"memory": "4 GiB"}).splitlines() == [
        "| name | setting | value | unit | peer | its value | ratio | spread |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| `row` | warm | 20,000 | s | other | 5,000 | 4 x | 0% |",
        "| `row` | warm | 0.5 | s | - | - | - | 0% |",
        "",
        "- memory: 4 GiB",
    ]
