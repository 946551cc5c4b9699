"""What tickets that name a server cost resumed TLS 1.3 handshakes."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.harness import Profile
from benchmarks.load import handshakes
from benchmarks.proxies import Proxy, against_no_persistence


def sample(proxy: Proxy, profile: Profile) -> Mapping[str, float]:
    """Handshakes per second."""
    return handshakes(proxy, profile, "1.3", resumed=True).rates()


BENCHMARK = against_no_persistence(
    name="ticket_persistence_hs", unit="handshakes/s", proxy=Proxy.NODE_WITH_TICKETS, sample=sample
)
