"""What the proxies of all modes have in common: see base.pxd."""

import asyncio
from socket import AF_INET, AF_INET6, inet_ntop

import structlog

from tlsnodes.log_budget import LogBudget

from libc.stdint cimport INT64_MAX
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

_log = structlog.get_logger()


cdef class ProxyBase:
    """What the connections of one vserver share, whatever its mode.

    A connection of a client has `address`, packed, `client`, the same with its port, and sweep(now), drain(), cut().

    Args:
        poller: of the worker.
        name: of the vserver.
        timeouts: as configured.
        limits: as configured; a worker's part of what workers share.
        statistics: where it counts; a successor goes on where the one before it was.
        log: the access log, None for none.
    """

    def __init__(
        self,
        Poller poller not None,
        *,
        str name not None,
        timeouts,
        limits,
        VserverStatistics statistics not None,
        log=None,
    ):
        self.poller = poller
        self.name = name
        self.statistics = statistics
        self.connections = set()
        self.tasks = set()
        self.log = log
        self.budget = LogBudget()
        self.handshake_s = timeouts.handshake_s
        self.connect_s = timeouts.connect_s
        self.response_s = timeouts.response_s
        self.tunnel_s = timeouts.tunnel_s
        self.min_rate = limits.min_rate
        self.min_rate_after_s = limits.min_rate_after_s
        self.max_connections = bound(limits.max_connections)
        self.max_per_client = bound(limits.max_connections_per_client)
        self.of_client = {}

    cdef int accept(self, int fd, bytes address, int port) except -1:
        raise NotImplementedError

    cdef bint admit(self, connection, bytes address) except -1:
        """Whether there is room for one more; if so it is counted until `ended`."""
        cdef Py_ssize_t others = 0
        if self.max_per_client != INT64_MAX:
            others = self.of_client.get(address, 0)
        if others >= self.max_per_client or len(self.connections) >= self.max_connections:
            self.statistics.turned_away += 1
            return False
        if self.max_per_client != INT64_MAX:
            self.of_client[address] = others + 1
        self.statistics.connections += 1
        self.connections.add(connection)
        return True

    cdef int ended(self, connection) except -1:
        """A connection is gone; a second time does nothing."""
        cdef Py_ssize_t others
        if connection not in self.connections:
            return 0
        self.connections.remove(connection)
        if self.max_per_client != INT64_MAX:
            others = self.of_client[connection.address] - 1
            if others:
                self.of_client[connection.address] = others
            else:
                del self.of_client[connection.address]
        return 0

    cdef int handshake_failed(self, str reason) except -1:
        self.statistics.handshakes_failed[reason or "unknown"] += 1
        return 0

    cdef int run(self, coroutine) except -1:
        """Begin what waits for the store."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)  # the loop itself keeps no reference
        task.add_done_callback(self.tasks.discard)
        return 0

    cdef double wall(self) noexcept:
        """Seconds since the epoch."""
        cdef timespec time
        clock_gettime(CLOCK_REALTIME, &time)
        return time.tv_sec + time.tv_nsec * 1e-9

    def sweep(self, double now):
        """Close what is over its time; called every now and then with the poller's time."""
        for connection in list(self.connections):
            connection.sweep(now)
        left_out = self.budget.take_left_out(now)
        if left_out:
            _log.warning("more than can be logged", vserver=self.name, left_out=left_out)

    def drain(self):
        """Close idle connections now and each busy one when it is done."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()

    def abort(self):
        """Close everything."""
        for connection in list(self.connections):
            connection.cut()

    def clients(self):
        """Packed address and port of each client that is connected."""
        return [connection.client for connection in self.connections]


cdef str address_text(bytes packed):
    if not packed:
        return "unknown"
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)


cdef long long bound(limit) except -1:
    """None is no bound."""
    return INT64_MAX if limit is None else limit
