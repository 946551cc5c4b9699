"""Pools: who may be chosen, limits, ejection, slow start, what survives a new configuration."""

from __future__ import annotations

from collections import Counter

import pytest

from pentaflow.pools import Policy
from support.pools import chosen_ids, make_pool, pool_model, pool_with_limits
from tlsnodes.scheduling.judgement import Judgement
from tlsnodes.scheduling.pool import RETRY_AFTER_S, ServerPool
from tlsnodes.scheduling.ring import hashed_part
from tlsnodes.statistics import describe_server


def test_round_robin_takes_turns() -> None:
    assert chosen_ids(make_pool(1, 1, 1), 6) == [1, 2, 3, 1, 2, 3]


def test_round_robin_spreads_weights_out() -> None:
    assert chosen_ids(make_pool(4, 1, 1), 12) == [1, 1, 2, 1, 1, 3] * 2


def test_least_connections_counts_by_weight() -> None:
    pool = make_pool(1, 3, policy="least_connections")
    for _ in range(40):
        server = pool.choose(0.0)
        assert server is not None
        pool.began(server)
    assert [server.open for server in pool.servers] == [10, 30]


def test_least_connections_takes_turns_by_weight_when_idle() -> None:
    assert Counter(chosen_ids(make_pool(1, 3, policy="least_connections"), 40)) == {1: 10, 2: 30}


def test_who_was_long_busy_has_no_claim_to_many_turns_in_a_row() -> None:
    pool = make_pool(1, 1, policy="least_connections")
    busy = pool.servers[0]
    pool.began(busy)
    assert set(chosen_ids(pool, 50)) == {2}
    pool.ended(busy)
    assert Counter(chosen_ids(pool, 10))[1] in (5, 6)


def test_response_time_prefers_the_fast_and_counts_what_is_open() -> None:
    pool = make_pool(1, 1, policy="response_time")
    fast, slow = pool.servers
    pool.choose(0.0)
    pool.answered(fast, 200, 0.010, 0.0)
    pool.answered(slow, 200, 0.035, 0.0)
    for _ in range(3):
        assert pool.choose(0.0) is fast
        pool.began(fast)
    assert pool.choose(0.0) is slow  # 4 x 10 ms are more than 35 ms


def test_a_quick_error_does_not_make_a_server_look_fast() -> None:
    pool = make_pool(1, 1, policy="response_time", eject=None)
    good, bad = pool.servers
    pool.choose(0.0)
    pool.answered(good, 200, 0.010, 0.0)
    pool.answered(bad, 200, 0.050, 0.0)
    for _ in range(20):
        pool.answered(bad, 500, 0.0001, 0.0)
    assert pool.choose(0.0) is good
    pool.failed(good, 1.0)
    assert pool.choose(1.0) is bad


def test_power_of_two_draws_by_weight_and_takes_the_less_loaded() -> None:
    numbers = iter([0.0, 0.0, 0.99, 0.4])
    pool = ServerPool(pool_model([1, 1, 2], policy="power_of_two"), random=lambda: next(numbers))
    pool.choose(0.0)  # draws servers 1 and 2
    for _ in range(3):
        pool.began(pool.servers[2])
    assert pool.choose(0.0) is pool.servers[0]  # of servers 3 and 1


@pytest.mark.parametrize("policy", list(Policy))
def test_weight_nought_gets_no_new_clients(policy: Policy) -> None:
    pool = make_pool(0, 1, policy=policy)
    assert set(chosen_ids(pool, 5)) == {2}
    kept = pool.maybe_server(1)
    assert kept is not None
    assert pool.usable(kept, 0.0)  # clients that belong to it stay
    nobody = make_pool(0, 0, policy=policy)
    assert chosen_ids(nobody, 1) == [None]
    assert nobody.refusal() == "no server of pool pool takes new clients"


