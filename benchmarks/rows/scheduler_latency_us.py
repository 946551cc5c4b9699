"""What the switch adds to a round trip at low load: client → VIP scheduled, node → client bridged."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from benchmarks import vip
from benchmarks.figures import Better
from benchmarks.harness import Profile
from benchmarks.network import Host
from benchmarks.targets import Target, against_bmv2

ROUND_TRIPS = 1500
_PING_PONG = (sys.executable, "-m", "benchmarks.ping_pong")


def sample(target: Target, profile: Profile) -> Mapping[str, float]:
    """Median round trip through the switch, less that over a bare veth pair, in µs."""
    count = int(ROUND_TRIPS * profile.scale)
    with vip.joined_hosts() as (client, node):
        bare = _round_trip(client, node, count)
    with vip.hosts(target) as (client, node):
        switched = _round_trip(client, node, count)
    return {"added to a TCP round trip": switched - bare}


def _round_trip(client: Host, node: Host, count: int) -> float:
    where = (str(vip.VIP), str(vip.SERVICE))
    with node.serving(*_PING_PONG, "serve", *where, port=vip.SERVICE):
        return float(client.command(*_PING_PONG, "ask", *where, str(count)))


BENCHMARK = against_bmv2(name="scheduler_latency_us", unit="µs", better=Better.LESS, sample=sample)
