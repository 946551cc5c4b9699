"""Since when, and why, a bucket is where it is [B10]: the last change of each slot and bucket, in little memory."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller.buckets import Move, Reason, SlotMove

_REASONS = tuple(Reason)
_DTYPE = np.dtype([("at_ns", np.int64), ("reason", np.int8)])
# The node of a bucket does not change by these.
_TIDYING = frozenset({Reason.NORMALISE, Reason.HOME})


class Change(NamedTuple):
    """When something came to another node, on the monotonic clock, and why."""

    at_ns: int
    reason: Reason


class History:
    """The last changes, as far as this controller has made them."""

    def __init__(self) -> None:
        self._slots: dict[int, Change] = {}
        self._buckets: dict[int, NDArray[Any]] = {}

    def record(self, moves: Iterable[Move], now_ns: int) -> None:
        """Moves were made."""
        for move in moves:
            if move.reason in _TIDYING:
                continue
            if isinstance(move, SlotMove):
                self._slots[move.slot] = Change(now_ns, move.reason)
            elif move.from_slot != move.to_slot:
                rows = self._buckets.get(move.vserver_id, np.zeros(0, dtype=_DTYPE))
                if move.bucket >= len(rows):
                    # Numbers of buckets are powers of two.
                    grown = np.zeros(1 << move.bucket.bit_length(), dtype=_DTYPE)
                    grown[: len(rows)] = rows
                    rows = self._buckets[move.vserver_id] = grown
                rows[move.bucket] = (now_ns, _REASONS.index(move.reason))

    def keep(self, vservers: Container[int]) -> None:
        """Other vservers than these, by id, are gone: who gets such an id later begins anew."""
        self._buckets = {vserver_id: rows for vserver_id, rows in self._buckets.items() if vserver_id in vservers}

    def maybe_latest(self, vserver_id: int, bucket: int, slot: int) -> Change | None:
        """The later of the changes of a bucket and of the slot that it is in."""
        found = [self._slots[slot]] if slot in self._slots else []
        rows = self._buckets.get(vserver_id)
        if rows is not None and bucket < len(rows) and rows[bucket]["at_ns"]:
            found.append(Change(int(rows[bucket]["at_ns"]), _REASONS[rows[bucket]["reason"]]))
        return max(found, default=None)
