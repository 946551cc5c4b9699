"""When to tell the controller that an entry is idle (P4Runtime 1.5, "Table Idle Timeout Notification").

A heap of deadlines, looked at only where they have passed: an entry is visited once per timeout, not once per sweep.
A hit does not move the deadline; the visit finds that the entry was hit and comes back when it could be idle next.
"""

from __future__ import annotations

import heapq

from softswitch.tables import Entry, Table

_SLACK = 64


class IdleTimers:
    """The idle timers of all entries of a pipeline."""

    def __init__(self) -> None:
        self._deadlines: list[tuple[int, int, Table, Entry]] = []
        self._armed: dict[Entry, int] = {}
        self._serial = 0

    def __len__(self) -> int:
        """How many deadlines are kept, those of the past included."""
        return len(self._deadlines)

    def arm(self, table: Table, entry: Entry, now_ns: int) -> None:
        """Start the entry's timer anew; without a timeout there is none."""
        if entry.idle_timeout_ns:
            self._push(now_ns + entry.idle_timeout_ns, table, entry)
        else:
            self.disarm(entry)

    def disarm(self, entry: Entry) -> None:
        """Forget the entry, because it was deleted or lost its timeout."""
        self._armed.pop(entry, None)
        if len(self._deadlines) > 2 * len(self._armed) + _SLACK:
            self._drop_stale()

    def expired(self, now_ns: int, limit: int) -> list[tuple[Table, Entry]]:
        """Entries that have been idle for their timeout since they were hit, written or last reported.

        Args:
            now_ns: the clock that entries are stamped with.
            limit: at most so many timers are looked at; the others come with the next call.
        """
        result = []
        for _ in range(limit):
            if not self._deadlines or self._deadlines[0][0] > now_ns:
                break
            _, serial, table, entry = heapq.heappop(self._deadlines)
            if self._armed.get(entry) != serial:
                continue
            if entry.last_hit_ns + entry.idle_timeout_ns > now_ns:
                self._push(entry.last_hit_ns + entry.idle_timeout_ns, table, entry)
            else:
                result.append((table, entry))
                self._push(now_ns + entry.idle_timeout_ns, table, entry)
        return result

    def _push(self, deadline_ns: int, table: Table, entry: Entry) -> None:
        self._serial = serial = self._serial + 1
        armed, deadlines = self._armed, self._deadlines
        armed[entry] = serial
        heapq.heappush(deadlines, (deadline_ns, serial, table, entry))
        if len(deadlines) > 2 * len(armed) + _SLACK:
            self._drop_stale()

    def _drop_stale(self) -> None:
        self._deadlines = [item for item in self._deadlines if self._armed.get(item[3]) == item[1]]
        heapq.heapify(self._deadlines)