@pytest.mark.parametrize("policy", list(Policy))
def test_a_server_that_refuses_is_left_out_and_tried_now_and_then(policy: Policy) -> None:
    pool = make_pool(1, 1, policy=policy)
    used = pool.choose(0.0, (), b"/", b"\x0a\x00\x00\x01")
    assert used is not None
    (other,) = {1, 2} - {used.id}
    pool.connect_failed(used, 10.0)
    assert set(chosen_ids(pool, 5, 10.0 + RETRY_AFTER_S / 2)) == {other}
    later = 10.0 + RETRY_AFTER_S
    # One request of many is the trial, until it has failed or succeeded.
    assert chosen_ids(pool, 20, later).count(used.id) == 1
    pool.connect_failed(used, later)
    assert set(chosen_ids(pool, 5, later + 0.1)) == {other}
    pool.connected(used)
    assert used.id in chosen_ids(pool, 20, later + 0.1)
    assert (used.failed, used.connect_failures) == (2, 2)


@pytest.mark.parametrize("policy", list(Policy))
def test_servers_tried_are_not_chosen_again(policy: Policy) -> None:
    pool = make_pool(1, 1, 1, policy=policy)
    assert set(chosen_ids(pool, 5, tried=(1, 3))) == {2}
    assert chosen_ids(pool, 1, tried=(1, 2, 3)) == [None]


def test_a_request_is_tried_at_no_more_servers_than_configured() -> None:
    pool = make_pool(1, 1, 1, 1, retries=2)
    assert chosen_ids(pool, 1, tried=(1, 2)) != [None]
    assert chosen_ids(pool, 1, tried=(1, 2, 3)) == [None]
    assert chosen_ids(make_pool(1, 1, retries=0), 1, tried=(1,)) == [None]


def test_all_down_is_none() -> None:
    pool = make_pool(1, 1)
    for server in pool.servers:
        pool.connect_failed(server, 0.0)
    assert chosen_ids(pool, 1, 0.1) == [None]
    assert pool.refusal() == "no server of pool pool is up"
    assert chosen_ids(pool, 1, RETRY_AFTER_S) != [None]


def test_an_answer_over_an_old_connection_proves_a_server_that_is_down() -> None:
    pool = make_pool(1)
    server = pool.servers[0]
    pool.connect_failed(server, 0.0)
    pool.answered(server, 200, 0.01, 0.5)
    assert pool.choose(0.5) is server


def test_unknown_server() -> None:
    pool = make_pool(1)
    assert pool.maybe_server(9) is None
    pool.apply_check(9, Judgement(alive=False), 0.0)  # of a server that is no longer configured


@pytest.mark.parametrize("policy", list(Policy))
def test_full_servers_are_passed_over(policy: Policy) -> None:
    model = pool_model([1, 1, 1], policy=policy)
    limits = [s.model_copy(update={"max_connections": 2}) for s in model.servers]
    pool = ServerPool(model.model_copy(update={"servers": tuple(limits)}), random=lambda: 0.3)
    for _ in range(6):
        server = pool.choose(0.0, (), b"/", b"1234")
        assert server is not None
        pool.began(server)
    assert [server.open for server in pool.servers] == [2, 2, 2]
    assert pool.choose(0.0, (), b"/", b"1234") is None
    assert pool.refusal() == "every server of pool pool is full"
    pool.ended(pool.servers[1])
    assert pool.choose(0.0, (), b"/", b"1234") is pool.servers[1]


def test_workers_share_the_limit_of_a_server() -> None:
    pool = pool_with_limits(5, workers=2)
    pool.choose(0.0)
    assert pool.servers[0].limit == 3


EJECT = {"after": 3, "base_s": 10, "max_s": 40, "max_share": 0.5}


def test_errors_in_a_row_eject_for_longer_each_time() -> None:
    pool = make_pool(1, 1, eject=EJECT)
    good, bad = pool.servers
    now = 0.0
    lengths = []
    for _ in range(4):
        for _ in range(2):
            pool.failed(bad, now)
        pool.answered(bad, 200, 0.01, now)  # not in a row
        assert pool.usable(bad, now)
        for _ in range(3):
            pool.answered(bad, 503, 0.01, now)
        assert set(chosen_ids(pool, 4, now)) == {1}
        lengths.append(bad.ejected_until - now)
        now = bad.ejected_until
        assert not pool.usable(bad, now - 0.01)
        assert set(chosen_ids(pool, 4, now)) == {1, 2}
    assert lengths == [10, 20, 40, 40]
    assert bad.ejections == 4
    assert good.ejections == 0
    now += 41  # it has behaved for long enough
    for _ in range(3):
        pool.failed(bad, now)
    assert bad.ejected_until == now + 10


