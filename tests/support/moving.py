"""What moves are told in tests: a world in which only what was said is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from controller.buckets import BucketMap, home_slots
from controller.moves import View
from controller.transit import Load

S = 1_000_000_000
SLOTS_PER_NODE = 2
VSERVER_ID = 1


@dataclass
class Answers:
    """The last answer of each node: (node, bucket) → open connections."""

    open: dict[int, Counter[int]] = field(default_factory=dict)
    asked_ns: dict[int, int] = field(default_factory=dict)

    def answer(self, node_id: int, now_ns: int, **open_by_bucket: int) -> None:
        """A node says what it has open, bucket by bucket (`b3=1`), to a question asked now."""
        self.open[node_id] = Counter({int(name[1:]): count for name, count in open_by_bucket.items()})
        self.asked_ns[node_id] = now_ns

    def maybe_open(self, vserver_id: int, bucket: int, node_id: int, *, asked_after_ns: int, now_ns: int) -> int | None:
        """See `controller.moves.OpenConnections`."""
        assert vserver_id == VSERVER_ID
        if node_id not in self.open or self.asked_ns[node_id] <= asked_after_ns:
            return None
        assert self.asked_ns[node_id] <= now_ns
        return self.open[node_id][bucket]


def spread_map(buckets: int, nodes: int) -> BucketMap:
    """Buckets of one vserver in turn over nodes 1 … `nodes`, in their first home slots."""
    slots = {slot: node for node in range(1, nodes + 1) for slot in home_slots(node, SLOTS_PER_NODE)}
    first = [home_slots(bucket % nodes + 1, SLOTS_PER_NODE)[0] for bucket in range(buckets)]
    return BucketMap(buckets={VSERVER_ID: first}, slots=slots)


def view(
    bucket_map: BucketMap, answers: Answers, now_ns: int, *, lost: set[int] | None = None, new_per_s: float = 0.0
) -> View:
    """How things stand."""
    return View(
        map=bucket_map,
        connections=answers,
        loads={VSERVER_ID: Load(open_connections=0, new_per_s=new_per_s)},
        lost=lost or set(),
        now_ns=now_ns,
    )
