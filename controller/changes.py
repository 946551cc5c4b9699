"""What decisions of the core mean for switches: keys whose entries may have to be written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controller.buckets import Move, SlotMove
from controller.entries import Key, Kind
from pentaflow.addresses import IpAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Entries that a switch may have to be told of.

    Attributes:
        keys: which; those that are as they should be cost nothing.
        switch: the only switch concerned; None: all.
        urgent_for: name of the node whose failure this mends; such changes overtake all others.
        cause_event_id: id of the event that says so.
        vip: the VIP that is given up or taken with these entries; such changes overtake others, too.
        is_assignment: buckets get their first slot because packets wait for it; such changes overtake others, too.
    """

    keys: tuple[Key, ...]
    switch: str | None = None
    urgent_for: str = ""
    cause_event_id: int = 0
    vip: IpAddress | None = None
    is_assignment: bool = False

    @property
    def is_urgent(self) -> bool:
        """Whether these changes overtake what is written in the background."""
        return bool(self.urgent_for) or self.vip is not None or self.is_assignment


def keys_of(moves: Iterable[Move]) -> tuple[Key, ...]:
    """The entries that moves of slots and buckets change."""
    return tuple(
        Key(Kind.SLOT, (move.slot,)) if isinstance(move, SlotMove) else Key(Kind.BUCKET, (move.vserver_id, move.bucket))
        for move in moves
    )
