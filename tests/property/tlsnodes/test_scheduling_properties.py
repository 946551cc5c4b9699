"""What the policies promise, for any weights, loads and orders of events."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pentaflow.pools import Policy
from support.pools import make_pool, pool_model
from tlsnodes.scheduling.judgement import Judgement
from tlsnodes.scheduling.pool import RETRY_AFTER_S, ServerPool
from tlsnodes.scheduling.server import FORGET_S
from tlsnodes.scheduling.slow_start import FLOOR, ramp

WEIGHTS = st.lists(st.integers(1, 9), min_size=1, max_size=6)
KEYS = [b"/%d" % i for i in range(400)]
DEAD = Judgement(alive=False)


def owners(pool: ServerPool, policy: Policy) -> dict[bytes, int]:
    """Key → server, with no request open."""
    result = {}
    for key in KEYS:
        target, client = (key, b"") if policy is Policy.URL_HASH else (b"/", key)
        owner = pool.choose(0.0, (), target, client)
        assert owner is not None
        result[key] = owner.id
    return result


@given(WEIGHTS, st.integers(0, 20))
def test_round_robin_gives_each_its_weight_in_every_round(weights: list[int], offset: int) -> None:
    pool = make_pool(*weights)
    total = sum(weights)
    chosen = [server.id for _ in range(offset + total) if (server := pool.choose(0.0))]
    assert Counter(chosen[offset:]) == dict(enumerate(weights, 1))


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=8), st.integers(1, 500))
def test_round_robin_is_never_far_from_the_weights(weights: list[int], count: int) -> None:
    pool = make_pool(*weights)
    chosen = Counter(server.id for _ in range(count) if (server := pool.choose(0.0)))
    for number, weight in enumerate(weights, 1):
        assert abs(chosen[number] - count * weight / sum(weights)) < len(weights)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.data())
def test_round_robin_gives_each_its_weight_after_any_change(weights: list[int], data: st.DataObject) -> None:
    pool = make_pool(*weights)
    for _ in range(data.draw(st.integers(1, 6))):
        changed = data.draw(st.sampled_from(pool.servers))
        pool.apply_check(
            changed.id, data.draw(st.sampled_from([DEAD, Judgement(), Judgement(weight_percent=200)])), 0.0
        )
        for _ in range(data.draw(st.integers(0, 10))):
            pool.choose(0.0)
    wanted = {s.id: int(s.effective_weight) for s in pool.servers if s.usable}
    total = sum(wanted.values())
    chosen = [server.id for _ in range(3 * total) if (server := pool.choose(0.0))]
    assert Counter(chosen[-total:]) == wanted  # after a round


@given(WEIGHTS, st.lists(st.integers(0, 5), max_size=60))
def test_least_connections_never_chooses_a_busier_server(weights: list[int], finished: list[int]) -> None:
    pool = make_pool(*weights, policy="least_connections")
    for number in finished:
        server = pool.choose(0.0)
        assert server is not None
        assert server.open / server.weight == pytest.approx(min(s.open / s.weight for s in pool.servers))
        pool.began(server)
        done = pool.servers[number % len(pool.servers)]
        if done.open:
            pool.ended(done)


@given(st.lists(st.tuples(st.floats(0.001, 60), st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=6))
def test_response_time_chooses_the_least_cost(loads: list[tuple[float, int, int]]) -> None:
    pool = make_pool(*[weight for _, _, weight in loads], policy="response_time")
    pool.choose(0.0)
    for server, (seconds, count, _) in zip(pool.servers, loads, strict=True):
        pool.answered(server, 200, seconds, 0.0)
        for _ in range(count):
            pool.began(server)
    chosen = pool.choose(0.0)
    assert chosen is not None
    costs = {s.id: seconds * (s.open + 1) / s.weight for s, (seconds, _, _) in zip(pool.servers, loads, strict=True)}
    assert costs[chosen.id] == pytest.approx(min(costs.values()))


@given(st.floats(0.001, 60), st.lists(st.floats(0.001, 0.1), min_size=1, max_size=4))
def test_response_time_comes_back_to_a_server_that_was_slow(slow_s: float, others_s: list[float]) -> None:
    pool = make_pool(*[1] * (len(others_s) + 1), policy="response_time", eject=None)
    slow = pool.servers[0]
    pool.choose(0.0)
    pool.answered(slow, 200, slow_s, 0.0)
    now, step_s = 0.0, FORGET_S / 10
    bound_s = FORGET_S * max(0.0, math.log(slow_s / min(others_s))) + 3 * step_s
    while True:
        for server, seconds in zip(pool.servers[1:], others_s, strict=True):
            pool.answered(server, 200, seconds, now)
        if pool.choose(now) is slow:
            break
        assert now <= bound_s
        now += step_s
    pool.began(slow)
    # While it has not answered it gets no other for having been idle.
    for _ in range(5):
        now += FORGET_S
        for server, seconds in zip(pool.servers[1:], others_s, strict=True):
            pool.answered(server, 200, seconds, now)
        if slow_s > max(others_s):
            assert pool.choose(now) is not slow


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=2, max_size=8),
    st.integers(0, 2**32),
)
def test_power_of_two_never_takes_the_most_loaded(servers: list[tuple[int, int]], seed: int) -> None:
    model = pool_model([weight for weight, _ in servers], policy="power_of_two")
    pool = ServerPool(model, random=random.Random(seed).random)
    for server, (_, count) in zip(pool.servers, servers, strict=True):
        for _ in range(count):
            pool.began(server)
    loads = sorted((s.open / s.weight for s in pool.servers), reverse=True)
    for _ in range(20):
        chosen = pool.choose(0.0)
        assert chosen is not None
        if loads[0] > loads[1]:
            assert chosen.open / chosen.weight < loads[0]


def test_power_of_two_draws_by_weight() -> None:
    pool = make_pool(1, 2, 3, policy="power_of_two")
    drawn = Counter(server.id for _ in range(30_000) if (server := pool.choose(0.0)))
    # With nothing open the first one drawn is taken.
    assert [round(drawn[i] / 5000) for i in (1, 2, 3)] == [1, 2, 3]


@given(WEIGHTS.filter(lambda weights: len(weights) > 1), st.sampled_from([Policy.URL_HASH, Policy.SOURCE_HASH]))
def test_hashing_moves_only_the_keys_of_a_server_that_goes_or_comes(weights: list[int], policy: Policy) -> None:
    pool = make_pool(*weights, policy=policy)
    before = owners(pool, policy)
    pool.apply_check(1, DEAD, 0.0)
    without = owners(pool, policy)
    assert all(without[key] == before[key] for key in KEYS if before[key] != 1)
    assert 1 not in without.values()
    pool.apply_check(1, Judgement(), 0.0)
    assert owners(pool, policy) == before


@given(WEIGHTS, st.integers(1, 100), st.sampled_from([Policy.URL_HASH, Policy.SOURCE_HASH]))
def test_hashing_moves_keys_only_from_a_server_that_gets_lighter(
    weights: list[int], percent: int, policy: Policy
) -> None:
    pool = make_pool(*weights, policy=policy)
    before = owners(pool, policy)
    pool.apply_check(1, Judgement(weight_percent=percent), 0.0)
    after = owners(pool, policy)
    assert all(after[key] == before[key] for key in KEYS if before[key] != 1)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.sampled_from([1.1, 1.25, 2.0]),
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=150),
)
def test_url_hash_keeps_the_load_bounded(weights: list[int], factor: float, requests: list[tuple[int, bool]]) -> None:
    pool = make_pool(*weights, policy="url_hash", url_hash={"load_factor": factor})
    for path, ends in requests:
        server = pool.choose(0.0, (), b"/%d" % path)
        assert server is not None
        pool.began(server)
        count = sum(s.open for s in pool.servers)
        assert server.open <= math.ceil(factor * count * server.weight / sum(weights))
        if ends:
            pool.ended(server)


def test_url_hash_shares_keys_by_weight() -> None:
    pool = make_pool(1, 1, 2, policy="url_hash")
    keys = 4000
    found = Counter(server.id for i in range(keys) if (server := pool.choose(0.0, (), b"/%d" % i)))
    for number, weight in ((1, 1), (2, 1), (3, 2)):
        assert 0.7 < found[number] / (keys * weight / 4) < 1.3


@given(st.floats(0.001, 3600), st.floats(0, 1))
def test_slow_start_is_a_line(slow_start_s: float, part: float) -> None:
    assert ramp(part * slow_start_s, slow_start_s) == pytest.approx(FLOOR + (1 - FLOOR) * part)
    assert ramp(slow_start_s, slow_start_s) == 1
    assert ramp(slow_start_s * 2, slow_start_s) == 1


@given(st.integers(1, 1000), st.floats(1, 600), st.lists(st.floats(0, 1.5), max_size=30))
def test_the_weight_follows_the_line_within_a_step(weight: int, slow_start_s: float, parts: list[float]) -> None:
    pool = make_pool(weight, 1, slow_start_s=slow_start_s)
    server = pool.servers[0]
    pool.apply_check(1, DEAD, 0.0)
    pool.apply_check(1, Judgement(), 0.0)
    for part in sorted(parts):
        pool.choose(part * slow_start_s)
        exact = weight * ramp(part * slow_start_s, slow_start_s)
        assert exact - weight / 20 <= server.effective_weight <= exact * 1.000001


@given(
    st.sampled_from(Policy),
    st.lists(st.tuples(st.sampled_from(["fail", "up", "choose"]), st.integers(0, 3)), max_size=60),
)
def test_a_server_that_is_down_and_not_due_is_never_chosen(policy: Policy, steps: list[tuple[str, int]]) -> None:
    pool = make_pool(1, 2, 3, 1, policy=policy)
    due = [0.0] * 4
    down = [False] * 4
    for now, (step, index) in enumerate(steps):
        time = now * 0.3
        match step:
            case "fail":
                pool.connect_failed(pool.servers[index], time)
                down[index], due[index] = True, time + RETRY_AFTER_S
            case "up":
                pool.connected(pool.servers[index])
                down[index] = False
            case _:
                server = pool.choose(time, tried=(index + 1,), target=b"/%d" % now, client=b"%d" % now)
                allowed = [i for i in range(4) if i != index and (not down[i] or time >= due[i])]
                if server is None:
                    assert allowed == []
                else:
                    chosen = server.id - 1
                    assert chosen in allowed
                    if down[chosen]:
                        due[chosen] = time + RETRY_AFTER_S


@given(
    st.sampled_from(Policy),
    st.lists(
        st.tuples(
            st.sampled_from(["error", "answer", "connect", "refuse", "dead", "alive", "wait"]), st.integers(0, 3)
        ),
        max_size=80,
    ),
)
def test_somebody_is_chosen_while_anybody_may_be(policy: Policy, steps: list[tuple[str, int]]) -> None:
    """Whatever happened: nobody known to be dead is chosen, and no more than the share is ejected."""
    pool = make_pool(1, 2, 3, 1, policy=policy, eject={"after": 2, "base_s": 3, "max_s": 9}, slow_start_s=2)
    now = 0.0
    for step, index in steps:
        server = pool.servers[index]
        match step:
            case "error":
                pool.failed(server, now)
            case "answer":
                pool.answered(server, 200, 0.1, now)
            case "connect":
                pool.connected(server)
            case "refuse":
                pool.connect_failed(server, now)
            case "dead":
                pool.apply_check(server.id, DEAD, now)
            case "alive":
                pool.apply_check(server.id, Judgement(), now)
            case _:
                now += index + 0.5
        able = [s for s in pool.servers if s.judgement.alive and (not s.down or now >= s.retry_at)]
        assert sum(s.ejected_until > now for s in pool.servers) <= 2
        chosen = pool.choose(now, (), b"/%d" % index)
        if chosen is not None:
            assert chosen in able
        elif not any(s.ejected_until > now and s.down for s in able):
            assert able == []
