"""The bucket map and the spread of buckets over nodes."""

from __future__ import annotations

import pytest

from controller.adoption import adopt
from controller.buckets import UNASSIGNED, BucketMap, BucketMove, Reason, SlotMove, home_node, home_slots
from controller.shares import spread
from controller.slots import pick_slots


def test_home_slots_are_sixteen_apart() -> None:
    assert list(home_slots(3, 4)) == [48, 49, 50, 51]
    assert {home_node(slot) for slot in home_slots(4095, 16)} == {4095}
    assert max(home_slots(4095, 16)) == 65_535


@pytest.mark.parametrize(
    ("size", "weights", "expected"),
    [
        (10, {1: 1, 2: 1, 3: 1}, {1: 4, 2: 3, 3: 3}),
        (256, {1: 3, 2: 1}, {1: 192, 2: 64}),
        (256, {1: 1, 2: 0}, {1: 256, 2: 0}),
        (7, {1: 2, 2: 3, 3: 5}, {1: 1, 2: 2, 3: 4}),
        (2, {1: 1, 2: 1, 3: 1}, {1: 1, 2: 1, 3: 0}),
    ],
)
def test_spread_is_by_largest_remainder(size: int, weights: dict[int, int], expected: dict[int, int]) -> None:
    assert spread(size, weights) == expected


def test_of_equal_remainders_the_holder_keeps_its_bucket() -> None:
    assert spread(10, {1: 1, 2: 1, 3: 1}, {3: 4, 1: 3, 2: 3}) == {1: 3, 2: 3, 3: 4}


def test_nothing_can_be_spread_over_no_weight() -> None:
    with pytest.raises(ValueError, match="no node has a weight above 0"):
        spread(256, {1: 0})


def test_a_fresh_map_fills_the_home_slots_evenly() -> None:
    fresh = adopt({}, {}, sizes={7: 256}, weights={1: 1, 2: 1}, configured=(1, 2), slots_per_node=16)
    assert fresh.holding(7) == {1: 128, 2: 128}
    assert {fresh.load(slot) for node in (1, 2) for slot in home_slots(node, 16)} == {8}


def test_a_map_that_was_read_back_is_kept_as_it_is() -> None:
    read_buckets = {7: [16 + bucket % 2 for bucket in range(256)]}
    read_slots = {16: 2, 17: 2, 18: 1}
    kept = adopt(read_buckets, read_slots, sizes={7: 256}, weights={1: 1, 2: 1}, configured=(1, 2), slots_per_node=2)
    assert kept.buckets[7].tolist() == [16 + bucket % 2 for bucket in range(256)]
    assert kept.slots == {16: 2, 17: 2, 32: 2, 33: 2}, "re-pointed slots stay so, a foreign empty slot goes"


def test_only_missing_buckets_are_assigned_and_to_whom_they_are_due() -> None:
    read_buckets = {7: [16] * 128 + [UNASSIGNED] * 72 + [9999] * 2 + [UNASSIGNED] * 98 + [16]}
    adopted = adopt(read_buckets, {16: 1}, sizes={7: 256}, weights={1: 1, 2: 1}, configured=(1, 2), slots_per_node=1)
    assert adopted.buckets[7].tolist() == [16] * 128 + [32] * 128


def test_a_map_without_any_home_slot_left_is_still_complete() -> None:
    crossed = {16: 2, 32: 1}
    read_buckets = {7: [16, 32]}
    adopted = adopt(read_buckets, crossed, sizes={7: 256}, weights={1: 1, 2: 1}, configured=(1, 2), slots_per_node=1)
    assert adopted.holding(7) == {1: 128, 2: 128}


def test_with_every_weight_zero_all_nodes_count_the_same() -> None:
    fresh = adopt({}, {}, sizes={7: 256}, weights={1: 0, 2: 0}, configured=(1, 2), slots_per_node=16)
    assert fresh.holding(7) == {1: 128, 2: 128}


def test_apply_moves_loads_and_counts_versions() -> None:
    bucket_map = BucketMap(buckets={7: [16, 16, 32]}, slots={16: 1, 32: 2})
    bucket_map.apply(())
    assert bucket_map.version == 0
    bucket_map.apply(
        [
            BucketMove(vserver_id=7, bucket=0, from_slot=16, to_slot=32, reason=Reason.REBALANCE),
            SlotMove(slot=16, from_node=1, to_node=2, reason=Reason.NODE_DOWN),
        ]
    )
    assert (bucket_map.version, bucket_map.load(16), bucket_map.load(32)) == (1, 1, 2)
    assert bucket_map.node_loads() == {2: 3}


def test_the_slots_of_a_node_are_levelled() -> None:
    bucket_map = BucketMap(buckets={7: [16, 16, 17]}, slots={16: 1, 17: 1, 18: 2, 32: 2})
    assert pick_slots(bucket_map, [1, 2, 1, 1], 3).tolist() == [17, 32, 16, 17]
    assert pick_slots(bucket_map, [3], 1).tolist() == [UNASSIGNED]
    assert [bucket_map.maybe_free_slot(node, 3) for node in (1, 2, 3)] == [17, 32, None]


def test_a_bucket_is_split_and_settled() -> None:
    bucket_map = BucketMap(buckets={7: [16, 16, 32]}, slots={16: 1, 32: 2})
    bucket_map.apply([bucket_map.split(7, 0, 32, Reason.DRAIN)])
    assert (bucket_map.splits, bucket_map.buckets[7].tolist()) == ({(7, 0): 16}, [32, 16, 32])
    assert (bucket_map.maybe_node(7, 0), bucket_map.maybe_old_node(7, 0), bucket_map.maybe_old_node(7, 1)) == (
        2,
        1,
        None,
    )
    assert (bucket_map.load(16), bucket_map.load(32)) == (2, 2), "both slots carry it"
    assert bucket_map.node_loads() == bucket_map.holding(7) == {1: 1, 2: 2}, "it is the new node's"
    with pytest.raises(ValueError, match="bucket 0 of vserver 7 cannot be split now"):
        bucket_map.split(7, 0, 16, Reason.DRAIN)
    bucket_map.apply([bucket_map.settled(7, 0, Reason.DRAIN)])
    assert (bucket_map.splits, bucket_map.load(16), bucket_map.load(32)) == ({}, 1, 2)


def test_splits_that_were_read_back_are_kept() -> None:
    adopted = adopt(
        {7: [32] * 256},
        {16: 1, 32: 2},
        sizes={7: 256},
        weights={1: 1, 2: 1},
        configured=(1, 2),
        slots_per_node=1,
        read_splits={(7, 0): 16, (7, 1): 99, (7, 300): 16, (8, 0): 16},
    )
    assert adopted.splits == {(7, 0): 16}
    assert adopted.load(16) == 1


def test_on_demand_buckets_wait_for_somebody() -> None:
    adopted = adopt(
        {7: [16]}, {16: 1}, sizes={7: 256, 8: 256}, weights={1: 1}, configured=(1,), slots_per_node=1, on_demand=(7,)
    )
    assert adopted.buckets[7].tolist() == [16] + [UNASSIGNED] * 255
    assert adopted.holding(7) == {1: 1}
    assert (adopted.maybe_node(7, 1), adopted.holding(8)) == (None, {1: 256})
    with pytest.raises(ValueError, match="cannot be split"):
        adopted.split(7, 1, 16, Reason.REBALANCE)
