"""Which server a client would get, by the rows of the precedence table, and that asking changes nothing."""

from __future__ import annotations

from copy import deepcopy
from ipaddress import ip_address
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pentaflow.addresses import IpAddress
from pentaflow.sessions import SessionAnswer, SessionQuestion
from support.pools import chosen_ids, make_pool
from tlsnodes.persistence.affinity import Affinity, ChosenBy
from tlsnodes.persistence.cookie import CookieInjection
from tlsnodes.persistence.explain import Bound, Rows, explain
from tlsnodes.persistence.token import AuthenticatedToken, PlainToken, TokenCodec
from tlsnodes.proxy.statistics import VserverStatistics
from tlsnodes.scheduling.pool import ServerPool
from tlsnodes.scheduling.scheduler import RequestScheduler

CLIENT = ip_address("10.0.0.1")


def injection(codec: TokenCodec | None = None) -> CookieInjection:
    return CookieInjection(session_cookie="SESSION", server_cookie="SpServer", codec=codec or PlainToken())


def ask(
    pool: ServerPool,
    cookie: bytes | None = None,
    client: IpAddress | None = None,
    *,
    codec: TokenCodec | None = None,
    has_cookies: bool = True,
    sessions: bool = False,
    bound: Bound | None = None,
    source: bool = False,
    now: float = 0.0,
) -> SessionAnswer:
    rows = Rows(
        pool=pool,
        policy="round_robin",
        injection=injection(codec) if has_cookies else None,
        sessions=sessions,
        bound=bound,
        source=source,
    )
    return explain(
        "web",
        rows,
        SessionQuestion(cookie=None if cookie is None else cookie.decode("latin-1"), client=client),
        now,
        1000.0,
    )


def steps(answer: SessionAnswer) -> list[tuple[str, str, str | None]]:
    return [(step.by, step.verdict, step.server) for step in answer.steps]


def test_rows_are_asked_in_order_until_one_decides() -> None:
    pool = make_pool(1, 1, 1)
    bound = ask(pool, b"a=1; SpServer=3", bound=Bound(ChosenBy.TICKET, Affinity((1,), 2000)), source=True)
    assert steps(bound) == [("cookie", "honoured", "s3")]
    assert (bound.vserver, bound.server, bound.chosen_by, bound.refusal) == ("web", "s3", "cookie", None)
    free = ask(pool, b"a=1", bound=Bound(ChosenBy.TICKET, "forged"))
    assert steps(free) == [("cookie", "none", None), ("ticket", "forged", None), ("policy", "honoured", None)]
    shows = ask(pool, b"a=1", sessions=True)
    assert steps(shows) == [("cookie", "none", None), ("session_id", "not_asked", None), ("policy", "honoured", None)]
    assert (free.server, free.chosen_by, free.policy, free.refusal) == (None, "policy", "round_robin", None)
    assert steps(ask(pool, has_cookies=False)) == [("policy", "honoured", None)]


def test_what_does_not_bind_says_why() -> None:
    pool = make_pool(1, 1)
    pool.connect_failed(pool.servers[1], 0.0)
    assert steps(ask(pool, b"SpServer=2"))[0] == ("cookie", "server_down", "s2")
    assert steps(ask(pool, b"SpServer=9"))[0] == ("cookie", "server_gone", "#9")
    codec = AuthenticatedToken(secret=bytes(16), vserver_id=1, vserver_name="web")
    good = codec.encode(1, 2000)
    for token, verdict, server in (
        (good, "honoured", "s1"),
        (good[:-1], "malformed", None),
        (codec.encode(1, 999), "expired", None),
        (AuthenticatedToken(secret=bytes(16), vserver_id=1, vserver_name="x").encode(1, None), "forged", None),
        (AuthenticatedToken(secret=bytes(16), vserver_id=2, vserver_name="web").encode(1, None), "foreign", None),
    ):
        assert steps(ask(pool, b"SpServer=" + token, codec=codec))[0] == ("cookie", verdict, server)


def test_a_session_leads_to_the_first_of_its_servers_that_can() -> None:
    pool = make_pool(1, 1, 1)
    pool.connect_failed(pool.servers[0], 0.0)
    for servers, verdict, server in (
        ((2, 3), "honoured", "s2"),
        ((1, 3), "honoured", "s3"),
        ((1,), "server_down", "s1"),
        ((9,), "server_gone", None),
        ((), "server_gone", None),
    ):
        answer = ask(pool, has_cookies=False, bound=Bound(ChosenBy.SESSION_ID, Affinity(servers, 2000)))
        assert steps(answer)[0] == ("session_id", verdict, server)
        assert answer.chosen_by == ("session_id" if verdict == "honoured" else "policy")
    pool.choose(0.0)
    pool.servers[1].full = True
    named = Bound(ChosenBy.TICKET, Affinity((2, 3), 2000))
    assert ask(pool, has_cookies=False, bound=named).server == "s3"
    pool.servers[2].full = True
    answer = ask(pool, has_cookies=False, bound=named)
    assert (answer.server, answer.chosen_by) == (None, "ticket")
    assert answer.refusal == "every server of pool pool is full"


