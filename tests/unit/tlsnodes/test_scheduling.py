"""Policies and pools."""

from __future__ import annotations

from collections import Counter

import pytest

from pentaflow.config import HostPort, Policy, Pool, Server
from tlsnodes.persistence.cookie import CookieInjection
from tlsnodes.persistence.token import PlainToken
from tlsnodes.scheduling.pool import RETRY_AFTER_S, ServerPool
from tlsnodes.scheduling.scheduler import RequestScheduler
from tlsnodes.statistics import Persisted, VserverStatistics


def make_pool(*weights: int, policy: Policy = Policy.ROUND_ROBIN) -> ServerPool:
    servers = tuple(
        Server(name=f"s{i}", id=i, address=HostPort(host="192.0.2.1", port=8000 + i), weight=weight)
        for i, weight in enumerate(weights, 1)
    )
    return ServerPool(Pool(name="pool", policy=policy, servers=servers))


def choose(pool: ServerPool, now: float = 0.0, tried: tuple[int, ...] = ()) -> int | None:
    server = pool.choose(now, tried)
    return server.id if server else None


def test_round_robin_takes_turns() -> None:
    pool = make_pool(1, 1, 1)
    assert [choose(pool) for _ in range(6)] == [1, 2, 3, 1, 2, 3]


def test_round_robin_spreads_weights_out() -> None:
    pool = make_pool(4, 1, 1)
    assert [choose(pool) for _ in range(6)] == [1, 1, 2, 1, 3, 1]


def test_least_connections_counts_by_weight() -> None:
    pool = make_pool(1, 3, policy=Policy.LEAST_CONNECTIONS)
    for _ in range(40):
        server = pool.choose(0.0)
        assert server is not None
        server.open += 1
        server.hits += 1
    assert [server.open for server in pool.servers] == [10, 30]


def test_least_connections_takes_turns_when_idle() -> None:
    pool = make_pool(1, 1, policy=Policy.LEAST_CONNECTIONS)
    chosen = Counter[int]()
    for _ in range(10):
        server = pool.choose(0.0)
        assert server is not None
        server.hits += 1
        chosen[server.id] += 1
    assert chosen == {1: 5, 2: 5}


@pytest.mark.parametrize("policy", list(Policy))
def test_weight_nought_gets_no_new_clients(policy: Policy) -> None:
    pool = make_pool(0, 1, policy=policy)
    assert {choose(pool) for _ in range(5)} == {2}
    kept = pool.maybe_server(1)
    assert kept is not None
    assert pool.usable(kept, 0.0)  # clients that belong to it stay
    assert choose(make_pool(0, 0, policy=policy)) is None


def test_a_server_that_refuses_is_left_out_and_tried_now_and_then() -> None:
    pool = make_pool(1, 1)
    bad = pool.servers[0]
    pool.connect_failed(bad, 10.0)
    assert {choose(pool, 10.0 + RETRY_AFTER_S / 2) for _ in range(5)} == {2}
    later = 10.0 + RETRY_AFTER_S
    # One request of many is the trial, until it has failed or succeeded.
    assert [choose(pool, later) for _ in range(6)].count(1) == 1
    pool.connect_failed(bad, later)
    assert {choose(pool, later + 0.1) for _ in range(5)} == {2}
    pool.connected(bad)
    assert {choose(pool, later + 0.1) for _ in range(4)} == {1, 2}
    assert bad.failed == 2


def test_servers_tried_are_not_chosen_again() -> None:
    pool = make_pool(1, 1, 1)
    assert choose(pool, tried=(1, 3)) == 2
    assert choose(pool, tried=(1, 2, 3)) is None


def test_all_down_is_none() -> None:
    pool = make_pool(1, 1)
    for server in pool.servers:
        pool.connect_failed(server, 0.0)
    assert choose(pool, 0.1) is None
    assert choose(pool, RETRY_AFTER_S) is not None


def test_unknown_server() -> None:
    assert make_pool(1).maybe_server(9) is None


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
    server, rest = scheduler.choose(cookie, 0.0, 0.0)
    assert server is not None
    assert (server.id, rest) == (expected, b"a=1" if cookie else None)
    assert statistics.persistence[outcome] == 1
    assert sum(statistics.persistence) == 1
    assert statistics.describe()["persistence"][outcome.name.lower()] == 1


def test_without_persistence_cookies_pass_untouched() -> None:
    scheduler = RequestScheduler(make_pool(1, 1), None, VserverStatistics())
    server, rest = scheduler.choose(b"SpServer=2", 0.0, 0.0)
    assert server is not None
    assert (server.id, rest) == (1, b"SpServer=2")
