"""Which server gets a request: what the client is bound to first, then the pool's policy [P8]."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from tlsnodes.persistence.affinity import Affinity, ChosenBy
from tlsnodes.persistence.application_sessions import BoundSession
from tlsnodes.persistence.cookie import CookieInjection
from tlsnodes.proxy.statistics import VserverStatistics
from tlsnodes.scheduling.pool import ServerPool
from tlsnodes.scheduling.ring import source_key
from tlsnodes.scheduling.server import ServerState
from tlsnodes.statistics import Persisted, SessionIdOutcome

# Looking a member up in its class costs more than what the hot path does with it.
_NONE = Persisted.NONE
_HONOURED = Persisted.HONOURED
_COOKIE = ChosenBy.COOKIE
_SESSION_ID = ChosenBy.SESSION_ID
_SOURCE = ChosenBy.SOURCE
_POLICY = ChosenBy.POLICY


class TicketBinding(NamedTuple):
    """How tickets bind a vserver's clients.

    Attributes:
        lifetime_s: of a new binding.
        renew: whether its end moves on when it is used.
        servers: how many servers a ticket names.
    """

    lifetime_s: int
    renew: bool
    servers: int


class Bound(Protocol):
    """What a connection is bound to by its ticket; `by` is why, while that was in this connection's handshake."""

    @property
    def affinity(self) -> Affinity | None:
        """None: it is bound to nothing."""
        ...

    @property
    def by(self) -> ChosenBy:
        """See above."""
        ...


