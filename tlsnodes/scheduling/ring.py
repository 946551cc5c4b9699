"""Consistent hashing: policies url_hash and source_hash.

A server stands at some points of a ring, as many as its weight is worth; a key goes to the first point after its hash.
When a server goes only its keys move, and only to it when it comes. Where a server's points are depends on its id
alone, so every worker of every node sees the same ring.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Sequence
from hashlib import blake2b

from pentaflow.pools import UrlHash
from tlsnodes.scheduling.policies import may_take
from tlsnodes.scheduling.server import ServerState

POINTS = 100
"""Of a server whose weight is the pool's mean."""

_KEY_BYTES = 5
_ID_BITS = 16
_ID_MASK = (1 << _ID_BITS) - 1
_POINTS_A_DIGEST = 60 // _KEY_BYTES


class Ring:
    """The servers that may be chosen, each at its points.

    Args:
        mean_weight: as configured, which health does not change.
    """

    __slots__ = ("_by_id", "_mean_weight", "_points", "_positions")

    def __init__(self, mean_weight: float) -> None:
        self._mean_weight = mean_weight
        self._positions: list[int] = []  # of all points, each with its server's id in the low bits
        self._by_id: dict[int, ServerState] = {}
        self._points: dict[int, list[int]] = {}  # server id → its points, sorted

    def arrange(self, servers: Sequence[ServerState]) -> None:
        """Make these the ring's servers, by their effective weights."""
        self._by_id = {server.id: server for server in servers}
        positions: list[int] = []
        for server in servers:
            count = max(1, round(POINTS * server.effective_weight / self._mean_weight))
            points = self._points.get(server.id)
            if points is None or len(points) != count:
                points = self._points[server.id] = _points(server.id, count)
            positions += points
        positions.sort()  # fast, since it is made of sorted runs
        self._positions = positions

    def at(self, key: bytes) -> int:
        """The place of a key: an index for `owner`."""
        digest = blake2b(key, digest_size=_KEY_BYTES).digest()
        return bisect_right(self._positions, int.from_bytes(digest, "big") << _ID_BITS)

    def owner(self, place: int) -> ServerState:
        """Who stands at a place; places go on round the ring."""
        positions = self._positions
        return self._by_id[positions[place % len(positions)] & _ID_MASK]

    def choose(self, key: bytes, tried: Collection[int]) -> ServerState | None:
        """The first server from the key's place on that has room and is not in `tried`; None if there is none."""
        place = self.at(key)
        server = self.owner(place)
        if server.full or tried:
            for next_place in range(place, place + len(self)):
                server = self.owner(next_place)
                if may_take(server, tried):
                    return server
            return None
        return server

    def __len__(self) -> int:
        return len(self._positions)


def _points(server_id: int, count: int) -> list[int]:
    """The first `count` points of a server, sorted: with more weight it gets more, and keeps those that it has."""
    points: list[int] = []
    for batch in range(math.ceil(count / _POINTS_A_DIGEST)):
        digest = blake2b(b"%d/%d" % (server_id, batch), digest_size=_KEY_BYTES * _POINTS_A_DIGEST).digest()
        for i in range(0, len(digest), _KEY_BYTES):
            points.append(int.from_bytes(digest[i : i + _KEY_BYTES], "big") << _ID_BITS | server_id)
    return sorted(points[:count])


class SourceHash:
    """The same client gets the same server as long as that is up; the load is as uneven as the clients are."""

    __slots__ = ("_ring", "arrange_every_s")

    def __init__(self, mean_weight: float) -> None:
        self.arrange_every_s = math.inf
        self._ring = Ring(mean_weight)

    def arrange(self, servers: Sequence[ServerState], now: float) -> None:
        """See `SchedulingPolicy`."""
        self._ring.arrange(servers)

    def choose(self, target: bytes, client: bytes, tried: Collection[int]) -> ServerState | None:
        """See `SchedulingPolicy`."""
        return self._ring.choose(source_key(client), tried)


def source_key(client: bytes) -> bytes:
    """What is hashed of a client's packed address: of IPv6 the /64, within which hosts change as they please."""
    return client[:8]


class PoolLoad:
    """Requests in progress at all servers of a pool."""

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open = 0


class BoundedUrlHash:
    """The same URL gets the same server unless that has more than its share of the open requests.

    With n open requests, the new one included, a server that gets it has then at most load_factor * n * its share of
    the weight, rounded up (Mirrokni, Thorup, Zadimoghaddam: Consistent Hashing with Bounded Loads, 2018); who has more
    is passed over for the next on the ring. Only where all that have room are full or have been tried the least loaded
    of the others is taken.

    Args:
        mean_weight: of the pool's servers, as configured.
        rule: what is hashed, and the factor.
        load: the pool's.
    """

    __slots__ = ("_factor", "_load", "_load_factor", "_query", "_ring", "_servers", "arrange_every_s")

    def __init__(self, mean_weight: float, rule: UrlHash, load: PoolLoad) -> None:
        self.arrange_every_s = math.inf
        self._ring = Ring(mean_weight)
        self._query = rule.query
        self._load = load
        self._load_factor = rule.load_factor
        self._servers: Sequence[ServerState] = ()
        self._factor = 0.0  # open requests per weight, for each that is open in the pool

    def arrange(self, servers: Sequence[ServerState], now: float) -> None:
        """See `SchedulingPolicy`."""
        self._servers = servers
        self._ring.arrange(servers)
        self._factor = self._load_factor / sum(server.effective_weight for server in servers)

    def choose(self, target: bytes, client: bytes, tried: Collection[int]) -> ServerState | None:
        """See `SchedulingPolicy`."""
        ring = self._ring
        place = ring.at(hashed_part(target, query=self._query))
        bound = self._factor * (self._load.open + 1)
        for next_place in range(place, place + len(ring)):
            server = ring.owner(next_place)
            if server.open < bound * server.effective_weight and may_take(server, tried):
                return server
        able = [server for server in self._servers if may_take(server, tried)]
        return min(able, key=lambda server: server.open * server.per_weight) if able else None


def hashed_part(target: bytes, *, query: bool) -> bytes:
    """The path of a request's target, with the query if that counts; scheme and authority never do."""
    if not target.startswith(b"/"):
        scheme = target.find(b"://")
        if scheme >= 0:
            path = target.find(b"/", scheme + 3)
            target = target[path:] if path >= 0 else b"/"
    return target if query else target.partition(b"?")[0]
