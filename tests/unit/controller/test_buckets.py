"""The bucket map and the spread of buckets over nodes."""

from __future__ import annotations

import pytest

from controller.buckets import BucketMap, BucketMove, Reason, SlotMove, SlotPicker, adopt, home_node, home_slots, spread


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
    read_buckets = {7: {bucket: 16 + bucket % 2 for bucket in range(256)}}
    read_slots = {16: 2, 17: 2, 18: 1}
    kept = adopt(read_buckets, read_slots, sizes={7: 256}, weights={1: 1, 2: 1}, configured=(1, 2), slots_per_node=2)
    assert kept.buckets[7] == [16 + bucket % 2 for bucket in range(256)]
    assert kept.slots == {16: 2, 17: 2, 32: 2, 33: 2}, "re-pointed slots stay so, a foreign empty slot goes"


def test_only_missing_buckets_are_assigned_and_to_whom_they_are_due() -> None:
    read_buckets = {7: dict.fromkeys(range(128), 16) | {200: 9999, 300: 16}}
    adopted = adopt(read_buckets, {16: 1}, sizes={7: 256}, weights={1: 1, 2: 1}, configured=(1, 2), slots_per_node=1)
    assert adopted.buckets[7] == [16] * 128 + [32] * 128


def test_a_map_without_any_home_slot_left_is_still_complete() -> None:
    crossed = {16: 2, 32: 1}
    read_buckets = {7: dict(enumerate([16, 32]))}
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


def test_the_picker_levels_the_slots_of_a_node() -> None:
    bucket_map = BucketMap(buckets={7: [16, 16, 17]}, slots={16: 1, 17: 1, 18: 2, 32: 2})
    picker = SlotPicker(bucket_map, 3)
    assert [picker.maybe_pick(1) for _ in range(3)] == [17, 16, 17]
    assert SlotPicker(bucket_map, 1).maybe_pick(3) is None