class RequestScheduler:
    """Chooses for each request of a vserver, and counts what became of its affinity.

    The order is: cookie, session id, ticket, hash of the client's address, policy. Whoever is bound to servers that are
    all full gets none: elsewhere its session is not known.

    Args:
        pool: the servers.
        injection: cookie persistence, if the vserver has it.
        statistics: where it is counted.
        tickets: ticket persistence, if the vserver has it.
        source: whether clients that nothing else binds go by their address.
    """

    __slots__ = ("_by", "_counts", "_injection", "_sessions", "_source", "_tickets", "pool")

    def __init__(
        self,
        pool: ServerPool,
        injection: CookieInjection | None,
        statistics: VserverStatistics,
        *,
        tickets: TicketBinding | None = None,
        source: bool = False,
    ) -> None:
        self.pool = pool
        self._injection = injection
        self._counts = statistics.persistence
        self._by = statistics.chosen_by
        self._sessions = statistics.session_ids
        self._tickets = tickets
        self._source = source

    def choose(
        self,
        cookie: bytes | None,
        now: float,
        now_s: float,
        target: bytes = b"",
        client: bytes = b"",
        bound: Bound | None = None,
        session: BoundSession | None = None,
    ) -> tuple[ServerState | None, bytes | None, ChosenBy]:
        """The server, None when none can take the request; the Cookie field's value that it gets; and why that one.

        Args:
            cookie: the Cookie field's value.
            now: seconds on the monotonic clock of the pool.
            now_s: seconds since the epoch.
            target: the request's target.
            client: the client's packed address, without a port.
            bound: what the connection is bound to, if tickets bind.
            session: what the session is bound to whose id the request shows.
        """
        if self._injection is not None:
            server_id, refusal, cookie = self._injection.read_request(cookie, now_s)
            if server_id is not None:
                server = self.pool.maybe_server(server_id)
                if server is not None and self.pool.usable(server, now):
                    self._counts[_HONOURED] += 1
                    self._by[_COOKIE] += 1
                    return None if server.full else server, cookie, _COOKIE
                self._counts[Persisted.SERVER_GONE if server is None else Persisted.SERVER_DOWN] += 1
            else:
                self._counts[_NONE if refusal is None else Persisted[refusal.name]] += 1
        if session is not None:
            server = self._maybe_of_session(session, now)
            if server is not None:
                self._by[session.by] += 1
                return None if server.full else server, cookie, session.by
        if bound is not None and bound.affinity is not None:
            usable = self._usable(bound.affinity, now)
            if usable:
                self._by[bound.by] += 1
                return next((server for server in usable if not server.full), None), cookie, bound.by
        if self._source:
            self._by[_SOURCE] += 1
            return self.pool.choose_by(source_key(client), now), cookie, _SOURCE
        self._by[_POLICY] += 1
        return self.pool.choose(now, (), target, client), cookie, _POLICY

    def propose(
        self, now: float, target: bytes, client: bytes, bound: Bound | None
    ) -> tuple[ServerState | None, ChosenBy]:
        """What `choose` would for a request without a cookie and session; nothing is counted."""
        if bound is not None and bound.affinity is not None:
            usable = self._usable(bound.affinity, now)
            if usable:
                return next((server for server in usable if not server.full), None), bound.by
        return self.choose_again(now, (), target, client)

    def is_bound_by_cookie(self, cookie: bytes | None, now: float, now_s: float) -> bool:
        """Whether a request's cookie names a server that may be used."""
        if self._injection is None:
            return False
        server_id = self._injection.read_request(cookie, now_s).server_id
        server = None if server_id is None else self.pool.maybe_server(server_id)
        return server is not None and self.pool.usable(server, now)

    def maybe_instead(self, server: ServerState, by: ChosenBy, session: BoundSession, now: float) -> ServerState | None:
        """The server that a session was bound to while `server` was chosen for it; None: that one, or one of no use."""
        (other_id,) = session.affinity.servers or (server.id,)
        other = self.pool.maybe_server(other_id)
        if other is None or other is server or other.full or not self.pool.usable(other, now):
            return None
        self._by[by] -= 1
        self._by[_SESSION_ID] += 1
        return other

    def _maybe_of_session(self, session: BoundSession, now: float) -> ServerState | None:
        servers = session.affinity.servers
        server = self.pool.maybe_server(servers[0]) if servers else None
        if server is None:
            outcome = SessionIdOutcome.SERVER_GONE
        elif self.pool.usable(server, now):
            outcome = SessionIdOutcome.HONOURED
        else:
            server, outcome = None, SessionIdOutcome.SERVER_DOWN
        if session.by is _SESSION_ID:
            self._sessions[outcome] += 1
        return server

    def choose_again(
        self, now: float, tried: tuple[int, ...], target: bytes, client: bytes
    ) -> tuple[ServerState | None, ChosenBy]:
        """A server for a request that could not reach those in `tried`, and why that one."""
        if self._source:
            return self.pool.choose_by(source_key(client), now, tried), _SOURCE
        return self.pool.choose(now, tried, target, client), _POLICY

    def choose_for_ticket(self, now: float, now_s: float, client: bytes) -> tuple[Affinity, ChosenBy] | None:
        """What a client is bound to whose ticket is sealed before its first request."""
        server, by = self.choose_again(now, (), b"", client)
        return None if server is None else (self.bind(server, now, now_s, client), by)

    def bind(
        self, server: ServerState, now: float, now_s: float, client: bytes, before: Affinity | None = None
    ) -> Affinity:
        """The affinity of a client that `server` has answered; `before`: what it was bound to."""
        assert self._tickets is not None
        if before is not None and before.servers[0] == server.id and not self._tickets.renew:
            return before
        others = self._tickets.servers - 1
        substitutes = self.pool.substitutes(server, source_key(client), others, now) if others else ()
        return Affinity((server.id, *substitutes), int(now_s) + self._tickets.lifetime_s)

    def serves(self, affinity: Affinity, now: float) -> bool:
        """Whether one of these servers may be used."""
        return bool(self._usable(affinity, now))

    def _usable(self, affinity: Affinity, now: float) -> list[ServerState]:
        pool = self.pool
        found = [pool.maybe_server(server_id) for server_id in affinity.servers]
        return [server for server in found if server is not None and pool.usable(server, now)]
