"""How a pool chooses: small classes that see the servers in question and their load.

Each is told by `arrange` which servers may be chosen, whenever that or a weight has changed; `choose` is called for
each request and does as little as it can. It first chooses as if nobody were full and nothing tried, and looks further
only if that was wrong.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from heapq import heapify, heapreplace
from itertools import accumulate
from typing import Protocol

from tlsnodes.scheduling.server import FORGET_S, ServerState

Random = Callable[[], float]
"""A random number, 0 included, 1 excluded."""


class SchedulingPolicy(Protocol):
    """Chooses one of the servers that it was last given.

    Attributes:
        arrange_every_s: `arrange` is called at least so often, since what it computes changes with time.
    """

    arrange_every_s: float

    def arrange(self, servers: Sequence[ServerState], now: float) -> None:
        """Choose among these, at least one, all of positive effective weight, from now on."""
        ...

    def choose(self, target: bytes, client: bytes, tried: Collection[int]) -> ServerState | None:
        """A server that is not full and whose id is not in `tried`; None if there is none.

        Args:
            target: the request's target.
            client: the client's packed address, without a port.
            tried: ids of servers that the request could not reach.
        """
        ...


def may_take(server: ServerState, tried: Collection[int]) -> bool:
    """The server has room, and the request has not failed there."""
    return not server.full and server.id not in tried


class RoundRobin:
    """Weighted round robin: each server has a turn every 1 / weight, and turns are taken in order of time.

    Over any sum-of-weights choices in a row among the same servers, each is chosen exactly its weight's number of
    times, spread out. Who cannot take a turn loses it. O(log n).
    """

    __slots__ = ("_queue", "arrange_every_s")

    # Divided by any weight up to 40 it leaves nothing over, so that turns fall together exactly; it is the largest such
    # that a float holds. Greater weights are off by one turn in 10^12.
    _UNIT = math.lcm(*range(1, 41))

    def __init__(self) -> None:
        self.arrange_every_s = math.inf
        self._queue: list[tuple[int, int, ServerState, int]] = []  # when, place among equals, whose turn, turns apart

    def arrange(self, servers: Sequence[ServerState], now: float) -> None:
        """See `SchedulingPolicy`; who stays keeps its turn, who comes gets one within its first interval."""
        turns = {server: due for due, _, server, _ in self._queue}
        start = self._queue[0][0] if self._queue else 0
        queue = []
        for place, server in enumerate(servers):
            apart = round(self._UNIT / server.effective_weight)
            due = turns.get(server)
            if due is None:
                due = start + apart * (2 * place + 1) // (2 * len(servers))
            queue.append((min(due, start + apart), place, server, apart))
        heapify(queue)
        self._queue = queue

    def choose(self, target: bytes, client: bytes, tried: Collection[int]) -> ServerState | None:
        """See `SchedulingPolicy`."""
        queue = self._queue
        due, place, server, apart = queue[0]
        heapreplace(queue, (due + apart, place, server, apart))
        if server.full or (tried and server.id in tried):
            return self._choose_other(tried)
        return server

    def _choose_other(self, tried: Collection[int]) -> ServerState | None:
        queue = self._queue
        able = [turn for turn in queue if may_take(turn[2], tried)]
        if not able:
            return None
        turn = due, place, server, apart = min(able)
        queue[queue.index(turn)] = (due + apart, place, server, apart)
        heapify(queue)
        return server


class LeastConnections:
    """Fewest open requests for its weight; those with equally few take turns by weight. O(n)."""

    __slots__ = ("_servers", "_turn", "arrange_every_s")

    def __init__(self) -> None:
        self.arrange_every_s = math.inf
        self._servers: Sequence[ServerState] = ()
        self._turn = 0.0

    def arrange(self, servers: Sequence[ServerState], now: float) -> None:
        """See `SchedulingPolicy`."""
        self._servers = servers

    def choose(self, target: bytes, client: bytes, tried: Collection[int]) -> ServerState | None:
        """See `SchedulingPolicy`."""
        server = self._least(self._servers)
        if server.full or tried:
            able = [s for s in self._servers if may_take(s, tried)]
            if not able:
                return None
            server = self._least(able)
        # Who has long had no turn has no claim to many in a row.
        turn = self._turn = max(self._turn, server.turn)
        server.turn = turn + server.per_weight
        return server

    def _least(self, servers: Sequence[ServerState]) -> ServerState:
        best = servers[0]
        least = best.open * best.per_weight
        for server in servers:
            load = server.open * server.per_weight
            if load < least or (load == least and server.turn < best.turn):
                best = server
                least = load
        return best


class ResponseTime(LeastConnections):
    """The least product of average response time and requests that would then be open, by weight. O(n).

    The average is a plain one that forgets with `FORGET_S`, not one that jumps to each peak: in web applications one
    page takes a hundred times as long as another, so a single slow answer says more about the page than about the
    server; a server that really stalls is seen at once by its open requests. The average of a server with nothing open
    decays, so that one which was slow is tried again in the end, with one request; it must answer before the decay goes
    on.
    """

    __slots__ = ()

    _FLOOR_S = 1e-6  # so that open requests count where nothing is known yet, too

    def __init__(self) -> None:
        super().__init__()
        self.arrange_every_s = FORGET_S / 20

    def arrange(self, servers: Sequence[ServerState], now: float) -> None:
        """See `SchedulingPolicy`; a server that has answered nothing yet is taken for an average one."""
        self._servers = servers
        known = [server.average_s for server in servers if server.answered_at > -math.inf]
        average_s = sum(known) / (len(known) or 1)
        for server in servers:
            seconds = average_s
            if server.answered_at > -math.inf:
                seconds = server.average_s
                if not server.open:
                    seconds *= math.exp((server.answered_at - now) / FORGET_S)
            server.cost = max(seconds, self._FLOOR_S) * server.per_weight

    def _least(self, servers: Sequence[ServerState]) -> ServerState:
        best = servers[0]
        least = (best.open + 1) * best.cost
        for server in servers:
            cost = (server.open + 1) * server.cost
            if cost < least or (cost == least and server.turn < best.turn):
                best = server
                least = cost
        return best


class PowerOfTwo:
    """The less loaded of two different servers that are drawn by weight. O(log n)."""

    __slots__ = ("_bounds", "_random", "_servers", "arrange_every_s")

    def __init__(self, random: Random) -> None:
        self.arrange_every_s = math.inf
        self._random = random
        self._servers: Sequence[ServerState] = ()
        self._bounds: list[float] = []  # sums of weights

    def arrange(self, servers: Sequence[ServerState], now: float) -> None:
        """See `SchedulingPolicy`."""
        self._servers = servers
        self._bounds = list(accumulate(server.effective_weight for server in servers))

    def choose(self, target: bytes, client: bytes, tried: Collection[int]) -> ServerState | None:
        """See `SchedulingPolicy`."""
        server = self._less_loaded(self._servers, self._bounds)
        if server.full or (tried and server.id in tried):
            able = [s for s in self._servers if may_take(s, tried)]
            if not able:
                return None
            server = self._less_loaded(able, list(accumulate(s.effective_weight for s in able)))
        return server

    def _less_loaded(self, servers: Sequence[ServerState], bounds: list[float]) -> ServerState:
        last = len(servers) - 1
        total = bounds[last]
        i = min(bisect_right(bounds, self._random() * total), last)
        one = servers[i]
        if not last:
            return one
        # The second is drawn from a line from which the first one's stretch is cut out.
        drawn = self._random() * (total - one.effective_weight)
        if drawn >= bounds[i] - one.effective_weight:
            drawn += one.effective_weight
        j = min(bisect_right(bounds, drawn), last)
        if j == i:  # rounding at the edge of the stretch
            j = i - 1 if i else 1
        other = servers[j]
        return other if other.open * other.per_weight < one.open * one.per_weight else one
