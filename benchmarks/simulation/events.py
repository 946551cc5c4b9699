"""What happens to the array in the middle of a trace, and which connections break by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulation.trace import Numbers, Trace
from pentaflow.hash import HashKeyKind
from pentaflow.hash_arrays import Words, client_hashes

VIP, PORT, TCP = IPv4Address("10.0.0.100"), 443, 6


class Happening(StrEnum):
    """What happens to one node."""

    ADD = "a node is added"
    DRAIN = "a node is drained"
    REMOVE = "a node is killed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One node comes or goes. That it has been killed is noticed at once: how long that takes is another matter.

    Attributes:
        happening: what happens.
        node: the node that it happens to.
        time_s: when.
        before: ids of the nodes that serve until then, ascending, above 0.
    """

    happening: Happening
    node: int
    time_s: float
    before: Sequence[int]

    @property
    def after(self) -> list[int]:
        """The nodes that are to serve from then on."""
        if self.happening is Happening.ADD:
            return sorted([*self.before, self.node])
        return [node for node in self.before if node != self.node]


class Policy(Protocol):
    """A way to choose nodes."""

    def route(self, trace: Trace, event: Event) -> Numbers:
        """The node that each packet of the trace goes to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the connections.

    Attributes:
        broken: those of which a packet went to another node than the one that the SYN went to.
        own: those that were open on a node when it was killed: lost whatever is done, and not among the broken.
    """

    broken: int
    own: int


def outcome(trace: Trace, event: Event, nodes: Numbers) -> Outcome:
    """Which connections broke where packets went to these nodes."""
    accepted = accepting(trace, nodes)
    own = np.zeros(len(accepted), dtype=bool)
    if event.happening is Happening.REMOVE:
        own = trace.open_at(event.time_s) & (accepted == event.node)
    strayed = np.zeros(len(accepted), dtype=bool)
    strayed[trace.connections[nodes != accepted[trace.connections]]] = True
    return Outcome(broken=int((strayed & ~own).sum()), own=int(own.sum()))


def accepting(trace: Trace, nodes: Numbers) -> Numbers:
    """The node that each connection's SYN went to."""
    accepted = np.zeros(len(trace.began), dtype=np.int64)
    accepted[trace.connections[trace.are_syn]] = nodes[trace.are_syn]
    return accepted


def hashes(trace: Trace, key: int) -> Words:
    """The keyed hash of each connection."""
    return client_hashes(key, HashKeyKind.SRC_PORT, trace.sources, trace.ports, VIP, PORT, TCP)


def are_after(trace: Trace, event: Event) -> NDArray[np.bool_]:
    """Whether each packet comes after the event."""
    return trace.times >= event.time_s
