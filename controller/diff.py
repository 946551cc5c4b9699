"""Desired → diff → apply: which updates turn what a switch has into what it should have, and in which order.

P4Runtime promises no order inside a Write ("Batching and Ordering of Updates"), so updates that depend on each other
are in different phases, and a phase is written when the one before it was acknowledged. At every moment between, each
packet meets either the old or the new state of its bucket: slots that carry buckets are written before the buckets
that point to them, and a slot that has lost its buckets changes only after those have left it. A VIP that is another
switch's now is given up before all else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import chain, groupby, islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller.actual import Rows
from controller.buckets import UNASSIGNED
from controller.entries import Entry, Key, Kind

BATCH_UPDATES = 1000


class Operation(StrEnum):
    """What an update does to its entity (P4Runtime `Update.Type`)."""

    INSERT = "insert"
    MODIFY = "modify"
    DELETE = "delete"


class Update(NamedTuple):
    """One change of one entity; a DELETE has no entry."""

    operation: Operation
    key: Key
    entry: Entry | None


_WRITE_PHASE = {
    Kind.SLOT: 0,
    Kind.BUCKET: 1,
    Kind.VSERVER: 2,
    Kind.VSERVER_V6: 2,
    Kind.ARP: 3,
    Kind.ND: 3,
    Kind.ADMIT: 3,
}
_UNUSED_SLOT_PHASE = 4
_DELETE_PHASE = {
    Kind.ARP: -1,
    Kind.ND: -1,
    Kind.ADMIT: -1,
    Kind.VSERVER_V6: 6,
    Kind.VSERVER: 6,
    Kind.BUCKET: 7,
    Kind.SLOT: 8,
}


def diff(keys: Iterable[Key], desired: Callable[[Key], Entry | None], actual: Mapping[Key, Entry]) -> list[Update]:
    """The updates that these keys need; none for an entity that is as it should be."""
    updates = []
    for key in keys:
        wanted, found = desired(key), actual.get(key)
        if wanted == found:
            continue
        if wanted is None:
            updates.append(Update(Operation.DELETE, key, None))
        else:
            updates.append(Update(Operation.INSERT if found is None else Operation.MODIFY, key, wanted))
    return updates


class BucketDiff(NamedTuple):
    """The buckets of a vserver whose entries have to be written, and those whose entries have to go."""

    vserver_id: int
    written: NDArray[np.int64]
    deleted: NDArray[np.int64]


def diff_buckets(vserver_id: int, desired: Rows, actual: Rows) -> BucketDiff:
    """`diff` for all buckets of a vserver."""
    differing = np.flatnonzero(desired != actual)
    is_deleted = desired["slot"][differing] == UNASSIGNED
    return BucketDiff(vserver_id, differing[~is_deleted], differing[is_deleted])


def batches(
    updates: Iterable[Update],
    carries: Callable[[int], bool],
    bucket_diffs: Iterable[BucketDiff] = (),
    size: int = BATCH_UPDATES,
) -> Iterator[list[Key]]:
    """The updates' keys, phase after phase, in lists of at most `size`.

    What they are is settled by the call; lists are made as they are asked for, so that no more than one of them is in
    memory of millions of buckets.

    Args:
        updates: what `diff` found.
        carries: whether a slot carries buckets in the desired state.
        bucket_diffs: what `diff_buckets` found.
        size: the most that one Write should hold.
    """
    phases: defaultdict[int, list[Iterable[Key]]] = defaultdict(list)
    for phase, group in groupby(sorted(updates, key=lambda u: _phase(u, carries)), key=lambda u: _phase(u, carries)):
        phases[phase].append([update.key for update in group])
    for vserver_id, written, deleted in bucket_diffs:
        phases[_WRITE_PHASE[Kind.BUCKET]].append(_bucket_keys(vserver_id, written))
        phases[_DELETE_PHASE[Kind.BUCKET]].append(_bucket_keys(vserver_id, deleted))
    return (batch for phase in sorted(phases) for batch in _batched(chain.from_iterable(phases[phase]), size))


def _phase(update: Update, carries: Callable[[int], bool]) -> int:
    kind = update.key.kind
    if update.operation is Operation.DELETE:
        return _DELETE_PHASE.get(kind, 0)
    if kind is Kind.SLOT and not carries(update.key.match[0]):
        return _UNUSED_SLOT_PHASE
    return _WRITE_PHASE.get(kind, 0)


def _bucket_keys(vserver_id: int, buckets: NDArray[np.int64]) -> Iterator[Key]:
    return (Key(Kind.BUCKET, (vserver_id, bucket)) for bucket in buckets.tolist())


def _batched(keys: Iterator[Key], size: int) -> Iterator[list[Key]]:
    while batch := list(islice(keys, size)):
        yield batch
