"""Plans keep their promises whatever happens: balance, minimality, idempotence, and nothing is ever lost."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from controller.adoption import adopt
from controller.buckets import UNASSIGNED, BucketMap, Reason, home_node, home_slots
from controller.planner import make_plan, plan_failover, plan_tidy
from controller.shares import fill, spread

weights_by_node = st.dictionaries(st.integers(1, 60), st.integers(0, 50), min_size=1, max_size=12).filter(
    lambda weights: any(weights.values())
)
sizes = st.sampled_from([256, 512, 1024])


@given(size=st.integers(0, 5000), weights=weights_by_node)
def test_spread_gives_everything_away_within_one_of_the_exact_share(size: int, weights: dict[int, int]) -> None:
    shares = spread(size, weights)
    total = sum(weights.values())
    assert sum(shares.values()) == size
    assert all(abs(shares[node] - size * weight / total) < 1 for node, weight in weights.items())
    assert all(shares[node] == 0 for node, weight in weights.items() if weight == 0)


@given(size=sizes, weights=weights_by_node, slots_per_node=st.integers(1, 16))
def test_a_fresh_map_has_the_shares_and_reading_it_back_changes_nothing(
    size: int, weights: dict[int, int], slots_per_node: int
) -> None:
    fresh = adopt({}, {}, sizes={1: size}, weights=weights, configured=weights.keys(), slots_per_node=slots_per_node)
    assert +fresh.holding(1) == +Counter(spread(size, weights))
    again = adopt(
        fresh.buckets,
        fresh.slots,
        sizes={1: size},
        weights=weights,
        configured=weights.keys(),
        slots_per_node=slots_per_node,
    )
    assert again == fresh
    assert plan_tidy(fresh, slots_per_node, 10_000) == ()
    assert not make_plan(fresh, weights, Reason.REBALANCE)


@given(
    read=st.lists(st.integers(UNASSIGNED, 80), max_size=300),
    slots=st.dictionaries(st.integers(0, 80), st.integers(1, 6), max_size=60),
    weights=st.dictionaries(st.integers(1, 4), st.integers(0, 3), min_size=1),
)
def test_any_foreign_map_is_completed_and_kept_where_it_can_be(
    read: list[int], slots: dict[int, int], weights: dict[int, int]
) -> None:
    adopted = adopt({1: read}, slots, sizes={1: 256}, weights=weights, configured=weights.keys(), slots_per_node=4)
    assert len(adopted.buckets[1]) == 256
    assert all(slot in adopted.slots for slot in adopted.buckets[1])
    kept = {bucket: slot for bucket, slot in enumerate(read) if bucket < 256 and slot in slots}
    assert all(adopted.buckets[1][b] == s and adopted.slots[s] == slots[s] for b, s in kept.items())


@given(levels=st.lists(st.integers(-9, 9), min_size=1, max_size=7), count=st.integers(0, 60))
def test_who_has_least_gets_the_next(levels: list[int], count: int) -> None:
    heights, expected = list(levels), []
    for _ in range(count):
        expected.append(heights.index(min(heights)))
        heights[expected[-1]] += 1
    assert fill(np.array(levels), count).tolist() == expected


def fewest_moves(size: int, weights: dict[int, int], holding: Counter[int]) -> int:
    """Over every way to give the largest remainders one more: what must leave its node at least."""
    total = sum(weights.values())
    whole = {node: size * weight // total for node, weight in weights.items()}
    ranked = sorted(weights, key=lambda node: -(size * weights[node] % total))
    more = size - sum(whole.values())
    least = size * weights[ranked[more - 1]] % total if more else total
    sure = [node for node in ranked if size * weights[node] % total > least]
    tied = [node for node in ranked if size * weights[node] % total == least]
    return min(
        sum(max(0, count - whole.get(node, 0) - (node in sure or node in lucky)) for node, count in holding.items())
        for lucky in combinations(tied, more - len(sure))
    )


@given(
    slots=st.lists(st.integers(0, 7), min_size=1, max_size=120),
    weights=st.dictionaries(st.integers(1, 8), st.integers(0, 4), min_size=1, max_size=8).filter(
        lambda weights: any(weights.values())
    ),
    splits=st.dictionaries(st.integers(0, 119), st.integers(1, 7), max_size=8),
)
def test_a_plan_moves_the_fewest_and_once_carried_out_there_is_nothing_left(
    slots: list[int], weights: dict[int, int], splits: dict[int, int]
) -> None:
    assigned = [node * 16 if node else UNASSIGNED for node in slots]
    bucket_map = BucketMap(
        buckets={1: assigned, 2: assigned[::-1]},
        slots={node * 16: node for node in range(1, 9)},
        splits={(1, b): node * 16 for b, node in splits.items() if b < len(slots) and slots[b]},
    )
    before = {vserver_id: bucket_map.holding(vserver_id) for vserver_id in (1, 2)}
    plan = make_plan(bucket_map, weights, Reason.WEIGHTS)
    size = sum(before[1].values())
    assert plan.by_vserver() == +Counter(dict.fromkeys((1, 2), fewest_moves(size, weights, before[1])))
    assert plan == make_plan(bucket_map, dict(reversed(weights.items())), Reason.WEIGHTS)
    seen = set()
    for move in plan:
        assert bucket_map.maybe_node(move.vserver_id, move.bucket) == move.from_node != move.to_node
        assert weights[move.to_node] > 0
        seen.add((move.vserver_id, move.bucket))
    assert len(seen) == len(plan)
    assert [move.wave for move in plan] == sorted(move.wave for move in plan)
    bucket_map.apply([bucket_map.moved(m.vserver_id, m.bucket, m.to_node * 16, plan.reason) for m in plan])
    for vserver_id in (1, 2):
        assert bucket_map.holding(vserver_id) == +Counter(spread(size, weights, before[vserver_id]))
        assert (bucket_map.buckets[vserver_id] == UNASSIGNED).sum() == slots.count(0), "nobody has asked for those"
    assert not make_plan(bucket_map, weights, Reason.WEIGHTS)


class Array(RuleBasedStateMachine):
    """Nodes fail and return, buckets move and background work goes on, in any order."""

    nodes = Bundle("nodes")

    @initialize(weights=st.lists(st.integers(1, 4), min_size=1, max_size=5), slots_per_node=st.integers(1, 4))
    def start(self, weights: list[int], slots_per_node: int) -> None:
        self.weights = dict(enumerate(weights, start=1))
        self.slots_per_node = slots_per_node
        self.down: set[int] = set()
        self.map: BucketMap = adopt(
            {},
            {},
            sizes={1: 256, 2: 256},
            weights=self.weights,
            configured=self.weights.keys(),
            slots_per_node=slots_per_node,
        )

    def _up(self) -> dict[int, int]:
        return {node: weight for node, weight in self.weights.items() if node not in self.down}

    def _owners(self) -> list[int]:
        return [node for vserver_id in self.map.buckets for node in self.map.owners(vserver_id).tolist()]

    def _fail_over(self) -> None:
        before, dead = self._owners(), set(self.down)
        moves = plan_failover(self.map, self.down, self._up(), self.slots_per_node)
        self.map.apply(moves)
        for old, new in zip(before, self._owners(), strict=True):
            assert old == new or old in dead, "only a dead node's buckets move"
        assert not self._up() or not dead & set(self._owners())
        assert plan_failover(self.map, self.down, self._up(), self.slots_per_node) == ()

    @rule(number=st.integers(1, 5))
    def fail(self, number: int) -> None:
        if number in self.weights:
            is_tidy = not plan_tidy(self.map, self.slots_per_node, 1)
            was_up = number not in self.down and len(self._up()) > 1
            self.down.add(number)
            moves = plan_failover(self.map, self.down, self._up(), self.slots_per_node)
            if is_tidy and was_up:
                assert len(moves) <= self.slots_per_node, "a failure costs the slots of one node"
            self._fail_over()

    @rule(number=st.integers(1, 5))
    def recover(self, number: int) -> None:
        self.down.discard(number)
        self._fail_over()

    @rule(limit=st.integers(1, 200))
    def tidy(self, limit: int) -> None:
        owners = self._owners()
        self.map.apply(plan_tidy(self.map, self.slots_per_node, limit))
        assert self._owners() == owners, "no client moves"

    @rule()
    def tidy_up(self) -> None:
        for _ in range(600):
            moves = plan_tidy(self.map, self.slots_per_node, 100)
            if not moves:
                break
            self.map.apply(moves)
        assert not moves, "tidying ends"
        assert all(home_node(slot) == node for slot, node in self.map.slots.items()), "and everything is at home"

    @rule(count=st.integers(1, 200))
    def move(self, count: int) -> None:
        if self._up():
            for move in make_plan(self.map, self._up(), Reason.REBALANCE).slice(0, count):
                slot = self.map.maybe_free_slot(move.to_node, self.slots_per_node)
                if slot is not None:
                    self.map.apply([self.map.moved(move.vserver_id, move.bucket, slot, Reason.REBALANCE)])
                    assert self.map.maybe_node(move.vserver_id, move.bucket) == move.to_node

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "map"):
            for slots in self.map.buckets.values():
                assert len(slots) == 256
                assert all(slot in self.map.slots for slot in slots.tolist())
            assert set(self.map.slots) == {s for n in self.weights for s in home_slots(n, self.slots_per_node)}
            recount = Counter(slot for slots in self.map.buckets.values() for slot in slots.tolist())
            recount.update(self.map.splits.values())
            assert all(self.map.load(slot) == recount[slot] for slot in self.map.slots)


TestArray = Array.TestCase
TestArray.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
