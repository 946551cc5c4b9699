"""Packets whose bucket had no slot: kept while the bucket is assigned and written, then sent on [B2] [D7]."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from controller.entries import Key

#: The packet-in header's `reason` of such a packet (docs/pipeline.md, "Packet-in and packet-out").
REASON_UNASSIGNED = 2
CAPACITY = 1024


class Fate(StrEnum):
    """What became of a packet that came for a bucket without a slot; metrics use the same words."""

    SENT_ON = "sent_on"
    NO_NODE = "no_node"
    NO_ROOM = "no_room"
    NOT_WRITTEN = "not_written"


class HeldPackets:
    """The packets of one switch, in the order in which they came.

    Attributes:
        counts: packets by what became of them.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        """`capacity`: packets that may wait for their buckets, and again as many that may wait to be sent."""
        self.counts: Counter[Fate] = Counter()
        self._capacity = capacity
        self._waiting: dict[Key, list[bytes]] = {}
        self._ready: list[bytes] = []

    def hold(self, key: Key, frame: bytes) -> None:
        """A packet waits until its bucket's entry is written, or is dropped if too many do."""
        if sum(map(len, self._waiting.values())) >= self._capacity:
            self.counts[Fate.NO_ROOM] += 1
        else:
            self._waiting.setdefault(key, []).append(frame)

    def send_on(self, frame: bytes) -> None:
        """A packet's bucket has an entry: it may go, unless too many are to go before it."""
        if len(self._ready) >= self._capacity:
            self.counts[Fate.NO_ROOM] += 1
        else:
            self._ready.append(frame)

    def drop(self, fate: Fate) -> None:
        """A packet can't be helped."""
        self.counts[fate] += 1

    def written(self, keys: Iterable[Key]) -> None:
        """These entries are on the switch: what waited for them may go."""
        if self._waiting:
            for key in keys:
                for frame in self._waiting.pop(key, ()):
                    self.send_on(frame)

    def give_up(self) -> None:
        """The switch did not take what it was told: nothing waits any longer. Clients send again."""
        self.counts[Fate.NOT_WRITTEN] += sum(map(len, self._waiting.values())) + len(self._ready)
        self._waiting.clear()
        self._ready.clear()

    @property
    def waiting(self) -> list[Key]:
        """The entries that packets wait for."""
        return list(self._waiting)

    @property
    def has_ready(self) -> bool:
        """Whether a packet may go."""
        return bool(self._ready)

    def take_ready(self) -> list[bytes]:
        """The packets that are to be sent on now."""
        ready, self._ready = self._ready, []
        self.counts[Fate.SENT_ON] += len(ready)
        return ready
