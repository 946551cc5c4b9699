"""A vserver whose TLS is passed on untouched: see passthrough.pxd."""

from tlsnodes.passthrough.ranges import find_server
from tlsnodes.persistence.affinity import ChosenBy
from tlsnodes.scheduling.ring import source_key
from tlsnodes.statistics import Persisted

from tlsnodes.proxy.base cimport ProxyBase
from tlsnodes.proxy.passed cimport PassedConnection
from tlsnodes.proxy.statistics cimport VserverStatistics
from tlsnodes.stream.poller cimport Poller

cdef object _SESSION_ID = ChosenBy.SESSION_ID
cdef object _SOURCE = ChosenBy.SOURCE
cdef object _POLICY = ChosenBy.POLICY


cdef class PassthroughProxy(ProxyBase):
    """A vserver of mode passthrough as a worker runs it.

    Args:
        poller: of the worker.
        name: of the vserver.
        pools: its servers (`ServerPool`); the first one is for names that have no route.
        names: server name → pool (`NameTable`).
        learnt: where sessions between clients and servers are known (`LearntSessions`); None: they are not.
        source: whether clients go by their address instead of the pool's policy.
        ways: pool's name → server id → how it is reached (`Route`, without TLS).
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
        tuple pools not None,
        names,
        bint source,
        learnt,
        dict ways not None,
        timeouts,
        limits,
        VserverStatistics statistics not None,
        log=None,
    ):
        ProxyBase.__init__(
            self, poller, name=name, timeouts=timeouts, limits=limits, statistics=statistics, log=log
        )
        self.pools = pools
        self.names = names
        self.source = source
        self.learnt = learnt
        self.ways = ways

    @property
    def pool(self):
        """For names that have no route."""
        return self.pools[0]

    cdef int accept(self, int fd, bytes address, int port) except -1:
        (<PassedConnection>PassedConnection.__new__(PassedConnection)).begin(self, fd, address, port)
        return 0

    cdef PassthroughProxy current(self):
        """Whoever has taken this one's place, since which there are no other servers than its."""
        cdef PassthroughProxy proxy = self
        while proxy.successor is not None:
            proxy = proxy.successor
        return proxy

    cdef object choose(self, PassedConnection connection, tuple tried):
        """A server that was not tried yet for a client that is bound to none; None when there is none."""
        cdef double now = self.poller.now
        connection.by = _SOURCE if self.source else _POLICY
        self.statistics.chosen_by[connection.by] += 1
        if self.source:
            return connection.pool.choose_by(source_key(connection.address), now, tried)
        return connection.pool.choose(now, tried, b"", connection.address)

    cdef tuple choose_by_id(self, PassedConnection connection, tuple tried):
        """See `tlsnodes.passthrough.ranges`; ranges are those of the first pool."""
        if self.session_ids is None or connection.pool is not self.pools[0]:
            return None, Persisted.NONE
        server, outcome = find_server(
            self.session_ids, connection.hello.resumes_id, connection.pool, self.poller.now, tried
        )
        if server is not None:
            connection.by = _SESSION_ID
            self.statistics.chosen_by[_SESSION_ID] += 1
        return server, outcome

    def take_over(self, PassthroughProxy before not None, double now):
        """Take the place of `before`: its servers' health goes on with this one.

        Connections go on; those whose hello is still to come get this one's servers.
        """
        known = {pool.name: pool for pool in before.pools}
        for pool in self.pools:
            old = known.get(pool.name)
            if old is not None and old is not pool:
                pool.adopt(old, now)
        before.successor = self
