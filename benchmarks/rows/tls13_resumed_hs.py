"""Resumed TLS 1.3 handshakes, P-256."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.figures import Better
from benchmarks.harness import Profile
from benchmarks.load import handshakes
from benchmarks.proxies import Proxy, against_proxies


def sample(proxy: Proxy, profile: Profile) -> Mapping[str, float]:
    """Handshakes per second."""
    return handshakes(proxy, profile, "1.3", resumed=True).rates()


BENCHMARK = against_proxies(name="tls13_resumed_hs", unit="handshakes/s", better=Better.MORE, sample=sample)
