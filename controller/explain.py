"""Why a client is served by the node that serves it [B10]."""

from __future__ import annotations

from dataclasses import dataclass

from controller.assignment import Assignment
from controller.availability import Availability
from controller.buckets import home_node
from controller.desired import IP_PROTOCOLS
from controller.health import Health
from controller.history import History
from pentaflow.addresses import IpAddress, with_port
from pentaflow.config import Vserver
from pentaflow.hash import client_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The way of a client through the switch, and the reasons.

    Attributes:
        bucket: of the vserver.
        slot: that new connections of the bucket go to; None: the bucket is not assigned.
        node_id: that the slot points to; None: there is none.
        old_node_id: that keeps open connections while the bucket is split; None: it is not split.
        reasons: sentences, from the hash to the node.
        since_ns: when the bucket came to this node, on the monotonic clock; 0: before this controller took over.
    """

    bucket: int
    slot: int | None
    node_id: int | None
    old_node_id: int | None
    reasons: tuple[str, ...]
    since_ns: int


def explain(
    assignment: Assignment,
    availability: Availability,
    history: History,
    vserver: Vserver,
    hash_key: int,
    client: tuple[IpAddress, int],
) -> Explanation:
    """Which node serves a client of a vserver now, why, and since when.

    Args:
        assignment: which bucket is where.
        availability: which nodes serve.
        history: since when, and why.
        vserver: that the client connects to.
        hash_key: of its bucket hash.
        client: its address, of the VIP's family, and port.
    """
    address, port = client
    digest = client_hash(
        hash_key, vserver.hash, address, port, vserver.vip, vserver.port, IP_PROTOCOLS[vserver.protocol]
    )
    bucket = digest & (vserver.buckets - 1)
    bucket_map = assignment.map
    slots = bucket_map.buckets.get(vserver.id)
    reasons = [
        f"the {vserver.hash.name.lower()} hash of {with_port(address, port)} is bucket {bucket} of {vserver.buckets}"
    ]
    slot = None if slots is None or slots[bucket] < 0 else int(slots[bucket])
    if slot is None:
        reasons.append("the bucket is not assigned yet")
        return Explanation(bucket=bucket, slot=None, node_id=None, old_node_id=None, reasons=tuple(reasons), since_ns=0)
    node_id = bucket_map.slots.get(slot)
    home = home_node(slot)
    reasons.append(f"bucket {bucket} is in slot {slot}, which points to node {availability.name(node_id)}")
    if node_id != home:
        state = availability.health[home].state if home in availability.health else None
        why = "is down" if state is Health.DOWN else "was down" if state else "is no longer configured"
        reasons.append(f"the slot is at home on {availability.name(home)}, which {why}")
    old_node_id = bucket_map.maybe_old_node(vserver.id, bucket)
    if old_node_id is not None:
        reasons.append(f"the bucket is split: connections from before stay on {availability.name(old_node_id)}")
    change = history.maybe_latest(vserver.id, bucket, slot)
    if change is not None:
        reasons.append(f"it came there by {change.reason}")
    return Explanation(
        bucket=bucket,
        slot=slot,
        node_id=node_id,
        old_node_id=old_node_id,
        reasons=tuple(reasons),
        since_ns=change.at_ns if change else 0,
    )
