"""Desired → diff → apply: which updates turn what a switch has into what it should have, and in which order.

P4Runtime promises no order inside a Write ("Batching and Ordering of Updates"), so updates that depend on each other
are in different phases, and a phase is written when the one before it was acknowledged. At every moment between, each
packet meets either the old or the new state of its bucket: slots that carry buckets are written before the buckets
that point to them, and a slot that has lost its buckets changes only after those have left it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

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
    Kind.ADMIT: 5,
    Kind.ND: 5,
    Kind.ARP: 5,
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


def batches(updates: Iterable[Update], carries: Callable[[int], bool], size: int = BATCH_UPDATES) -> list[list[Key]]:
    """The updates' keys, phase after phase, in lists of at most `size`.

    Args:
        updates: what `diff` found.
        carries: whether a slot carries buckets in the desired state.
        size: the most that one Write should hold.
    """

    def phase(update: Update) -> int:
        kind = update.key.kind
        if update.operation is Operation.DELETE:
            return _DELETE_PHASE.get(kind, 0)
        if kind is Kind.SLOT and not carries(update.key.match[0]):
            return _UNUSED_SLOT_PHASE
        return _WRITE_PHASE.get(kind, 0)

    result = []
    for _, group in groupby(sorted(updates, key=phase), key=phase):
        keys = [update.key for update in group]
        result += [keys[i : i + size] for i in range(0, len(keys), size)]
    return result
