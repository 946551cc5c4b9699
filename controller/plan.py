"""A plan [B9]: which buckets go from which node to which, why, and in which wave.

A value: made by `controller.planner`, shown to the operator, carried out bucket by bucket as each is idle or split.

It names nodes, not slots: by the time that a bucket moves, its node's slots may carry something else. The slot is
chosen then (`BucketMap.maybe_free_slot`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller.buckets import BucketMap, Reason

MOVE_DTYPE = np.dtype(
    [("vserver_id", np.int32), ("bucket", np.int32), ("from_node", np.int32), ("to_node", np.int32), ("wave", np.int32)]
)


class PlannedMove(NamedTuple):
    """A bucket that is to go from one node to another; waves count from 0."""

    vserver_id: int
    bucket: int
    from_node: int
    to_node: int
    wave: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """What is to be done, and to which map.

    Attributes:
        map_version: of the map that it was made for; of another it is stale.
        reason: why it was made.
        moves: a structured array (`MOVE_DTYPE`), read-only, in the order in which they are due: wave by wave. A bucket
            is in it once at most, and never with the node that serves it already.
    """

    map_version: int
    reason: Reason
    moves: NDArray[Any]

    def __post_init__(self) -> None:
        self.moves.flags.writeable = False

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Plan)
            and (self.map_version, self.reason) == (other.map_version, other.reason)
            and np.array_equal(self.moves, other.moves)
        )

    def __hash__(self) -> int:
        return hash((self.map_version, self.reason, self.moves.tobytes()))

    def __len__(self) -> int:
        return len(self.moves)

    def __iter__(self) -> Iterator[PlannedMove]:
        return (PlannedMove(*move) for move in self.moves.tolist())

    @property
    def waves(self) -> int:
        """How many waves there are."""
        return int(self.moves["wave"][-1]) + 1 if len(self.moves) else 0

    def wave(self, number: int) -> tuple[PlannedMove, ...]:
        """The moves of one wave."""
        first, end = np.searchsorted(self.moves["wave"], [number, number + 1])
        return tuple(PlannedMove(*move) for move in self.moves[first:end].tolist())

    def slice(self, first: int, end: int) -> tuple[PlannedMove, ...]:
        """Some of the moves, by their places."""
        return tuple(PlannedMove(*move) for move in self.moves[first:end].tolist())

    def flows(self) -> Counter[tuple[int, int, int]]:
        """(vserver id, from node, to node) → buckets."""
        columns = np.column_stack([self.moves[name] for name in ("vserver_id", "from_node", "to_node")])
        found, counts = np.unique(columns, axis=0, return_counts=True)
        return Counter(dict(zip(map(tuple, found.tolist()), counts.tolist(), strict=True)))

    def is_for(self, bucket_map: BucketMap) -> bool:
        """Whether the map is still the one that the plan was made for."""
        return self.map_version == bucket_map.version

    def by_vserver(self) -> Counter[int]:
        """Vserver id → buckets that move."""
        return self._count("vserver_id")

    def losses(self) -> Counter[int]:
        """Node id → buckets that leave it."""
        return self._count("from_node")

    def gains(self) -> Counter[int]:
        """Node id → buckets that go to it."""
        return self._count("to_node")

    def _count(self, column: str) -> Counter[int]:
        values, counts = np.unique(self.moves[column], return_counts=True)
        return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))
