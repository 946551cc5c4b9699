"""Which server a client would get, and why, without giving it one: nothing is counted, and no turn is taken [P8]."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pentaflow.sessions import SessionAnswer, SessionQuestion, Step
from tlsnodes.persistence.affinity import Affinity, ChosenBy
from tlsnodes.persistence.cookie import CookieInjection
from tlsnodes.scheduling.pool import ServerPool
from tlsnodes.scheduling.ring import source_key
from tlsnodes.scheduling.server import ServerState
from tlsnodes.statistics import Persisted


class Verdict(StrEnum):
    """What a row says, where it is not a `Refusal`; see `Step`."""

    HONOURED = "honoured"
    NONE = "none"
    NOT_ASKED = "not_asked"
    UNKNOWN = "unknown"
    SERVER_GONE = "server_gone"
    SERVER_DOWN = "server_down"


class Bound(NamedTuple):
    """What the client's TLS session says: `by` is the row, `said` what it binds to, or why to nothing."""

    by: ChosenBy
    said: Affinity | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What can decide for a vserver's clients.

    Attributes:
        pool: the servers.
        policy: the pool's, by name.
        injection: cookie persistence, if the vserver has it.
        sessions: whether session ids of the application bind.
        bound: by the client's TLS session, if sessions bind.
        source: whether clients that nothing else binds go by their address.
        by_range: what `tlsnodes.passthrough.ranges` says of the client's session id, if ids are in ranges.
    """

    pool: ServerPool
    policy: str
    injection: CookieInjection | None
    sessions: bool
    bound: Bound | None
    source: bool
    by_range: tuple[ServerState | None, Persisted] | None = None


def explain(vserver: str, rows: Rows, given: SessionQuestion, now: float, now_s: float) -> SessionAnswer:
    """What `RequestScheduler.choose`, or a passthrough vserver, would say of a client's next request.

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
            pool=pool.name,
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
    if rows.sessions:
        steps.append(Step(by=ChosenBy.SESSION_ID.name.lower(), verdict=Verdict.NOT_ASKED, server=None))
    if rows.bound is not None:
        found = _ask_session(pool, rows.bound, now)
        if isinstance(found, ServerState):
            return decide(rows.bound.by, found, is_served=not found.full)
        steps.append(found)
    if rows.by_range is not None:
        holder, outcome = rows.by_range
        verdict = Verdict[outcome.name]
        if holder is not None:
            return decide(ChosenBy.SESSION_ID, holder, is_served=True, verdict=verdict)
        steps.append(Step(by=ChosenBy.SESSION_ID.name.lower(), verdict=verdict, server=None))
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


def _ask_session(pool: ServerPool, bound: Bound, now: float) -> ServerState | Step:
    """The server that the session binds to, a full one if all are full, or why there is none."""
    by = bound.by.name.lower()
    if isinstance(bound.said, str):
        return Step(by=by, verdict=bound.said, server=None)
    found = [pool.maybe_server(server_id) for server_id in bound.said.servers]
    known = [server for server in found if server is not None]
    if not known:
        return Step(by=by, verdict=Verdict.SERVER_GONE, server=None)
    usable = [server for server in known if pool.usable(server, now)]
    if not usable:
        return Step(by=by, verdict=Verdict.SERVER_DOWN, server=known[0].name)
    return next((server for server in usable if not server.full), usable[0])
