from __future__ import annotations

from tlsnodes.log_budget import LINES_PER_S, LogBudget


def test_what_is_left_out_is_told_once_its_second_is_over() -> None:
    budget = LogBudget()
    assert [budget.allows(5.0) for _ in range(LINES_PER_S + 3)] == [True] * LINES_PER_S + [False] * 3
    assert budget.take_left_out(5.9) == 0
    assert not budget.allows(5.9)
    assert budget.take_left_out(6.0) == 4
    assert budget.take_left_out(6.0) == 0
    assert budget.allows(6.0)
    assert budget.take_left_out(9.0) == 0
