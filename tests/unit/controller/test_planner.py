"""Plans: what moves, where to and why."""

from __future__ import annotations

from controller.buckets import BucketMap, BucketMove, Reason, SlotMove, adopt, home_slots
from controller.planner import plan_failover, plan_rebalance, plan_tidy

NODES = {1: 1, 2: 1, 3: 1}


def fresh(size: int = 256, weights: dict[int, int] = NODES) -> BucketMap:
    return adopt({}, {}, sizes={7: size}, weights=weights, configured=weights.keys(), slots_per_node=16)


def test_a_dead_nodes_slots_go_to_the_survivors_in_even_shares() -> None:
    bucket_map = fresh(4096)
    moves = plan_failover(bucket_map, {2}, {1: 1, 3: 1}, 16)
    assert [move.slot for move in sorted(moves, key=lambda m: m.slot)] == list(home_slots(2, 16))
    assert {move.reason for move in moves} == {Reason.NODE_DOWN}
    bucket_map.apply(moves)
    loads = bucket_map.node_loads()
    assert loads[1] + loads[3] == 4096
    assert abs(loads[1] - loads[3]) <= 4096 // 3 // 16 + 1
    assert plan_failover(bucket_map, {2}, {1: 1, 3: 1}, 16) == ()


def test_survivors_take_over_by_weight() -> None:
    bucket_map = fresh(4096, {1: 3, 2: 4, 3: 1})
    bucket_map.apply(plan_failover(bucket_map, {2}, {1: 3, 3: 1}, 16))
    loads = bucket_map.node_loads()
    assert abs(loads[1] - 3 * loads[3]) <= 4 * 128


def test_without_survivors_the_last_map_is_kept() -> None:
    assert plan_failover(fresh(), {1, 2, 3}, {}, 16) == ()


def test_an_empty_slot_of_a_dead_node_is_not_written() -> None:
    bucket_map = BucketMap(buckets={7: [16]}, slots={16: 1, 17: 1, 32: 2})
    assert [move.slot for move in plan_failover(bucket_map, {1}, {2: 1}, 16)] == [16]


def test_a_slot_whose_own_node_is_back_goes_home() -> None:
    bucket_map = BucketMap(buckets={7: [16, 17, 48]}, slots={16: 2, 17: 2, 48: 3})
    assert plan_failover(bucket_map, {2}, {1: 1, 3: 1}, 1) == (
        SlotMove(slot=16, from_node=2, to_node=1, reason=Reason.NODE_DOWN),
        SlotMove(slot=17, from_node=2, to_node=1, reason=Reason.NODE_DOWN),
    ), "16 is at home with 1; 17 is not used by nodes with one slot, and 1 and 3 carry the same then"


def test_tidying_brings_buckets_home_then_slots_and_then_is_done() -> None:
    bucket_map = fresh(256)
    bucket_map.apply(plan_failover(bucket_map, {2}, {1: 1, 3: 1}, 16))
    owners = [bucket_map.slots[slot] for slot in bucket_map.buckets[7]]
    steps = []
    while moves := plan_tidy(bucket_map, 16, limit=50):
        steps.append({type(move) for move in moves})
        assert len([move for move in moves if isinstance(move, BucketMove)]) <= 50
        bucket_map.apply(moves)
    assert steps == [{BucketMove}, {BucketMove}, {SlotMove}]
    assert [bucket_map.slots[slot] for slot in bucket_map.buckets[7]] == owners, "no client moves"
    assert all(slot // 16 == node for slot, node in bucket_map.slots.items())
    levels = [bucket_map.load(slot) for slot in home_slots(1, 16)]
    assert max(levels) - min(levels) <= 1


def test_idle_buckets_go_where_too_few_are_and_no_further() -> None:
    bucket_map = BucketMap(buckets={7: [16] * 192 + [32] * 64}, slots={16: 1, 32: 2})
    moves = plan_rebalance(bucket_map, 7, range(100), {1: 1, 2: 1}, 1)
    assert [(move.bucket, move.from_slot, move.to_slot) for move in moves] == [(b, 16, 32) for b in range(64)]
    bucket_map.apply(moves)
    assert plan_rebalance(bucket_map, 7, range(256), {1: 1, 2: 1}, 1) == ()


def test_a_bucket_that_is_not_idle_stays() -> None:
    bucket_map = BucketMap(buckets={7: [16] * 256}, slots={16: 1, 32: 2})
    moves = plan_rebalance(bucket_map, 7, [3, 3, 9], {1: 1, 2: 1}, 1)
    assert [move.bucket for move in moves] == [3, 9]
    assert plan_rebalance(bucket_map, 7, [], {1: 1, 2: 1}, 1) == ()


def test_a_node_of_weight_zero_is_emptied_as_it_falls_idle() -> None:
    bucket_map = fresh(256, {1: 1, 2: 1})
    bucket_map.apply(plan_rebalance(bucket_map, 7, range(256), {1: 0, 2: 1}, 16))
    assert bucket_map.holding(7) == {2: 256}


def test_a_node_whose_slots_carry_others_buckets_gets_nothing_yet() -> None:
    bucket_map = BucketMap(buckets={7: [16] * 256}, slots={16: 2, 32: 2})
    assert plan_rebalance(bucket_map, 7, range(256), {1: 1, 2: 1}, 1) == ()
