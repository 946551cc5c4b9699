"""Nodes that are shown TLS tickets whose keys they do not know [P4]: one that misses keys sees many of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

WINDOW_NS = 60 * 1_000_000_000
MIN_TICKETS = 20
"""Fewer say nothing."""
MAX_SHARE = 0.2


class _Sample(NamedTuple):
    at_ns: int
    unknown: int
    resumed: int


class UnknownTickets:
    """What nodes' status documents say of tickets, for as long as WINDOW_NS."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, str], deque[_Sample]] = {}

    def take(self, node: str, document: Mapping[str, Any], at_ns: int) -> None:
        """A node said this, `at_ns` on the monotonic clock; parts that are not as they should be are passed over."""
        rows = document.get("vservers")
        for row in rows if isinstance(rows, list) else ():
            match row:
                case {"name": str(name), "tls_tickets": {"unknown_key": int(unknown), "resumed": int(resumed)}}:
                    self._count((node, name), _Sample(at_ns, unknown, resumed))

    def _count(self, key: tuple[str, str], sample: _Sample) -> None:
        samples = self._samples.setdefault(key, deque())
        if samples and (samples[-1].unknown > sample.unknown or samples[-1].resumed > sample.resumed):
            samples.clear()  # it was started again
        if not samples or samples[-1].at_ns < sample.at_ns:
            samples.append(sample)
        while samples[0].at_ns < sample.at_ns - WINDOW_NS:
            samples.popleft()

    def keep(self, nodes: set[str]) -> None:
        """Only these are configured now."""
        self._samples = {key: samples for key, samples in self._samples.items() if key[0] in nodes}

    def reasons(self) -> dict[str, str]:
        """Name → what is wrong, of the nodes that miss keys by all appearances."""
        found: dict[str, str] = {}
        for (node, vserver), samples in self._samples.items():
            unknown = samples[-1].unknown - samples[0].unknown
            shown = unknown + samples[-1].resumed - samples[0].resumed
            if shown >= MIN_TICKETS and unknown > MAX_SHARE * shown:
                said = f"vserver {vserver}: {unknown} of {shown} tickets within a minute have unknown keys"
                found[node] = f"{found[node]}; {said}" if node in found else said
        return found
