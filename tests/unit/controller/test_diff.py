"""Updates and their order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from controller.actual import Actual
from controller.diff import BucketDiff, Operation, Update, batches, diff, diff_buckets
from controller.entries import SPLIT_SLOT, Entry, Key, Kind

SLOT, BUCKET, VSERVER = Key(Kind.SLOT, (16,)), Key(Kind.BUCKET, (1, 0)), Key(Kind.VSERVER, (1, 6, 443))
ARP, DMAC = Key(Kind.ARP, (0, 1)), Key(Kind.DMAC, (0, 1))


def test_each_difference_is_one_update_and_none_where_there_is_none() -> None:
    desired = {SLOT: Entry((1,)), BUCKET: Entry((16,), 5)}
    actual = {BUCKET: Entry((17,), 5), ARP: Entry((1,)), SLOT: Entry((1,))}
    assert diff([SLOT, BUCKET, ARP, DMAC], desired.get, actual) == [
        Update(Operation.MODIFY, BUCKET, Entry((16,), 5)),
        Update(Operation.DELETE, ARP, None),
    ]
    assert diff([SLOT, BUCKET], desired.get, {}) == [
        Update(Operation.INSERT, SLOT, Entry((1,))),
        Update(Operation.INSERT, BUCKET, Entry((16,), 5)),
    ]


def test_another_idle_timeout_is_a_difference() -> None:
    assert diff([BUCKET], {BUCKET: Entry((16,), 6)}.get, {BUCKET: Entry((16,), 5)})


def kinds(keys: Iterable[list[Key]]) -> list[Kind]:
    return [batch[0].kind for batch in keys]


def test_what_others_point_to_is_written_first_and_deleted_last() -> None:
    keys = [ARP, VSERVER, BUCKET, SLOT]
    inserts = [Update(Operation.INSERT, key, Entry()) for key in keys]
    deletes = [Update(Operation.DELETE, key, None) for key in keys]
    assert kinds(batches(inserts, lambda _: True)) == [Kind.SLOT, Kind.BUCKET, Kind.VSERVER, Kind.ARP]
    assert kinds(batches(deletes, lambda _: True)) == [Kind.ARP, Kind.VSERVER, Kind.BUCKET, Kind.SLOT]


def test_a_slot_that_lost_its_buckets_changes_after_they_have_left() -> None:
    updates = [Update(Operation.MODIFY, SLOT, Entry((1,))), Update(Operation.MODIFY, BUCKET, Entry((17,)))]
    assert kinds(batches(updates, lambda _: False)) == [Kind.BUCKET, Kind.SLOT]


def test_batches_are_bounded() -> None:
    updates = [Update(Operation.INSERT, Key(Kind.BUCKET, (1, b)), Entry((16,))) for b in range(25)]
    assert [len(batch) for batch in batches(updates, lambda _: True, size=10)] == [10, 10, 5]


def test_buckets_are_compared_as_a_whole() -> None:
    desired, actual = Actual({1: 8}), Actual({1: 8})
    for bucket in range(6):
        desired[Key(Kind.BUCKET, (1, bucket))] = actual[Key(Kind.BUCKET, (1, bucket))] = Entry((16,), 5)
    desired[Key(Kind.BUCKET, (1, 1))] = Entry((17,), 5)
    desired[Key(Kind.BUCKET, (1, 2))] = Entry((16,), 6)
    desired[Key(Kind.BUCKET, (1, 3))] = Entry((16, 17, 9), 5, SPLIT_SLOT)
    del actual[Key(Kind.BUCKET, (1, 4))]
    del desired[Key(Kind.BUCKET, (1, 5))]
    found = diff_buckets(1, desired.buckets[1], actual.buckets[1])
    assert (found.written.tolist(), found.deleted.tolist()) == ([1, 2, 3, 4], [5])


def test_buckets_are_written_between_their_slots_and_their_vserver_and_deleted_before_their_slots() -> None:
    updates = [Update(Operation.INSERT, key, Entry()) for key in (VSERVER, SLOT)]
    updates += [Update(Operation.DELETE, key, None) for key in (Key(Kind.VSERVER, (2, 6, 443)), Key(Kind.SLOT, (17,)))]
    found = list(
        batches(
            updates,
            lambda _: True,
            [BucketDiff(v, np.arange(0, 3), np.arange(3, 5)) for v in (1, 2)],
            size=4,
        )
    )
    assert [(batch[0].kind, len(batch)) for batch in found] == [
        (Kind.SLOT, 1),
        (Kind.BUCKET, 4),
        (Kind.BUCKET, 2),
        (Kind.VSERVER, 1),
        (Kind.VSERVER, 1),
        (Kind.BUCKET, 4),
        (Kind.SLOT, 1),
    ]
    assert found[1] == [Key(Kind.BUCKET, match) for match in ((1, 0), (1, 1), (1, 2), (2, 0))]
