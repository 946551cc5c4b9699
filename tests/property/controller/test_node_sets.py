"""Vservers with sets of nodes of their own: each is served by its own nodes only, whatever happens to others [B11]."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from controller.adoption import adopt
from controller.buckets import UNASSIGNED, BucketMap, Reason
from controller.node_sets import NodeSet, members
from controller.planner import make_plan, plan_failover, plan_tidy

SIZE = 256
SLOTS = 4


@st.composite
def some_sets(draw: st.DrawFn) -> tuple[NodeSet, ...]:
    """One to three sets of one to four nodes, each with one or two vservers."""
    ends = [0, *np.cumsum(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))).tolist()]
    counts = [draw(st.integers(1, 2)) for _ in ends[1:]]
    ids = iter(range(1, 99))
    return tuple(
        NodeSet(node_ids=frozenset(range(a + 1, b + 1)), vserver_ids=tuple(next(ids) for _ in range(count)))
        for (a, b), count in zip(pairwise(ends), counts, strict=True)
    )


def spread(sets: tuple[NodeSet, ...], weights: dict[int, int], found: BucketMap | None = None) -> BucketMap:
    return adopt(
        found.buckets if found else {},
        found.slots if found else {},
        read_splits=found.splits if found else {},
        sizes={vserver_id: SIZE for its in sets for vserver_id in its.vserver_ids},
        weights=weights,
        configured=weights.keys(),
        slots_per_node=SLOTS,
        members=members(sets),
    )


def check_owners(bucket_map: BucketMap, sets: tuple[NodeSet, ...]) -> None:
    for vserver_id, nodes in members(sets).items():
        assert set(bucket_map.owners(vserver_id).tolist()) <= nodes


@given(sets=some_sets(), data=st.data())
def test_plans_balance_each_vserver_over_its_own_nodes(sets: tuple[NodeSet, ...], data: st.DataObject) -> None:
    nodes = sorted(node for its in sets for node in its.node_ids)
    bucket_map = spread(sets, dict.fromkeys(nodes, 1))
    check_owners(bucket_map, sets)
    weights = {node: data.draw(st.integers(0, 3), f"weight of {node}") for node in nodes}
    plan = make_plan(bucket_map, weights, Reason.WEIGHTS, members(sets))
    for its in sets:
        total = sum(weights[node] for node in its.node_ids)
        for vserver_id in its.vserver_ids:
            gained = dict.fromkeys(nodes, 0)
            for move in plan:
                if move.vserver_id == vserver_id:
                    gained[move.from_node] -= 1
                    gained[move.to_node] += 1
            holding = bucket_map.holding(vserver_id)
            for node in nodes:
                share = SIZE * weights[node] / total if node in its.node_ids and total else None
                if share is None:
                    assert not gained[node], "nothing comes from, or goes to, nodes of others"
                else:
                    assert abs(holding[node] + gained[node] - share) < 1


@given(sets=some_sets(), data=st.data())
def test_a_failure_costs_the_slots_of_a_node_and_moves_nothing_of_others(
    sets: tuple[NodeSet, ...], data: st.DataObject
) -> None:
    nodes = sorted(node for its in sets for node in its.node_ids)
    bucket_map = spread(sets, dict.fromkeys(nodes, 1))
    for _ in range(data.draw(st.integers(1, 3), "failures")):
        lost = data.draw(st.sampled_from(nodes), "lost")
        its = next(its for its in sets if lost in its.node_ids)
        others = {v: bucket_map.owners(v).tolist() for s in sets if s is not its for v in s.vserver_ids}
        survivors = dict.fromkeys(its.node_ids - {lost}, 1)
        moves = plan_failover(bucket_map, {lost}, survivors, SLOTS)
        assert len(moves) == (SLOTS if survivors else 0)
        bucket_map.apply(moves)
        check_owners(bucket_map, sets)
        assert others == {v: bucket_map.owners(v).tolist() for v in others}
        while tidied := plan_tidy(bucket_map, SLOTS, 100):
            bucket_map.apply(tidied)
            check_owners(bucket_map, sets)
        plan = make_plan(bucket_map, dict.fromkeys(nodes, 1), Reason.REBALANCE, members(sets))
        bucket_map = spread(sets, dict.fromkeys(nodes, 1))
        assert not plan or its.vserver_ids[0] in plan.by_vserver()


@given(before=some_sets(), after=some_sets())
def test_a_map_of_other_sets_is_adopted_without_a_bucket_on_a_foreign_node(
    before: tuple[NodeSet, ...], after: tuple[NodeSet, ...]
) -> None:
    found = spread(before, dict.fromkeys((node for its in before for node in its.node_ids), 1))
    nodes = {node for its in after for node in its.node_ids}
    adopted = spread(after, dict.fromkeys(nodes, 1), found)
    unknown = {node for its in before for node in its.node_ids} - nodes
    if len(after) == 1 and unknown:  # these fail over by their slots, at once
        adopted.apply(plan_failover(adopted, unknown, dict.fromkeys(nodes, 1), SLOTS))
    check_owners(adopted, after)
    assert all(UNASSIGNED not in slots for slots in adopted.buckets.values())
