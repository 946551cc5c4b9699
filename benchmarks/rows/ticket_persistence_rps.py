"""What tickets that name a server cost requests over connections that stay."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.harness import Profile
from benchmarks.load import requests
from benchmarks.proxies import Proxy, against_no_persistence


def sample(proxy: Proxy, profile: Profile) -> Mapping[str, float]:
    """Requests per second."""
    return requests(proxy, profile, "small").rates()


BENCHMARK = against_no_persistence(
    name="ticket_persistence_rps", unit="requests/s", proxy=Proxy.NODE_WITH_TICKETS, sample=sample
)
