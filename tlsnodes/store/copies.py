"""Copies of records, the ones that were used last (pure)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from tlsnodes.store.store import Record

OVERHEAD_BYTES = 400
"""What a copy takes beside its key and value, about."""


@dataclass(frozen=True, slots=True)
class _Copy:
    record: Record
    end: float


class Copies:
    """Bounded by the memory that they take. Times are monotonic seconds."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._copies: OrderedDict[bytes, _Copy] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._copies)

    def maybe(self, key: bytes, now: float) -> Record | None:
        """The copy of a record that has not expired."""
        copy = self._copies.get(key)
        if copy is None:
            return None
        if copy.end <= now:
            self.drop(key)
            return None
        self._copies.move_to_end(key)
        return replace(copy.record, left_s=copy.end - now)

    def keep(self, key: bytes, record: Record, now: float) -> None:
        """Have a copy; others that were not used for long may go."""
        self.drop(key)
        self._copies[key] = _Copy(record, now + record.left_s)
        self._bytes += _size(key, record)
        while self._bytes > self._max_bytes:
            oldest, copy = self._copies.popitem(last=False)
            self._bytes -= _size(oldest, copy.record)

    def touch(self, key: bytes, now: float, *, lifetime_s: float, uses: int) -> None:
        """Have the copy, if there is one, live at least this long from now on, and count so many uses in all."""
        copy = self._copies.get(key)
        if copy is not None:
            self._copies[key] = _Copy(replace(copy.record, uses=uses), max(copy.end, now + lifetime_s))

    def drop(self, key: bytes) -> None:
        """Have no copy."""
        copy = self._copies.pop(key, None)
        if copy is not None:
            self._bytes -= _size(key, copy.record)

    def clear(self) -> None:
        """Have none at all."""
        self._copies.clear()
        self._bytes = 0


def _size(key: bytes, record: Record) -> int:
    return len(key) + len(record.value) + OVERHEAD_BYTES
