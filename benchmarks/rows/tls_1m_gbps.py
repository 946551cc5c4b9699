"""Answers of 1 MiB over TLS connections that stay."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.figures import Better
from benchmarks.harness import Profile
from benchmarks.load import gigabits
from benchmarks.proxies import Proxy, against_proxies


def sample(proxy: Proxy, profile: Profile) -> Mapping[str, float]:
    """Gbit/s of content."""
    return gigabits(proxy, profile, "1m").rates()


BENCHMARK = against_proxies(name="tls_1m_gbps", unit="Gbit/s", better=Better.MORE, sample=sample)
