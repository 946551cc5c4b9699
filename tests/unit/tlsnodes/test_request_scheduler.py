"""Which server a request gets: cookie, ticket, source, policy, in this order."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from support.pools import make_pool, pool_with_limits
from tlsnodes.persistence.affinity import Affinity, ChosenBy
from tlsnodes.persistence.cookie import CookieInjection
from tlsnodes.persistence.token import PlainToken
from tlsnodes.proxy.statistics import VserverStatistics
from tlsnodes.scheduling.pool import ServerPool
from tlsnodes.scheduling.scheduler import RequestScheduler, TicketBinding
from tlsnodes.statistics import Persisted


def make_scheduler(pool: ServerPool) -> tuple[RequestScheduler, VserverStatistics]:
    statistics = VserverStatistics()
    injection = CookieInjection(session_cookie="SESSION", server_cookie="SpServer", codec=PlainToken())
    return RequestScheduler(pool, injection, statistics), statistics


@pytest.mark.parametrize(
    ("cookie", "down", "expected", "outcome"),
    [
        (None, False, 1, Persisted.NONE),
        (b"a=1", False, 1, Persisted.NONE),
        (b"SpServer=3; a=1", False, 3, Persisted.HONOURED),
        (b"SpServer=3; a=1", True, 1, Persisted.SERVER_DOWN),
        (b"SpServer=9; a=1", False, 1, Persisted.SERVER_GONE),
        (b"SpServer=x; a=1", False, 1, Persisted.MALFORMED),
    ],
)
def test_affinity_goes_before_the_policy(cookie: bytes | None, down: bool, expected: int, outcome: Persisted) -> None:
    pool = make_pool(1, 1, 1)
    if down:
        pool.connect_failed(pool.servers[2], 0.0)
    scheduler, statistics = make_scheduler(pool)
    server, rest, by = scheduler.choose(cookie, 0.0, 0.0)
    assert server is not None
    assert (server.id, rest) == (expected, b"a=1" if cookie else None)
    assert by is (ChosenBy.COOKIE if outcome is Persisted.HONOURED else ChosenBy.POLICY)
    assert [reason for reason in ChosenBy if statistics.chosen_by[reason]] == [by]
    assert statistics.persistence[outcome] == 1
    assert sum(statistics.persistence) == 1
    assert statistics.describe()["persistence"][outcome.name.lower()] == 1


def test_without_persistence_cookies_pass_untouched() -> None:
    scheduler = RequestScheduler(make_pool(1, 1), None, VserverStatistics())
    server, rest, _ = scheduler.choose(b"SpServer=2", 0.0, 0.0)
    assert server is not None
    assert (server.id, rest) == (1, b"SpServer=2")


@dataclass
class Bound:
    """What a connection is bound to."""

    affinity: Affinity | None
    by: ChosenBy = ChosenBy.TICKET


def test_a_ticket_goes_before_source_and_policy_and_after_the_cookie() -> None:
    pool = make_pool(1, 1, 1)
    injection = CookieInjection(session_cookie="SESSION", server_cookie="SpServer", codec=PlainToken())
    scheduler = RequestScheduler(pool, injection, VserverStatistics(), source=True)
    bound = Bound(Affinity((3, 2), 100))

    def choose(cookie: bytes | None = None, bound: Bound | None = bound) -> tuple[int, ChosenBy]:
        server, _, by = scheduler.choose(cookie, 0.0, 0.0, b"/", b"\x0a\0\0\1", bound)
        assert server is not None
        return server.id, by

    assert choose(b"SpServer=1") == (1, ChosenBy.COOKIE)
    assert choose() == (3, ChosenBy.TICKET)
    pool.connect_failed(pool.servers[2], 0.0)
    assert choose(b"SpServer=3") == (2, ChosenBy.TICKET)  # the next one that the ticket names
    pool.connect_failed(pool.servers[1], 0.0)
    assert choose() == (1, ChosenBy.SOURCE)
    assert choose(bound=Bound(None)) == (1, ChosenBy.SOURCE)


def test_a_client_bound_by_ticket_to_full_servers_gets_none() -> None:
    pool = make_pool(1, 1, 1)
    scheduler = RequestScheduler(pool, None, VserverStatistics())
    bound = Bound(Affinity((1, 2), 100))
    for expected in (1, 2):
        server, _, _ = scheduler.choose(None, 0.0, 0.0, bound=bound)
        assert server is not None
        assert server.id == expected
        server.full = True
    assert scheduler.choose(None, 0.0, 0.0, bound=bound)[0] is None


def test_the_same_source_gets_the_same_server_whatever_the_policy() -> None:
    clients = [bytes((10, 0, 0, i)) for i in range(64)]
    schedulers = [RequestScheduler(make_pool(1, 1, 1), None, VserverStatistics(), source=True) for _ in range(2)]
    chosen = [[s.choose(None, 0.0, 0.0, b"/", client)[0] for client in clients] for s in schedulers]
    first, second = [[server.id for server in servers if server is not None] for servers in chosen]
    assert first == second
    assert set(first) == {1, 2, 3}


def test_a_binding_names_substitutes_that_differ_and_is_renewed_or_not() -> None:
    pool = make_pool(1, 1, 1, 0)
    for renew in (False, True):
        tickets = TicketBinding(lifetime_s=60, renew=renew, servers=4)
        scheduler = RequestScheduler(pool, None, VserverStatistics(), tickets=tickets)
        affinity = scheduler.bind(pool.servers[1], 0.0, 1000.9, b"client")
        assert affinity.servers[0] == 2
        assert sorted(affinity.servers) == [1, 2, 3]  # a server without weight takes no new clients
        assert affinity.expires_s == 1060
        again = scheduler.bind(pool.servers[1], 5.0, 1005.0, b"client", affinity)
        assert again.expires_s == (1065 if renew else 1060)
        assert again.servers == affinity.servers
        assert scheduler.bind(pool.servers[0], 5.0, 1005.0, b"client", affinity).expires_s == 1065


def test_a_ticket_that_is_sealed_before_the_first_request_is_chosen_as_a_request_is() -> None:
    pool = make_pool(1, 1)
    tickets = TicketBinding(lifetime_s=60, renew=True, servers=1)
    scheduler = RequestScheduler(pool, None, VserverStatistics(), tickets=tickets)
    chosen = [scheduler.choose_for_ticket(0.0, 1000.0, b"client") for _ in range(2)]
    assert chosen == [(Affinity((1,), 1060), ChosenBy.POLICY), (Affinity((2,), 1060), ChosenBy.POLICY)]
    for server in pool.servers:
        pool.connect_failed(server, 0.0)
    assert scheduler.choose_for_ticket(0.1, 1000.0, b"client") is None


def test_a_request_that_is_bound_to_a_full_server_goes_nowhere_else() -> None:
    pool = pool_with_limits(1, 1)
    scheduler, statistics = make_scheduler(pool)
    pool.choose(0.0)
    pool.began(pool.servers[1])
    assert scheduler.choose(b"SpServer=2", 0.0, 0.0)[0] is None
    assert pool.refusal() == "the server of pool pool that this client is bound to is full"
    assert statistics.persistence[Persisted.HONOURED] == 1
    pool.ended(pool.servers[1])
    assert scheduler.choose(b"SpServer=2", 0.0, 0.0)[0] is pool.servers[1]
