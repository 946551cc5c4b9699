"""docs/persistence.md has the matrix that nodes are held to."""

from __future__ import annotations

from support.persistence_matrix import parts, table


def test_the_table_is_what_the_tests_go_by() -> None:
    assert parts()[1] == table(), "write it anew: PYTHONPATH=.:tests python -m support.persistence_matrix"