@pytest.mark.parametrize(
    ("errors", "status", "ejected"),
    [
        ("gateway", 500, False),
        ("gateway", 502, True),
        ("gateway", 504, True),
        ("any_5xx", 500, True),
        ("any_5xx", 501, False),  # a client has this by asking for it
        ("any_5xx", 505, False),
        ("any_5xx", 404, False),
    ],
)
def test_what_counts_as_an_error(errors: str, status: int, ejected: bool) -> None:
    pool = make_pool(1, 1, eject=EJECT | {"errors": errors})
    for _ in range(3):
        pool.answered(pool.servers[0], status, 0.01, 0.0)
    assert pool.usable(pool.servers[0], 0.0) is not ejected


def test_no_more_than_a_share_is_ejected() -> None:
    pool = make_pool(1, 1, 1, 1, 1, eject=EJECT)
    for _ in range(3):
        for server in pool.servers:
            pool.failed(server, 0.0)
    assert [pool.usable(server, 0.0) for server in pool.servers] == [False, False, True, True, True]
    assert chosen_ids(make_pool(1, eject=EJECT), 1) == [1]


def test_ejection_can_be_switched_off() -> None:
    pool = make_pool(1, 1, eject=None)
    for _ in range(100):
        pool.failed(pool.servers[0], 0.0)
    assert pool.usable(pool.servers[0], 0.0)


def test_the_ejected_are_used_when_nobody_else_is_left() -> None:
    pool = make_pool(1, 1, 1, eject=EJECT | {"max_share": 1})
    ejected, refusing, dead = pool.servers
    for _ in range(3):
        pool.failed(ejected, 0.0)
    pool.apply_check(dead.id, Judgement(alive=False, reason="check: status 500"), 0.0)
    assert set(chosen_ids(pool, 3)) == {refusing.id}
    assert not pool.usable(ejected, 0.0)
    pool.connect_failed(refusing, 0.0)
    assert set(chosen_ids(pool, 3)) == {ejected.id}
    assert pool.usable(ejected, 0.0)
    pool.connected(refusing)
    assert set(chosen_ids(pool, 3)) == {refusing.id}


def test_what_checks_say() -> None:
    pool = make_pool(10, 10)
    first = pool.servers[0]
    pool.apply_check(1, Judgement(alive=False, reason="check: connection refused"), 0.0)
    assert not pool.usable(first, 0.0)
    assert set(chosen_ids(pool, 3)) == {2}
    pool.apply_check(2, Judgement(alive=False), 0.0)
    assert chosen_ids(pool, 1) == [None]  # known to be dead: no panic
    pool.apply_check(2, Judgement(), 0.0)
    pool.apply_check(1, Judgement(draining=True, reason="agent: drain"), 0.0)
    assert set(chosen_ids(pool, 3)) == {2}
    assert pool.usable(first, 0.0)  # for those that are bound to it
    pool.apply_check(1, Judgement(weight_percent=50, max_connections=1), 0.0)
    assert Counter(chosen_ids(pool, 15)) == {1: 5, 2: 10}
    pool.began(first)
    assert first.full
    pool.apply_check(1, Judgement(max_connections=0), 0.0)
    assert not first.full


def test_slow_start_gives_a_growing_share() -> None:
    pool = make_pool(10, 10, slow_start_s=20)
    assert Counter(chosen_ids(pool, 20)) == {1: 10, 2: 10}  # all began together: nobody starts slowly
    pool.connect_failed(pool.servers[0], 0.0)
    pool.choose(1.0)
    pool.connected(pool.servers[0])
    assert Counter(chosen_ids(pool, 110, 2.0))[1] == 10  # a tenth of the other's
    assert Counter(chosen_ids(pool, 155, 12.0))[1] in (54, 55, 56)  # 5.5 : 10
    assert Counter(chosen_ids(pool, 20, 22.0))[1] == 10


