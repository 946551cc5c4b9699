"""Pools of made-up servers for tests of scheduling."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from pentaflow.pools import Pool
from tlsnodes.scheduling.pool import ServerPool


def pool_model(weights: Sequence[int], **rest: Any) -> Pool:
    """Servers s1, s2, … with ids from 1 and these weights; `rest` are further keys of the pool."""
    servers = [
        {"name": f"s{i}", "id": i, "address": f"192.0.2.1:{8000 + i}", "weight": weight}
        for i, weight in enumerate(weights, 1)
    ]
    return Pool.model_validate({"name": "pool", "servers": servers} | rest)


def make_pool(*weights: int, **rest: Any) -> ServerPool:
    """A pool of `pool_model`, whose random numbers are always the same."""
    return ServerPool(pool_model(weights, **rest), random=random.Random(1).random)


def chosen_ids(pool: ServerPool, count: int, now: float = 0.0, tried: tuple[int, ...] = ()) -> list[int | None]:
    """The ids of `count` choices; no request stays open."""
    servers = [pool.choose(now, tried, b"/", b"\x0a\x00\x00\x01") for _ in range(count)]
    return [server.id if server else None for server in servers]


def pool_with_limits(*limits: int, workers: int = 1) -> ServerPool:
    """Servers of weight 1 with these `max_connections`."""
    model = pool_model([1] * len(limits))
    servers = [s.model_copy(update={"max_connections": n}) for s, n in zip(model.servers, limits, strict=True)]
    return ServerPool(model.model_copy(update={"servers": tuple(servers)}), random=lambda: 0.5, workers=workers)
