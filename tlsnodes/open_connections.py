"""How many open connections a node has in each bucket [N8]: the answer to `tlsnodes.open_question` (pure).

A bucket function is the vserver's own: hash key kind, key and number of buckets; the node does not keep it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pentaflow.addresses import IpAddress
from pentaflow.hash_arrays import client_hashes
from tlsnodes.open_question import BucketFunction

_TCP = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenConnections:
    """A vserver's clients at one moment.

    Attributes:
        vip: address that they are connected to.
        port: likewise.
        clients: packed address and port of each, network byte order, all of the VIP's family; empty ones
            do not count.
    """

    vip: IpAddress
    port: int
    clients: Sequence[bytes]


def count_by_bucket(connections: OpenConnections, function: BucketFunction) -> dict[str, Any]:
    """`{"open": n, "buckets": {bucket: n}}`, only of buckets that have open connections."""
    layout = np.dtype([("address", ">u4", (len(connections.vip.packed) // 4,)), ("port", ">u2")])
    clients = np.frombuffer(b"".join(connections.clients), layout)
    hashes = client_hashes(
        int(function.hash_key.get_secret_value(), 16),
        function.hash,
        clients["address"].astype(np.uint32),
        clients["port"].astype(np.uint32),
        connections.vip,
        connections.port,
        _TCP,
    )
    counts = np.bincount(hashes & np.uint32(function.buckets - 1))
    buckets = np.flatnonzero(counts)
    return {
        "open": len(clients),
        "buckets": dict(zip(map(str, buckets.tolist()), counts[buckets].tolist(), strict=True)),
    }
