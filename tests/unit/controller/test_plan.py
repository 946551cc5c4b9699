"""Parts and sums of a plan."""

from __future__ import annotations

import numpy as np

from controller.buckets import Reason
from controller.plan import MOVE_DTYPE, Plan, PlannedMove

MOVES = [(1, 0, 1, 2, 0), (1, 5, 1, 2, 0), (2, 0, 1, 2, 0), (1, 9, 3, 2, 1)]


def make_plan(*moves: tuple[int, ...]) -> Plan:
    return Plan(map_version=1, reason=Reason.DRAIN, moves=np.array(list(moves), dtype=MOVE_DTYPE))


def test_a_slice_is_by_place_whatever_the_wave() -> None:
    plan = make_plan(*MOVES)
    assert plan.slice(2, 4) == tuple(PlannedMove(*move) for move in MOVES[2:])
    assert plan.slice(3, 99) == (PlannedMove(*MOVES[3]),)
    assert plan.slice(4, 9) == plan.slice(1 << 70, 1 << 71) == ()


def test_flows_add_up_to_the_moves() -> None:
    plan = make_plan(*MOVES)
    assert plan.flows() == {(1, 1, 2): 2, (2, 1, 2): 1, (1, 3, 2): 1}
    assert plan.flows().total() == len(plan)
    assert not make_plan().flows()
