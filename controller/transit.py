"""How many buckets may be split at the same time: what the switch's transit filter carries [D6] (p4/transit.p4).

The filter takes a packet of an old flow for a new one's with probability (1 - e^(-n/m))², where n flows that are marked
and were seen within the window share m cells. A bucket that is split has, at most, the connections that its vserver has
open on average in a bucket, all of them new, and those that came and went within a window:

    flows of a split bucket = (open connections + new connections/s * window) / buckets

That stays true while buckets are settled and others are split in their place: the marks of a settled one fade within
the window, as the marks of those that follow appear.
"""

from __future__ import annotations

import math
from typing import NamedTuple

#: Of the P4 program: the filter's clock.
TICK_NS = 1_024_000
MAX_TICKS = (1 << 32) - 1
#: Old flows that are broken, of those that are open while buckets are split, in each window.
WRONG_RATE = 1e-5


class Load(NamedTuple):
    """What a vserver has to do, over all its nodes."""

    open_connections: int
    new_per_s: float


def window_ticks(idle_timeout_s: float) -> int:
    """How long the filter remembers a flow: the vserver's `idle_timeout_s`, rounded up.

    The configuration makes that longer than a connection may be silent, waiting for a response or kept alive.
    """
    return min(math.ceil(idle_timeout_s * 1e9 / TICK_NS), MAX_TICKS)


def flow_limit(cells: int, wrong_rate: float = WRONG_RATE) -> float:
    """How many flows may be in transit in a filter of two registers of `cells` cells each."""
    return -cells * math.log1p(-math.sqrt(wrong_rate))


def flows_of_bucket(load: Load, idle_timeout_s: float, buckets: int) -> float:
    """The flows that one split bucket of a vserver has in transit."""
    return (load.open_connections + load.new_per_s * idle_timeout_s) / buckets
