"""What the demo reads in the controller's REST answers (pure)."""

from __future__ import annotations

from typing import Any

from pentaflow.config import Vserver
from pentaflow.demo.judge import BucketMap, Failover

_NS_PER_MS = 1_000_000


def bucket_map(answer: Any, vserver: Vserver) -> BucketMap:
    """`GET /vservers/NAME/buckets`, with the hash that the configuration gives."""
    assert vserver.hash_key is not None
    return BucketMap(
        version=answer["version"],
        nodes=tuple(answer["slot_nodes"][str(slot)] for slot in answer["slots"]),
        hash_key=int(vserver.hash_key.get_secret_value(), 16),
        kind=vserver.hash,
        vip=vserver.vip,
        port=vserver.port,
    )


def nodes_up(answer: Any) -> set[str]:
    """`GET /nodes`: the names of those that are up."""
    return {node["name"] for node in answer if node["health"] == "up"}


def last_event(answer: Any) -> int:
    """`GET /events`: the id of the last one, 0 if there is none."""
    return max((event["id"] for event in answer), default=0)


def maybe_failover(answer: Any, node: str) -> Failover | None:
    """`GET /events`: what a node's failure led to; None until the switch has taken the writes."""
    down = [e for e in answer if e["kind"] == "node_down" and e["details"]["node"] == node]
    moved = [e for e in answer if e["kind"] == "slots_moved" and down and e["details"]["cause"] == down[0]["id"]]
    if not moved:
        return None
    return Failover(
        node=node,
        decided_ns=round(down[0]["monotonic_ms"] * _NS_PER_MS),
        switch_writes=sum(e["details"]["updates"] for e in moved),
    )


def active_ticket_key(answer: Any, vserver: str) -> str:
    """`GET /ticket-keys`: the name of the key that a vserver's tickets are encrypted with now."""
    keys = next(ring["keys"] for ring in answer["vservers"] if ring["name"] == vserver)
    return str(next(key["name"] for key in keys if key["state"] == "active"))
