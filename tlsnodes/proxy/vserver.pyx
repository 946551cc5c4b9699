"""One vserver of mode https or http as a worker runs it: see vserver.pxd."""

import structlog

from tlsnodes.proxy.server import Backend
from tlsnodes.scheduling.scheduler import RequestScheduler

from tlsnodes.proxy.base cimport bound
from tlsnodes.proxy.client cimport ClientConnection
from tlsnodes.proxy.statistics cimport VserverStatistics
from tlsnodes.stream.poller cimport Poller

MAX_IDLE_S = 30.0
"""How long a connection to a server is kept for the next request."""

_log = structlog.get_logger()


cdef class VserverProxy(ProxyBase):
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
        ProxyBase.__init__(
            self, poller, name=name, timeouts=timeouts, limits=limits, statistics=statistics, log=log
        )
        self.rules = rules
        self.pool = pool
        self.tls = rules.tls
        self.scheduler = RequestScheduler(
            pool, rules.injection, statistics, tickets=rules.tickets, source=rules.source
        )
        self.injection = rules.injection
        self.sessions = rules.sessions
        self.tickets_bind = rules.tls is not None and rules.tickets is not None
        self.forwarding = rules.forwarding
        self.head_limits = rules.head
        self.request_ids = rules.request_ids
        self.redirect = rules.redirect
        self.backends = {
            server.id: Backend(poller, server, routes[server.id], rules.head) for server in pool.servers
        }
        self.via = rules.via
        self.via_1_0 = rules.via_1_0
        self.explain = None if rules.explain_header is None else rules.explain_header.encode()
        self.header_s = timeouts.header_s
        self.keepalive_s = timeouts.keepalive_s
        self.max_requests = bound(limits.max_requests)
        self.max_body = bound(limits.max_body_bytes)

    @property
    def pools(self):
        """All pools that it has servers of."""
        return (self.pool,)

    cdef int accept(self, int fd, bytes address, int port) except -1:
        (<ClientConnection>ClientConnection.__new__(ClientConnection)).begin(self, fd, address, port)
        return 0

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

    def sweep(self, double now):
        """See `ProxyBase`; also closes connections to servers that were not used for long."""
        ProxyBase.sweep(self, now)
        for backend in self.backends.values():
            backend.close_idle(now - MAX_IDLE_S)

    def abort(self):
        """Close everything."""
        ProxyBase.abort(self)
        for backend in self.backends.values():
            backend.close_idle(self.poller.now)
