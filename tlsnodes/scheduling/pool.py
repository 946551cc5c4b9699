"""A pool of servers: who may be chosen, and who is down."""

from __future__ import annotations

from collections.abc import Collection

from pentaflow.config import Pool
from tlsnodes.scheduling.policies import make_policy
from tlsnodes.scheduling.server import ServerState

RETRY_AFTER_S = 2.0
"""A server that refused a connection gets one request to prove itself in each such time."""


class ServerPool:
    """The servers of one pool and the policy among them.

    A server is down from a failed connect until a connect succeeds. While it is down, one request in
    `RETRY_AFTER_S` is let through to it; that one is rerouted when the server still refuses.
    """

    __slots__ = ("_by_id", "_down", "_policy", "_weighted", "name", "servers")

    def __init__(self, pool: Pool) -> None:
        self.name = pool.name
        self.servers = tuple(ServerState(server) for server in pool.servers)
        self._by_id = {server.id: server for server in self.servers}
        self._weighted = tuple(server for server in self.servers if server.weight > 0)
        self._policy = make_policy(pool.policy)
        self._down = 0

    def maybe_server(self, server_id: int) -> ServerState | None:
        """The server with that id, whatever its weight or health."""
        return self._by_id.get(server_id)

    def choose(self, now: float, tried: Collection[int] = ()) -> ServerState | None:
        """A server by policy; None when none is up.

        Args:
            now: seconds on a monotonic clock.
            tried: ids of servers that this request could not reach.
        """
        if not self._down and not tried:
            return self._policy.choose(self._weighted) if self._weighted else None
        candidates = [s for s in self._weighted if s.id not in tried and self.usable(s, now)]
        if not candidates:
            return None
        chosen = self._policy.choose(candidates)
        if chosen.down:
            chosen.retry_at = now + RETRY_AFTER_S
        return chosen

    def usable(self, server: ServerState, now: float) -> bool:
        """It is up, or the time has come to try it again."""
        return not server.down or now >= server.retry_at

    def connect_failed(self, server: ServerState, now: float) -> None:
        """A connect to `server` failed or took too long."""
        server.failed += 1
        server.retry_at = now + RETRY_AFTER_S
        if not server.down:
            server.down = True
            self._down += 1

    def connected(self, server: ServerState) -> None:
        """A connect to `server` succeeded."""
        if server.down:
            server.down = False
            self._down -= 1