def test_the_clients_address_decides_if_it_is_known() -> None:
    pool = make_pool(1, 1, 1)
    known = ask(pool, client=CLIENT, source=True)
    server = pool.choose_by(CLIENT.packed, 0.0)
    assert server is not None
    assert steps(known) == [("cookie", "none", None), ("source", "honoured", server.name)]
    assert known.server == server.name
    unknown = ask(pool, source=True)
    assert steps(unknown)[1] == ("source", "not_asked", None)
    assert (unknown.server, unknown.chosen_by, unknown.refusal) == (None, "source", None)


def test_who_would_get_a_503_is_told_why() -> None:
    pool = make_pool(1, 1)
    pool.choose(0.0)
    pool.servers[1].full = True
    bound = ask(pool, b"SpServer=2")
    assert steps(bound) == [("cookie", "honoured", "s2")]
    assert (bound.server, bound.chosen_by) == (None, "cookie")
    assert bound.refusal == "the server of pool pool that this client is bound to is full"
    pool.servers[0].full = True
    for source in (False, True):
        free = ask(pool, client=CLIENT, source=source)
        assert (free.server, free.refusal) == (None, "every server of pool pool is full")
    empty = make_pool(0)
    assert ask(empty, client=CLIENT, source=True).refusal == "no server of pool pool takes new clients"


@given(
    weights=st.lists(st.integers(0, 3), min_size=1, max_size=5),
    down=st.sets(st.integers(1, 5)),
    full=st.sets(st.integers(1, 5)),
    cookie=st.sampled_from([None, b"a=1", *(b"SpServer=%d" % i for i in range(1, 7)), b"SpServer=x; SpServer=2"]),
    source=st.booleans(),
    servers=st.none() | st.lists(st.integers(1, 6), max_size=3, unique=True).map(tuple),
    now=st.sampled_from([0.0, 1.0, 5.0]),
)
def test_the_answer_is_what_the_scheduler_does_next(
    weights: list[int],
    down: set[int],
    full: set[int],
    cookie: bytes | None,
    source: bool,
    servers: tuple[int, ...] | None,
    now: float,
) -> None:
    def make() -> ServerPool:
        pool = make_pool(*weights)
        for server in pool.servers:
            if server.id in down:
                pool.connect_failed(server, 0.0)
        pool.choose(0.0)
        for server in pool.servers:
            server.full = server.id in full
        return pool

    pool = make()
    bearer = bound = None
    if servers is not None:
        bearer = SimpleNamespace(affinity=Affinity(servers, 2000), by=ChosenBy.TICKET)
        bound = Bound(ChosenBy.TICKET, bearer.affinity)
    before = answer = ask(pool, cookie, CLIENT, source=source, bound=bound, now=now)
    for _ in range(3):
        answer = ask(pool, cookie, CLIENT, source=source, bound=bound, now=now)
    assert answer == before
    server, _, by = RequestScheduler(pool, injection(), VserverStatistics(), source=source).choose(
        cookie, now, 1000.0, b"/", CLIENT.packed, bearer
    )
    assert answer.chosen_by == by.name.lower()
    assert (answer.refusal is None) == (server is not None)
    if answer.chosen_by != "policy":
        assert answer.server == (None if server is None else server.name)


@pytest.mark.parametrize("policy", ["round_robin", "least_connections", "response_time", "power_of_two", "url_hash"])
def test_asking_takes_nobodys_turn(policy: str) -> None:
    asked, other = (make_pool(3, 2, 1, policy=policy) for _ in range(2))
    asked.connect_failed(asked.servers[0], 0.0)
    other.connect_failed(other.servers[0], 0.0)
    for now in (0.0, 0.1, 1.0, 2.5, 2.6):
        for cookie in (None, b"SpServer=1", b"SpServer=2"):
            ask(asked, cookie, CLIENT, source=True, now=now)
        assert chosen_ids(asked, 7, now) == chosen_ids(other, 7, now)


def test_nothing_is_remembered_of_a_cookie() -> None:
    cookies = injection()
    before = deepcopy(cookies._recent)
    assert cookies.examine(b"SpServer=2", 0.0).server_id == 2
    assert cookies._recent == before == {}


def test_wrong_questions_are_refused_without_repeating_secrets() -> None:
    for question, sentence in (
        ({"cookies": "secret"}, "Extra inputs are not permitted"),
        ({"cookie": "secret\r\nX: y"}, "String should match pattern"),
        ({"cookie": "secret\u2028"}, "String should match pattern"),
        ({"cookie": "secret" * 2000}, "String should have at most 8192 characters"),
        ({"ticket": b"secret" * 2000}, "Data should have at most 8192 bytes"),
        ({"session_id": b"secret" * 10}, "Data should have at most 32 bytes"),
        ({"name": "secret/"}, "String should match pattern"),
        ({"client": "secret"}, "not a valid IPv4 address"),
    ):
        with pytest.raises(ValidationError, match=sentence) as caught:
            SessionQuestion.model_validate(question)
        assert "secret" not in str(caught.value)
    assert "secret" not in repr(SessionQuestion(cookie="secret", ticket=b"secret", session_id=b"secret"))
