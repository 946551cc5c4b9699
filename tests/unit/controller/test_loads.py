"""How busy vservers are, from status documents."""

from __future__ import annotations

from typing import Any

import pytest

from controller.loads import Loads
from controller.transit import Load

S = 1_000_000_000
NAMES = {1: "web"}


def document(total: int, open_connections: int = 3) -> dict[str, Any]:
    return {"vservers": [{"name": "web", "connections": total, "open_connections": open_connections}]}


def test_a_rate_takes_two_documents_and_adds_up_over_nodes() -> None:
    loads = Loads()
    loads.take(1, document(100), 0)
    assert loads.of(NAMES, [1, 2]) == {}
    loads.take(1, document(120), 2 * S)
    loads.take(2, document(0), 0)
    loads.take(2, document(5), 1 * S)
    assert loads.of(NAMES, [1, 2]) == {1: Load(open_connections=6, new_per_s=15.0)}
    assert loads.of(NAMES, [1]) == {1: Load(open_connections=3, new_per_s=10.0)}


def test_the_same_document_again_changes_nothing() -> None:
    loads = Loads()
    for total, at_s in ((0, 0), (10, 1), (10, 1)):
        loads.take(1, document(total), at_s * S)
    assert loads.of(NAMES, [1])[1].new_per_s == 10.0


def test_a_rate_falls_slowly() -> None:
    loads = Loads()
    for total, at_s in ((0, 0), (100, 1), (100, 2)):
        loads.take(1, document(total), at_s * S)
    assert loads.of(NAMES, [1])[1].new_per_s == pytest.approx(90.0)


def test_a_node_that_starts_anew_counts_from_nothing() -> None:
    loads = Loads()
    for total, at_s in ((1000, 0), (7, 1)):
        loads.take(1, document(total), at_s * S)
    assert loads.of(NAMES, [1])[1].new_per_s == 7.0


@pytest.mark.parametrize("bad", [{}, {"vservers": 1}, {"vservers": [1, {"name": "web"}]}, {"vservers": [{"name": 1}]}])
def test_what_is_no_status_is_passed_over(bad: dict[str, Any]) -> None:
    loads = Loads()
    loads.take(1, bad, 0)
    loads.take(1, bad, S)
    assert loads.of(NAMES, [1]) == {}
