"""One vserver as a worker runs it: see vserver.pxd."""

import structlog

from tlsnodes.log_budget import LogBudget
from tlsnodes.proxy.server import Backend
from tlsnodes.scheduling.scheduler import RequestScheduler

from libc.stdint cimport INT64_MAX
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

MAX_IDLE_S = 30.0
"""How long a connection to a server is kept for the next request."""

_log = structlog.get_logger()


cdef class VserverProxy:
    """What the connections of one vserver share.

    Args:
        poller: of the worker.
        name: of the vserver.
        rules: its own (`ProxyRules`).
        pool: its servers (`ServerPool`).
        routes: server id → how it is reached (`Route`).
        statistics: where it counts; a successor goes on where the one before it was.
        log: the access log, None for none.
    """

    def __init__(
        self,
        Poller poller not None,
        *,
        str name not None,
        rules,
        pool,
        routes,
        VserverStatistics statistics not None,
        log=None,
    ):
        timeouts = rules.timeouts
        limits = rules.limits
        self.poller = poller
        self.name = name
        self.rules = rules
        self.pool = pool
        self.statistics = statistics
        self.connections = set()
        self.tls = rules.tls
        self.scheduler = RequestScheduler(
            pool, rules.injection, statistics, tickets=rules.tickets, source=rules.source
        )
        self.injection = rules.injection
        self.tickets_bind = rules.tls is not None and rules.tickets is not None
        self.forwarding = rules.forwarding
        self.head_limits = rules.head
        self.request_ids = rules.request_ids
        self.redirect = rules.redirect
        self.log = log
        self.budget = LogBudget()
        self.backends = {
            server.id: Backend(poller, server, routes[server.id], rules.head) for server in pool.servers
        }
        self.via = rules.via
        self.via_1_0 = rules.via_1_0
        self.explain = None if rules.explain_header is None else rules.explain_header.encode()
        self.handshake_s = timeouts.handshake_s
        self.header_s = timeouts.header_s
        self.keepalive_s = timeouts.keepalive_s
        self.connect_s = timeouts.connect_s
        self.response_s = timeouts.response_s
        self.tunnel_s = timeouts.tunnel_s
        self.min_rate = limits.min_rate
        self.min_rate_after_s = limits.min_rate_after_s
        self.max_requests = _bound(limits.max_requests)
        self.max_connections = _bound(limits.max_connections)
        self.max_per_client = _bound(limits.max_connections_per_client)
        self.max_body = _bound(limits.max_body_bytes)
        self.of_client = {}

    def take_over(self, VserverProxy before not None, double now):
        """Take the place of `before`: its servers' health and idle connections go on with this one.

        Connections that hold on to `before` are served by this one's servers from then on.
        """
        cdef dict made = self.backends
        cdef dict known = dict(before.backends)
        if before.pool is not self.pool:
            self.pool.adopt(before.pool, now)
        kept = before.backends  # the one dictionary of all that came before
        kept.clear()
        for server in self.pool.servers:
            backend = known.pop(server.id, None)
            if backend is None or not backend.serves(server, made[server.id]):
                if backend is not None:
                    backend.retire()
                backend = made[server.id]
                backend.server = server
            kept[server.id] = backend
        for backend in known.values():
            backend.retire()
        self.backends = kept

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

    cdef int refused(self, str peer, int status, str sentence) except -1:
        """Requests that are answered by the node itself; the access log has them, too, if there is one."""
        self.statistics.own_responses[status] += 1
        if self.log is None and self.budget.allows(self.poller.now):
            _log.info("refused", vserver=self.name, client=peer, status=status, reason=sentence)
        return 0

    def choose_for_ticket(self, bytes address):
        """See `TicketBearer`."""
        return self.scheduler.choose_for_ticket(self.poller.now, self.wall(), address)

    def serves(self, affinity):
        """See `TicketBearer`."""
        return self.scheduler.serves(affinity, self.poller.now)

    cdef double wall(self) noexcept:
        """Seconds since the epoch."""
        cdef timespec time
        clock_gettime(CLOCK_REALTIME, &time)
        return time.tv_sec + time.tv_nsec * 1e-9

    def sweep(self, double now):
        """Close what is over its time; called every now and then with the poller's time."""
        for connection in list(self.connections):
            connection.sweep(now)
        for backend in self.backends.values():
            backend.close_idle(now - MAX_IDLE_S)
        left_out = self.budget.take_left_out(now)
        if left_out:
            _log.warning("more than can be logged", vserver=self.name, left_out=left_out)

    def drain(self):
        """Close idle connections now and each busy one after its response."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()

    def abort(self):
        """Close everything."""
        for connection in list(self.connections):
            connection.cut()
        for backend in self.backends.values():
            backend.close_idle(self.poller.now)

    def clients(self):
        """Packed address and port of each client that is connected."""
        return [connection.client for connection in self.connections]


cdef long long _bound(limit) except -1:
    """None is no bound."""
    return INT64_MAX if limit is None else limit
