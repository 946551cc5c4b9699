"""One vserver as a node runs it: what its client connections share (shell)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Protocol

import structlog

from pentaflow.config import Timeouts
from tlsnodes.backends import MAX_IDLE_S, Backend
from tlsnodes.exchange import ExchangeRules
from tlsnodes.http.messages import HeadLimits
from tlsnodes.scheduling.pool import ServerPool
from tlsnodes.scheduling.scheduler import RequestScheduler
from tlsnodes.scheduling.server import ServerState
from tlsnodes.statistics import VserverStatistics
from tlsnodes.tls.old_context import TlsContext

_log = structlog.get_logger()


class Connection(Protocol):
    """What a vserver asks of its client connections.

    Attributes:
        deadline: when to call `deadline_passed`.
        client: the client's packed address and port; empty if it was gone before it could be asked.
    """

    deadline: float
    client: bytes

    def deadline_passed(self) -> None:
        """End what takes too long."""

    def drain(self) -> None:
        """Close after the response in progress, or now if there is none."""

    def abort(self) -> None:
        """Close at once."""


class VserverProxy:
    """One vserver as this node runs it: what its connections share."""

    def __init__(
        self,
        *,
        name: str,
        node_name: str,
        tls: TlsContext,
        pool: ServerPool,
        rules: ExchangeRules,
        timeouts: Timeouts,
        limits: HeadLimits,
        statistics: VserverStatistics,
    ) -> None:
        self.name = name
        self.node_name = node_name
        self.tls = tls
        self.pool = pool
        self.rules = rules
        self.timeouts = timeouts
        self.limits = limits
        self.statistics = statistics
        self.scheduler = RequestScheduler(pool, rules.injection, self.statistics)
        self.backends = {server.id: self._make_backend(server) for server in pool.servers}
        self.connections: set[Connection] = set()
        self.draining = False
        self.loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def take_over(self, before: VserverProxy, now: float) -> None:
        """Take the place of `before`: its servers' health and idle connections go on with this one.

        Connections that hold on to `before` are served by this one's servers from then on.
        """
        if before.pool is not self.pool:
            self.pool.adopt(before.pool, now)
        known = dict(before.backends)
        kept = before.backends  # the one dictionary of all that came before
        kept.clear()
        for server in self.pool.servers:
            backend = known.get(server.id)
            if backend is None or backend.server is not server:
                backend = self._make_backend(server)
            backend.connect_timeout_s = self.timeouts.connect_s
            kept[server.id] = backend
        for backend in known.values():
            if backend not in kept.values():
                backend.retire()
        self.backends = kept

    def _make_backend(self, server: ServerState) -> Backend:
        return Backend(server, limits=self.limits, connect_timeout_s=self.timeouts.connect_s)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run a task that is held until it ends, and whose failure is seen."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("task failed", vserver=self.name, exc_info=error)

    def sweep(self, now: float) -> None:
        """Close what is over its time; called every now and then with the loop's time."""
        for connection in [c for c in self.connections if c.deadline <= now]:
            connection.deadline_passed()
        for backend in self.backends.values():
            backend.close_idle(now - MAX_IDLE_S)

    def drain(self) -> None:
        """Close idle connections now and each busy one after its response."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()

    def abort(self) -> None:
        """Close everything."""
        for connection in list(self.connections):
            connection.abort()
        for task in self._tasks:
            task.cancel()
        for backend in self.backends.values():
            backend.close_idle(self.loop.time())
