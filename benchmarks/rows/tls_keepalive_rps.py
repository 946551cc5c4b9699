"""Requests with small answers over TLS connections that stay."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.figures import Better
from benchmarks.harness import Profile
from benchmarks.load import requests
from benchmarks.proxies import Proxy, against_proxies


def sample(proxy: Proxy, profile: Profile) -> Mapping[str, float]:
    """Requests per second."""
    return requests(proxy, profile, "small").rates()


BENCHMARK = against_proxies(name="tls_keepalive_rps", unit="requests/s", better=Better.MORE, sample=sample)