def test_a_new_configuration_keeps_what_is_known_of_a_server() -> None:
    old = make_pool(1, 1, 1, eject=EJECT, slow_start_s=10)
    old.choose(0.0)
    first, second, third = old.servers
    old.began(first)
    old.began(third)
    old.connect_failed(second, 0.0)
    old.answered(first, 200, 0.1, 0.0)
    model = pool_model([5, 1, 1, 1], eject=EJECT, policy="url_hash", slow_start_s=10)
    moved = model.servers[2].model_copy(update={"address": model.servers[0].address.model_copy(update={"port": 99})})
    new = ServerPool(
        model.model_copy(update={"servers": (*model.servers[:2], moved, model.servers[3])}), random=lambda: 0.0
    )
    new.adopt(old, 1.0)
    assert new.servers[:2] == (first, second)
    assert (first.weight, first.open, first.responses, first.up_since < 0) == (5, 1, 1, True)
    assert not new.usable(second, 1.0)
    assert new.servers[2] is not third
    assert (new.servers[2].up_since, new.servers[3].up_since) == (1.0, 1.0)  # they start slowly

    # A connection that holds on to the old pool is served by the new one, and what it reports counts.
    for path in (b"/%d" % i for i in range(50)):
        assert old.choose(1.0, (), path) is new.choose(1.0, (), path)
    old.ended(first)
    old.ended(third)
    assert (first.open, third.open) == (0, 0)
    old.connect_failed(first, 1.0)
    assert not new.usable(first, 1.0)
    assert not old.usable(first, 1.0)
    old.connected(second)
    assert old.usable(second, 1.0)
    assert old.maybe_server(4) is new.servers[3]
    for _ in range(3):
        old.failed(second, 1.0)
    assert not new.usable(second, 1.0)
    old.apply_check(4, Judgement(alive=False), 1.0)
    assert not new.usable(new.servers[3], 1.0)


@pytest.mark.parametrize(
    ("target", "path", "with_query"),
    [
        (b"/a/b?c=1", b"/a/b", b"/a/b?c=1"),
        (b"/a", b"/a", b"/a"),
        (b"http://host:80/a?b", b"/a", b"/a?b"),
        (b"http://host", b"/", b"/"),
        (b"/a?u=http://b/c", b"/a", b"/a?u=http://b/c"),
        (b"*", b"*", b"*"),
    ],
)
def test_what_of_a_target_is_hashed(target: bytes, path: bytes, with_query: bytes) -> None:
    assert (hashed_part(target, query=False), hashed_part(target, query=True)) == (path, with_query)


def test_addresses_of_one_ipv6_network_are_one_client() -> None:
    pool = make_pool(*[1] * 9, policy="source_hash")
    network = bytes.fromhex("20010db800010002")
    assert len({pool.choose(0.0, (), b"/", network + bytes(7) + bytes([i])) for i in range(50)}) == 1
    assert len({pool.choose(0.0, (), b"/", network[:7] + bytes([i]) + bytes(8)) for i in range(50)}) > 5


def test_the_row_of_a_server() -> None:
    pool = make_pool(4, 1, eject=EJECT)
    server = pool.servers[0]
    pool.choose(0.0)
    assert describe_server(server, 0.0)["average_response_ms"] is None
    pool.began(server)
    pool.answered(server, 200, 0.010, 0.0)
    pool.answered(server, 200, 0.030, 0.0)
    assert describe_server(server, 0.0) == {
        "name": "s1",
        "id": 1,
        "address": "192.0.2.1:8001",
        "weight": 4,
        "effective_weight": 4.0,
        "up": True,
        "state": "up",
        "hits": 1,
        "open": 1,
        "failed": 0,
        "connect_failures": 0,
        "ejections": 0,
        "average_response_ms": 20.0,
        "recent_response_ms": 10.0,
        "checks": None,
    }
    for _ in range(3):
        pool.failed(server, 5.0)
    pool.choose(5.0)
    assert describe_server(server, 8.0)["state"] == "ejected for another 7 s"
    pool.connect_failed(server, 8.0)
    assert describe_server(server, 8.0)["state"] == "cannot be connected to"
    pool.apply_check(1, Judgement(alive=False, reason="check: status 500"), 8.0)
    row = describe_server(server, 8.0)
    assert (row["state"], row["up"], row["ejections"], row["failed"]) == ("check: status 500", False, 1, 4)
