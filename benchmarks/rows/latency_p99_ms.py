"""How long 99 of 100 requests take at most, when the slower proxy is busy half of its time."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.figures import Better
from benchmarks.harness import Profile
from benchmarks.load import latency_ms
from benchmarks.proxies import Proxy, against_proxies


def sample(proxy: Proxy, profile: Profile) -> Mapping[str, float]:
    """Milliseconds."""
    return latency_ms(proxy, profile, 99)


BENCHMARK = against_proxies(name="latency_p99_ms", unit="ms", better=Better.LESS, sample=sample)
