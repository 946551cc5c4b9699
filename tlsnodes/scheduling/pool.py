"""A pool of servers: who may be chosen, who is down, and what became of requests."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection

from pentaflow.pools import CountedErrors, Policy, Pool, UrlHash
from tlsnodes.scheduling.judgement import Judgement
from tlsnodes.scheduling.policies import (
    LeastConnections,
    PowerOfTwo,
    Random,
    ResponseTime,
    RoundRobin,
    SchedulingPolicy,
)
from tlsnodes.scheduling.ring import BoundedUrlHash, PoolLoad, Ring, SourceHash
from tlsnodes.scheduling.server import ServerState
from tlsnodes.scheduling.slow_start import STEPS, ramp

RETRY_AFTER_S = 2.0
"""A server that refused a connection gets one request to prove itself in each such time."""

FAILURE_S = 1.0
MAX_FAILURE_S = 60.0
"""A request that fails counts as one that took twice the average, within these bounds."""

_GATEWAY_ERRORS = frozenset((502, 503, 504))
_ABOUT_THE_REQUEST = frozenset((501, 505))  # what a client can bring about by asking for it


def _nobody(target: bytes, client: bytes, tried: Collection[int]) -> ServerState | None:
    return None


class ServerPool:
    """The servers of one pool and the policy among them.

    A server is out while a connect to it has failed, while it is ejected, and while checks say that it is dead. One
    that is out for a failed connect gets one request in `RETRY_AFTER_S`; that one is rerouted when the server still
    refuses. When nobody else is left, those that are ejected are used.

    Nothing here reads a clock: `now` is seconds on a monotonic one. Who is out, and all weights, are worked out when
    something has changed or is due, not for each request.

    Args:
        pool: the configuration.
        random: for policy power_of_two.
        workers: how many processes share the servers: each takes its part of their `max_connections`.
    """

    __slots__ = (
        "_by_id",
        "_choose",
        "_counts_5xx",
        "_due_at",
        "_eject",
        "_eligible",
        "_load",
        "_policy",
        "_ring",
        "_ring_of",
        "_slow_start_s",
        "_successor",
        "_workers",
        "name",
        "retries",
        "servers",
    )

    def __init__(self, pool: Pool, *, random: Random, workers: int = 1) -> None:
        self.name = pool.name
        self.retries = pool.retries
        self.servers = tuple(ServerState(server) for server in pool.servers)
        self._by_id = {server.id: server for server in self.servers}
        self._slow_start_s = pool.slow_start_s
        self._eject = pool.eject
        self._counts_5xx = pool.eject is not None and pool.eject.errors is CountedErrors.ANY_5XX
        self._workers = workers
        self._load = PoolLoad()
        self._policy = _make_policy(pool, random, self._load)
        self._eligible: list[ServerState] = []
        self._ring = Ring(_mean_weight(pool))
        self._ring_of: list[ServerState] = []  # who stands on the ring: arranged when it is asked, and not before
        self._choose = _nobody
        self._due_at = -math.inf  # when `_arrange` is due
        self._successor: ServerPool | None = None

    # Choosing.

    def choose(
        self, now: float, tried: Collection[int] = (), target: bytes = b"", client: bytes = b""
    ) -> ServerState | None:
        """A server by policy; None when none can take the request: `refusal` says why.

        Args:
            now: the time.
            tried: ids of servers that this request could not reach.
            target: the request's target, for policy url_hash.
            client: the client's packed address, without a port, for policy source_hash.
        """
        if now >= self._due_at:
            if self._successor is not None:
                return self._successor.choose(now, tried, target, client)
            self._arrange(now)
        if tried and len(tried) > self.retries:
            return None
        server = self._choose(target, client, tried)
        if server is not None and server.down:
            server.retry_at = now + RETRY_AFTER_S
            self._due_at = -math.inf
        return server

    def choose_by(self, key: bytes, now: float, tried: Collection[int] = ()) -> ServerState | None:
        """A server by consistent hash of `key`, the same on every node; None when none can take the request."""
        if now >= self._due_at:
            if self._successor is not None:
                return self._successor.choose_by(key, now, tried)
            self._arrange(now)
        if tried and len(tried) > self.retries:
            return None
        server = self._on_ring(key, tried)
        if server is not None and server.down:
            server.retry_at = now + RETRY_AFTER_S
            self._due_at = -math.inf
        return server

    def maybe_on_ring(self, key: bytes, now: float) -> ServerState | None:
        """Who `choose_by` would give for `key`; nobody is given anything."""
        return self._arranged(now)._on_ring(key, ())

    def has_room(self, now: float) -> bool:
        """Whether some server can take a request that nothing binds."""
        return any(not server.full for server in self._arranged(now)._eligible)

    def substitutes(self, server: ServerState, key: bytes, count: int, now: float) -> tuple[int, ...]:
        """Ids of up to `count` others that would be chosen by `key` if `server`, and each before, were gone."""
        if now >= self._due_at:
            if self._successor is not None:
                return self._successor.substitutes(server, key, count, now)
            self._arrange(now)
        ids: tuple[int, ...] = (server.id,)
        while len(ids) <= count:
            other = self._on_ring(key, ids)
            if other is None:
                break
            ids += (other.id,)
        return ids[1:]

    def _on_ring(self, key: bytes, tried: Collection[int]) -> ServerState | None:
        if self._ring_of is not self._eligible:
            self._ring.arrange(self._eligible)
            self._ring_of = self._eligible
        return self._ring.choose(key, tried) if self._eligible else None

    def maybe_generation(self, server_id: int) -> int | None:
        """Of the server with that id."""
        server = self._by_id.get(server_id)
        return None if server is None else server.generation

    def maybe_server(self, server_id: int) -> ServerState | None:
        """The server with that id, whatever its weight or health."""
        return self._by_id.get(server_id)

    def usable(self, server: ServerState, now: float) -> bool:
        """Whether a request that is bound to `server` may go there, if it is not `full`."""
        if now >= self._due_at:
            self._arranged(now)
        return server.usable

    def refusal(self) -> str:
        """Why a request just got no server, as a sentence for its client."""
        pool = self._current()
        usable = [server for server in pool.servers if server.usable]
        if not usable:
            return f"no server of pool {pool.name} is up"
        weighted = [server for server in usable if server.effective_weight > 0]
        if not weighted:
            return f"no server of pool {pool.name} takes new clients"
        if all(server.full for server in weighted):
            return f"every server of pool {pool.name} is full"
        return f"the server of pool {pool.name} that this client is bound to is full"

    # What became of requests.

    def began(self, server: ServerState) -> None:
        """A request was given to `server`."""
        server.hits += 1
        server.open += 1
        server.full = server.open >= server.limit
        self._load.open += 1

    def ended(self, server: ServerState) -> None:
        """That request is over, or was given to another server."""
        server.open -= 1
        server.full = server.open >= server.limit
        self._load.open -= 1

    def connected(self, server: ServerState) -> None:
        """A connect to `server` succeeded."""
        if server.down:
            server.down = False
            self._changed()

    def connect_failed(self, server: ServerState, now: float) -> None:
        """A connect to `server` failed or took too long."""
        server.failed += 1
        server.connect_failures += 1
        server.retry_at = now + RETRY_AFTER_S
        server.down = True
        self._changed()

    def answered(self, server: ServerState, status: int, seconds: float, now: float) -> None:
        """`server` gave a whole response, `seconds` after it was chosen."""
        server.responses += 1
        server.response_time_s += seconds
        if server.down:  # the trial may have gone over a connection that was open still
            self.connected(server)
        if status < 500:
            server.errors = 0
            server.measure(seconds, now)
            return
        # An error is quickly made: it never lets a server look faster.
        server.measure(max(seconds, server.average_s), now)
        if status in _GATEWAY_ERRORS or (self._counts_5xx and status not in _ABOUT_THE_REQUEST):
            self._count_error(server, now)
        else:
            server.errors = 0

    def failed(self, server: ServerState, now: float) -> None:
        """`server` took a request and gave no proper answer, or none in time."""
        server.failed += 1
        server.measure(min(max(2 * server.average_s, FAILURE_S), MAX_FAILURE_S), now)
        self._count_error(server, now)

    def apply_check(self, server_id: int, judgement: Judgement, now: float) -> None:
        """Take what checks say of a server from now on; an id that the pool does not have is ignored."""
        pool = self._current()
        server = pool.maybe_server(server_id)
        if server is not None and server.judgement != judgement:
            server.judgement = judgement
            pool._arrange(now)

    def adopt(self, old: ServerPool, now: float) -> None:
        """Take the place of `old`: servers whose id and address stay keep their health, statistics and open requests.

        Requests that hold on to `old` are served by this pool from then on.
        """
        servers = []
        for server in self.servers:
            known = old._by_id.get(server.id)
            if known is not None and (known.host, known.port) == (server.host, server.port):
                known.name, known.weight, known.max_connections = server.name, server.weight, server.max_connections
                servers.append(known)
            else:
                server.up_since = now
                servers.append(server)
        self.servers = tuple(servers)
        self._by_id = {server.id: server for server in servers}
        self._load.open = old._load.open
        old._load = self._load
        old._by_id = self._by_id
        old._successor = self
        old._due_at = -math.inf
        self._arrange(now)

    # Health.

    def _current(self) -> ServerPool:
        pool = self
        while pool._successor is not None:
            pool = pool._successor
        return pool

    def _arranged(self, now: float) -> ServerPool:
        """The pool that is in force, up to date."""
        current = self._current()
        if now >= current._due_at:
            current._arrange(now)
        return current

    def _changed(self) -> None:
        self._current()._due_at = -math.inf

    def _count_error(self, server: ServerState, now: float) -> None:
        server.errors += 1
        eject = self._eject
        if eject is None or server.errors < eject.after or server.ejected_until > now:
            return
        pool = self._current()
        out = sum(other.ejected_until > now for other in pool.servers)
        if out + 1 > eject.max_share * len(pool.servers):
            return
        if now - server.ejected_until > eject.max_s:
            server.strikes = 0
        server.ejected_until = now + min(eject.max_s, eject.base_s * 2.0 ** min(server.strikes, 64))
        server.strikes += 1
        server.ejections += 1
        server.errors = 0
        pool._due_at = -math.inf

    def _arrange(self, now: float) -> None:
        """Work out anew who may be chosen and with which weight, and when that is due again."""
        due_at = now + self._policy.arrange_every_s
        for server in self.servers:
            due_at = min(due_at, self._judge(server, now))
        eligible = [server for server in self.servers if server.usable and server.effective_weight > 0]
        if not eligible:
            for server in self.servers:
                server.usable = server.usable or (server.judgement.alive and not server.down)
            eligible = [server for server in self.servers if server.usable and server.effective_weight > 0]
        self._eligible = eligible
        if eligible:
            self._policy.arrange(eligible, now)
            self._choose = self._policy.choose
        else:
            self._choose = _nobody
        self._due_at = due_at

    def _judge(self, server: ServerState, now: float) -> float:
        """Bring up to date what follows from a server's health; when that changes by itself."""
        due_at = math.inf
        judgement = server.judgement
        ejected = server.ejected_until > now
        if ejected:
            due_at = server.ejected_until
        healthy = judgement.alive and not server.down and not ejected
        if healthy and not server.healthy:
            server.up_since = now
        server.healthy = healthy
        server.usable = healthy
        if server.down:
            if now >= server.retry_at:
                server.usable = judgement.alive and not ejected
            else:
                due_at = min(due_at, server.retry_at)
        weight = 0.0 if judgement.draining else server.weight * judgement.weight_percent / 100
        age_s = now - server.up_since
        if age_s < self._slow_start_s:
            weight *= ramp(age_s, self._slow_start_s)
            due_at = min(due_at, now + self._slow_start_s / STEPS)
        server.effective_weight = weight
        server.per_weight = 1 / weight if weight else 0.0
        limit = server.max_connections if judgement.max_connections is None else judgement.max_connections
        server.limit = math.ceil(limit / self._workers) if limit else sys.maxsize
        server.full = server.open >= server.limit
        return due_at


def _mean_weight(pool: Pool) -> float:
    weights = [server.weight for server in pool.servers if server.weight]
    return sum(weights) / len(weights) if weights else 1.0


def _make_policy(pool: Pool, random: Random, load: PoolLoad) -> SchedulingPolicy:
    mean_weight = _mean_weight(pool)
    match pool.policy:
        case Policy.ROUND_ROBIN:
            return RoundRobin()
        case Policy.LEAST_CONNECTIONS:
            return LeastConnections()
        case Policy.RESPONSE_TIME:
            return ResponseTime()
        case Policy.POWER_OF_TWO:
            return PowerOfTwo(random)
        case Policy.URL_HASH:
            return BoundedUrlHash(mean_weight, pool.url_hash or UrlHash(), load)
        case Policy.SOURCE_HASH:
            return SourceHash(mean_weight)
