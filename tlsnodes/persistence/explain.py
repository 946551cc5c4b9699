"""Which server a client would get, and why, without giving it one: nothing is counted, and no turn is taken [P8]."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pentaflow.sessions import SessionAnswer, SessionQuestion, Step
from tlsnodes.persistence.affinity import ChosenBy
from tlsnodes.persistence.cookie import CookieInjection
from tlsnodes.scheduling.pool import ServerPool
from tlsnodes.scheduling.ring import source_key
from tlsnodes.scheduling.server import ServerState


class Verdict(StrEnum):
    """What a row says, where it is not a `Refusal`; see `Step`."""

    HONOURED = "honoured"
    NONE = "none"
    NOT_ASKED = "not_asked"
    SERVER_GONE = "server_gone"
    SERVER_DOWN = "server_down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What can decide for a vserver's clients: what its `RequestScheduler` is made of.

    Attributes:
        pool: the servers.
        policy: the pool's, by name.
        injection: cookie persistence, if the vserver has it.
        tickets: whether TLS tickets bind.
        source: whether clients that nothing else binds go by their address.
    """

    pool: ServerPool
    policy: str
    injection: CookieInjection | None
    tickets: bool
    source: bool


def explain(vserver: str, rows: Rows, given: SessionQuestion, now: float, now_s: float) -> SessionAnswer:
    """What `RequestScheduler.choose` would say of the next request of a client that has no ticket.

    Args:
        vserver: its name.
        rows: what can decide.
        given: the client.
        now: seconds on the monotonic clock of the pool.
        now_s: seconds since the epoch.
    """
    pool = rows.pool
    steps: list[Step] = []

    def decide(
        by: ChosenBy, server: ServerState | None, *, is_served: bool, verdict: Verdict = Verdict.HONOURED
    ) -> SessionAnswer:
        name = None if server is None else server.name
        steps.append(Step(by=by.name.lower(), verdict=verdict, server=name))
        return SessionAnswer(
            vserver=vserver,
            steps=tuple(steps),
            server=name if is_served else None,
            chosen_by=by.name.lower(),
            policy=rows.policy,
            refusal=None if is_served else pool.refusal(),
        )

    if rows.injection is not None:
        found = _ask_cookie(pool, rows.injection, given.cookie, now, now_s)
        if isinstance(found, ServerState):
            return decide(ChosenBy.COOKIE, found, is_served=not found.full)
        steps.append(found)
    if rows.tickets:
        steps.append(Step(by=ChosenBy.TICKET.name.lower(), verdict=Verdict.NOT_ASKED, server=None))
    has_room = pool.has_room(now)
    if not rows.source:
        return decide(ChosenBy.POLICY, None, is_served=has_room)
    if given.client is None:
        return decide(ChosenBy.SOURCE, None, is_served=has_room, verdict=Verdict.NOT_ASKED)
    return decide(ChosenBy.SOURCE, pool.maybe_on_ring(source_key(given.client.packed), now), is_served=has_room)


def _ask_cookie(
    pool: ServerPool, injection: CookieInjection, cookie: str | None, now: float, now_s: float
) -> ServerState | Step:
    """The server that the cookie binds to, or why there is none."""
    server_id, refusal, _ = injection.examine(None if cookie is None else cookie.encode("latin-1"), now_s)
    if server_id is None:
        return Step(by="cookie", verdict=Verdict.NONE if refusal is None else refusal.value, server=None)
    server = pool.maybe_server(server_id)
    if server is None:
        return Step(by="cookie", verdict=Verdict.SERVER_GONE, server=f"#{server_id}")
    if not pool.usable(server, now):
        return Step(by="cookie", verdict=Verdict.SERVER_DOWN, server=server.name)
    return server
