"""What it costs that a cookie names the server of each request."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.harness import Profile
from benchmarks.load import requests
from benchmarks.proxies import (
    COOKIE_SECRET,
    SERVER_ID,
    SESSION_COOKIE,
    VSERVER,
    VSERVER_ID,
    Proxy,
    against_no_persistence,
)
from tlsnodes.persistence.token import AuthenticatedToken


def sample(proxy: Proxy, profile: Profile) -> Mapping[str, float]:
    """Requests per second; the cookies are sent to both."""
    codec = AuthenticatedToken(secret=COOKIE_SECRET, vserver_id=VSERVER_ID, vserver_name=VSERVER)
    token = codec.encode(SERVER_ID, None).decode()
    return requests(proxy, profile, "small", cookie=f"{SESSION_COOKIE}=1; SpServer={token}").rates()


BENCHMARK = against_no_persistence(
    name="cookie_persistence_rps", unit="requests/s", proxy=Proxy.NODE_WITH_COOKIES, sample=sample
)
