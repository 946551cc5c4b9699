"""Since when a bucket is where it is."""

from __future__ import annotations

from controller.buckets import BucketMove, Reason, SlotMove
from controller.history import Change, History


def bucket_move(bucket: int, to_slot: int, reason: Reason = Reason.DRAIN, from_slot: int = 16) -> BucketMove:
    return BucketMove(vserver_id=1, bucket=bucket, from_slot=from_slot, to_slot=to_slot, reason=reason)


def test_the_later_change_of_bucket_and_slot_counts() -> None:
    history = History()
    assert history.maybe_latest(1, 5, 32) is None
    history.record([bucket_move(5, 32)], 10)
    assert history.maybe_latest(1, 5, 32) == Change(10, Reason.DRAIN)
    history.record([SlotMove(slot=32, from_node=2, to_node=1, reason=Reason.NODE_DOWN)], 20)
    assert history.maybe_latest(1, 5, 32) == Change(20, Reason.NODE_DOWN)
    history.record([bucket_move(5, 33, Reason.WEIGHTS)], 30)
    assert history.maybe_latest(1, 5, 32) == Change(30, Reason.WEIGHTS)


def test_others_know_nothing_of_it_and_room_grows() -> None:
    history = History()
    history.record([bucket_move(0, 32)], 1)
    history.record([bucket_move(65_535, 32)], 2)
    assert history.maybe_latest(1, 0, 32) == Change(1, Reason.DRAIN)
    assert history.maybe_latest(1, 65_535, 32) == Change(2, Reason.DRAIN)
    assert history.maybe_latest(1, 7, 32) is None
    assert history.maybe_latest(1, 65_536, 32) is None
    assert history.maybe_latest(2, 0, 32) is None


def test_tidying_and_settling_are_no_change() -> None:
    history = History()
    history.record([bucket_move(3, 32, Reason.HOME), bucket_move(3, 32, Reason.NORMALISE)], 5)
    history.record([bucket_move(3, 16)], 6)
    assert history.maybe_latest(1, 3, 32) is None
