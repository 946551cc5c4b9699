"""What a worker answers who asks which server a client would get [P8] (shell): of all that binds, TLS sessions may have
to be looked up in the store."""

from __future__ import annotations

import time
from collections.abc import Mapping

from pentaflow.sessions import SessionAnswer, SessionQuestion
from tlsnodes.passthrough.client_hello import TLS_1_2, ClientHello
from tlsnodes.passthrough.learning import LearntSessions
from tlsnodes.passthrough.ranges import find_server
from tlsnodes.persistence.affinity import Affinity, ChosenBy, name_digest
from tlsnodes.persistence.explain import Bound, Rows, Verdict, explain
from tlsnodes.proxy.passthrough import PassthroughProxy
from tlsnodes.proxy.rules import ProxyRules
from tlsnodes.proxy.vserver import VserverProxy


async def explain_served(proxy: VserverProxy, policies: Mapping[str, str], question: SessionQuestion) -> SessionAnswer:
    """Of a vserver of mode https or http; `policies`: pool's name → its policy."""
    bound = await _bound_by_session(proxy.rules, question)
    pool = proxy.pool
    rows = Rows(
        pool=pool,
        policy=policies[pool.name],
        injection=proxy.rules.injection,
        sessions=proxy.rules.sessions is not None,
        bound=bound,
        source=proxy.rules.source,
    )
    return explain(proxy.name, rows, question, proxy.poller.tick(), time.time())


async def _bound_by_session(rules: ProxyRules, question: SessionQuestion) -> Bound | None:
    tls = rules.tls
    if tls is None or rules.tickets is None:
        return None
    digest = None if question.name is None else name_digest(question.name.encode())
    said: Affinity | str = Verdict.NONE
    if question.ticket is not None:
        of_ticket = tls.read_ticket(question.ticket, digest, time.time())
        said = of_ticket if isinstance(of_ticket, Affinity) else of_ticket.name.lower()
    elif question.session_id is not None and tls.sessions is not None:
        of_id = await tls.sessions.examine(question.session_id, digest)
        said = of_id if isinstance(of_id, Affinity) else of_id.name.lower()
    return Bound(ChosenBy.TICKET, said)


async def explain_passed(
    proxy: PassthroughProxy, policies: Mapping[str, str], question: SessionQuestion
) -> SessionAnswer:
    """Of a vserver of mode passthrough; `policies`: pool's name → its policy."""
    hello = ClientHello(
        legacy_version=TLS_1_2,
        session_id=question.session_id or b"",
        server_name=question.name or "",
        alpn=(),
        ticket=question.ticket,
        versions=(),
    )
    pool = proxy.names.maybe_find(hello.server_name) or proxy.pool
    bound = None if proxy.learnt is None else await _bound_by_learning(proxy.learnt, pool.name, hello)
    now, by_range = proxy.poller.tick(), None
    if proxy.session_ids is not None and pool is proxy.pool:
        by_range = find_server(proxy.session_ids, hello.resumes_id, pool, now, ())
    rows = Rows(
        pool=pool,
        policy=policies[pool.name],
        injection=None,
        sessions=False,
        bound=bound,
        source=proxy.source,
        by_range=by_range,
    )
    return explain(proxy.name, rows, question, now, time.time())


async def _bound_by_learning(learnt: LearntSessions, pool: str, hello: ClientHello) -> Bound:
    wanted = learnt.maybe_key(hello)
    if wanted is None:
        return Bound(ChosenBy.TICKET, Verdict.NONE)
    key, by = wanted
    record = await learnt.store.get(key)
    if record is None:
        return Bound(by, Verdict.UNKNOWN)
    said = learnt.read(record, pool, hello, time.time())
    return Bound(by, said if isinstance(said, Affinity) else said.value)
