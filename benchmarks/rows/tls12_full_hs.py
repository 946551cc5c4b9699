"""Full TLS 1.2 handshakes, P-256."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.figures import Better
from benchmarks.harness import Profile
from benchmarks.load import handshakes
from benchmarks.proxies import Proxy, against_proxies


def sample(proxy: Proxy, profile: Profile) -> Mapping[str, float]:
    """Handshakes per second."""
    return handshakes(proxy, profile, "1.2", resumed=False).rates()


BENCHMARK = against_proxies(name="tls12_full_hs", unit="handshakes/s", better=Better.MORE, sample=sample)
