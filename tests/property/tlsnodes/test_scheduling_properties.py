"""What the policies promise, for any weights."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pentaflow.config import HostPort, Policy, Pool, Server
from tlsnodes.scheduling.pool import RETRY_AFTER_S, ServerPool

WEIGHTS = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def make_pool(weights: list[int], policy: Policy) -> ServerPool:
    servers = tuple(
        Server(name=f"s{i}", id=i, address=HostPort(host="192.0.2.1", port=1), weight=weight)
        for i, weight in enumerate(weights, 1)
    )
    return ServerPool(Pool(name="pool", policy=policy, servers=servers))


@given(WEIGHTS, st.integers(0, 20))
def test_round_robin_gives_each_its_weight_in_every_round(weights: list[int], offset: int) -> None:
    pool = make_pool(weights, Policy.ROUND_ROBIN)
    total = sum(weights)
    chosen = [server.id for _ in range(offset + total) if (server := pool.choose(0.0))]
    assert Counter(chosen[offset:]) == dict(enumerate(weights, 1))


@given(WEIGHTS, st.lists(st.integers(0, 5), max_size=60))
def test_least_connections_never_chooses_a_busier_server(weights: list[int], finished: list[int]) -> None:
    pool = make_pool(weights, Policy.LEAST_CONNECTIONS)
    for number in finished:
        server = pool.choose(0.0)
        assert server is not None
        assert (server.open + 1) / server.weight == min((s.open + 1) / s.weight for s in pool.servers)
        server.open += 1
        done = pool.servers[number % len(pool.servers)]
        done.open = max(0, done.open - 1)


@given(
    st.sampled_from(Policy),
    st.lists(st.tuples(st.sampled_from(["fail", "up", "choose"]), st.integers(0, 3)), max_size=60),
)
def test_a_server_that_is_down_and_not_due_is_never_chosen(policy: Policy, steps: list[tuple[str, int]]) -> None:
    pool = make_pool([1, 2, 3, 1], policy)
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
                server = pool.choose(time, tried=(index + 1,))
                allowed = [i for i in range(4) if i != index and (not down[i] or time >= due[i])]
                if server is None:
                    assert allowed == []
                else:
                    chosen = server.id - 1
                    assert chosen in allowed
                    if down[chosen]:
                        due[chosen] = time + RETRY_AFTER_S
