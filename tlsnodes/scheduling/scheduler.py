"""Which server gets a request: what the client is bound to first, then the pool's policy [P8]."""

from __future__ import annotations

from tlsnodes.persistence.cookie import CookieInjection
from tlsnodes.proxy.statistics import VserverStatistics
from tlsnodes.scheduling.pool import ServerPool
from tlsnodes.scheduling.server import ServerState
from tlsnodes.statistics import Persisted

# Looking a member up in its class costs more than what the hot path does with it.
_NONE = Persisted.NONE
_HONOURED = Persisted.HONOURED


class RequestScheduler:
    """Chooses for each request of a vserver, and counts what became of its affinity.

    Args:
        pool: the servers.
        injection: cookie persistence, if the vserver has it.
        statistics: where it is counted.
    """

    __slots__ = ("_counts", "_injection", "pool")

    def __init__(self, pool: ServerPool, injection: CookieInjection | None, statistics: VserverStatistics) -> None:
        self.pool = pool
        self._injection = injection
        self._counts = statistics.persistence

    def choose(
        self, cookie: bytes | None, now: float, now_s: float, target: bytes = b"", client: bytes = b""
    ) -> tuple[ServerState | None, bytes | None]:
        """The server, None when none can take the request, and the Cookie field's value that it gets.

        A request that is bound to a server which is full gets none: elsewhere its session is not known.

        Args:
            cookie: the Cookie field's value.
            now: seconds on the monotonic clock of the pool.
            now_s: seconds since the epoch.
            target: the request's target.
            client: the client's packed address, without a port.
        """
        injection = self._injection
        if injection is None:
            return self.pool.choose(now, (), target, client), cookie
        counts = self._counts
        server_id, refusal, cookie = injection.read_request(cookie, now_s)
        if server_id is not None:
            server = self.pool.maybe_server(server_id)
            if server is not None and self.pool.usable(server, now):
                counts[_HONOURED] += 1
                return None if server.full else server, cookie
            counts[Persisted.SERVER_GONE if server is None else Persisted.SERVER_DOWN] += 1
        else:
            counts[_NONE if refusal is None else Persisted[refusal.name]] += 1
        return self.pool.choose(now, (), target, client), cookie
