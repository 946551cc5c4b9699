"""What a switch holds, as far as the controller knows: buckets in arrays, all else entry by entry.

A thousand vservers of 4,096 buckets are 80 MB here; as entries by themselves they would be more than a gigabyte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.buckets import UNASSIGNED
from controller.entries import SPLIT_SLOT, Entry, Key, Kind

#: A bucket's entry. Without an entry: slot `UNASSIGNED`; not split: old_slot `UNASSIGNED`; what does not apply is 0.
ROW_DTYPE = np.dtype([("slot", np.int32), ("old_slot", np.int32), ("window", np.uint32), ("idle_timeout_ns", np.int64)])
_ABSENT = (UNASSIGNED, UNASSIGNED, 0, 0)

#: An array of `ROW_DTYPE`, one for each bucket of a vserver.
Rows = NDArray[Any]


def rows(size: int) -> Rows:
    """Rows of buckets without entries."""
    return np.full(size, np.array(_ABSENT, dtype=ROW_DTYPE))


class Actual(MutableMapping[Key, Entry]):
    """Entries by their keys.

    Attributes:
        buckets: vserver id → rows, of the vservers that are configured, with their configured sizes.
        others: all other entries; foreign ones of the bucket table are among them.
    """

    def __init__(self, sizes: Mapping[int, int]) -> None:
        """`sizes`: vserver id → number of buckets."""
        self.buckets = {vserver_id: rows(size) for vserver_id, size in sizes.items()}
        self.others: dict[Key, Entry] = {}

    def resize(self, sizes: Mapping[int, int]) -> None:
        """Other vservers are configured: entries of those that no longer are become foreign, and the reverse."""
        moved = [key for key in self if key.kind is Kind.BUCKET and key.match[0] in self.buckets.keys() ^ sizes.keys()]
        entries = {key: self.pop(key) for key in moved}
        self.buckets = {vserver_id: self.buckets.get(vserver_id, rows(size)) for vserver_id, size in sizes.items()}
        self.update(entries)

    def _maybe_rows(self, key: Key) -> Rows | None:
        if key.kind is not Kind.BUCKET:
            return None
        found = self.buckets.get(key.match[0])
        return found if found is not None and key.match[1] < len(found) else None

    def __getitem__(self, key: Key) -> Entry:
        found = self._maybe_rows(key)
        if found is None:
            return self.others[key]
        slot, old_slot, window, idle_timeout_ns = found[key.match[1]].item()
        if slot == UNASSIGNED:
            raise KeyError(key)
        if old_slot == UNASSIGNED:
            return Entry((slot,), idle_timeout_ns)
        return Entry((slot, old_slot, window), idle_timeout_ns, SPLIT_SLOT)

    def __setitem__(self, key: Key, entry: Entry) -> None:
        found = self._maybe_rows(key)
        if found is None:
            self.others[key] = entry
        elif entry.other_action == SPLIT_SLOT:
            found[key.match[1]] = (*entry.params, entry.idle_timeout_ns)
        else:
            found[key.match[1]] = (entry.params[0], UNASSIGNED, 0, entry.idle_timeout_ns)

    def __delitem__(self, key: Key) -> None:
        found = self._maybe_rows(key)
        if found is None:
            del self.others[key]
        elif found[key.match[1]]["slot"] == UNASSIGNED:
            raise KeyError(key)
        else:
            found[key.match[1]] = _ABSENT

    def __iter__(self) -> Iterator[Key]:
        yield from self.others
        for vserver_id, found in self.buckets.items():
            for bucket in np.flatnonzero(found["slot"] != UNASSIGNED).tolist():
                yield Key(Kind.BUCKET, (vserver_id, bucket))

    def __len__(self) -> int:
        return len(self.others) + sum(
            int(np.count_nonzero(found["slot"] != UNASSIGNED)) for found in self.buckets.values()
        )

    def splits(self) -> dict[tuple[int, int], int]:
        """(vserver id, bucket) → old slot, of each split bucket."""
        return {
            (vserver_id, bucket): int(found["old_slot"][bucket])
            for vserver_id, found in self.buckets.items()
            for bucket in np.flatnonzero(found["old_slot"] != UNASSIGNED).tolist()
        }
