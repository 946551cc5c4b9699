"""Reads of sessions from Redis over loopback: 99 of 100 take less."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import quantiles

from benchmarks import stores
from benchmarks.figures import Better
from benchmarks.harness import Benchmark, Profile
from benchmarks.lab import serving
from benchmarks.network import free_port
from benchmarks.proxies import HOST
from tlsnodes.store.redis import RedisStore

RECORDS = 10_000
AT_ONCE = (1, 8)


def sample(profile: Profile) -> Mapping[str, float]:
    """Milliseconds, with so many reads at once."""
    port = free_port()
    command = ("redis-server", "--port", str(port), "--bind", HOST, "--save", "")
    with tempfile.TemporaryDirectory() as folder, serving("redis-server", Path(folder), {}, command, port):
        return stores.run(_measure(port, profile))


async def _measure(port: int, profile: Profile) -> Mapping[str, float]:
    records = int(RECORDS * profile.scale)
    store = RedisStore(f"redis://{HOST}:{port}", password=None, ca_pem=None, timeout_s=stores.TIMEOUT_S)
    try:
        for number in range(records):
            await store.put(stores.key(number), os.urandom(stores.VALUE_BYTES), stores.LIFETIME_S)
        measured = {}
        for at_once in AT_ONCE:
            times = await stores.read(store, records, at_once=at_once, seconds=profile.seconds)
            measured[f"{at_once} at once"] = quantiles(times, n=100)[-1]
        return measured
    finally:
        await store.close()


BENCHMARK = Benchmark(name="store_get_p99_ms", unit="ms", better=Better.LESS, sample=sample)
