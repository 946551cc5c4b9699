"""One status document of several workers'."""

from __future__ import annotations

from typing import Any

from tlsnodes.merging import merge_open, merge_statuses


def server(name: str, number: int, hits: int, average: float | None, *, up: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "id": number,
        "address": f"10.0.0.{number}:80",
        "weight": 3,
        "up": up,
        "hits": hits,
        "average_response_ms": average,
    }


def test_counts_are_added_and_what_is_configured_stays() -> None:
    merged = merge_statuses(
        [
            {"name": "web", "pool": "p", "requests": 3, "failed": {"alert": 1}},
            {"name": "web", "pool": "p", "requests": 4, "failed": {"alert": 2, "cut": 5}},
        ]
    )
    assert merged == {"name": "web", "pool": "p", "requests": 7, "failed": {"alert": 3, "cut": 5}}


def test_items_of_lists_are_matched_by_id_and_averages_weighed_by_hits() -> None:
    merged = merge_statuses(
        [
            {"servers": [server("w1", 1, 10, 1.0), server("w2", 2, 0, None)]},
            {"servers": [server("w2", 2, 1, 8.0, up=False), server("w1", 1, 30, 5.0, up=False)]},
        ]
    )
    assert merged == {"servers": [server("w1", 1, 40, 4.0), server("w2", 2, 1, 8.0)]}


def test_words_that_differ_are_all_said() -> None:
    rows = [{"id": 1, "state": state} for state in ("up", "ejected for another 3 s", "up")]
    assert merge_statuses([{"servers": [row]} for row in rows]) == {
        "servers": [{"id": 1, "state": "up; ejected for another 3 s"}]
    }


def test_nobody_says_nothing() -> None:
    assert merge_statuses([]) == {}
    assert merge_statuses([{"servers": [server("w1", 1, 0, None)]}] * 2)["servers"][0]["average_response_ms"] is None


def test_open_connections_are_added_by_bucket() -> None:
    answers = [
        {"web": {"open": 3, "buckets": {"1": 2, "9": 1}}},
        {"web": {"open": 1, "buckets": {"9": 1}}, "mail": {"open": 0, "buckets": {}}},
    ]
    assert merge_open(answers) == {
        "web": {"open": 4, "buckets": {"1": 2, "9": 2}},
        "mail": {"open": 0, "buckets": {}},
    }
    assert merge_open([]) == {}
