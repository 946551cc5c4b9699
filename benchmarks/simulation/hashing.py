"""The peers: a node for each packet by hash alone, or with a table of connections beside it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from benchmarks.simulation.events import Event, Happening, are_after, hashes
from benchmarks.simulation.trace import Numbers, Trace

#: The smaller of the two sizes that the Maglev paper measures; a prime.
MAGLEV_SIZE = 65_537
_KEY = 0x6A09_E667_F3BC_C908


@dataclass(frozen=True, slots=True)
class Modulo:
    """hash % n, an index into the list of nodes."""

    def route(self, trace: Trace, event: Event) -> Numbers:
        """The node that each packet goes to."""
        return _by_tables(np.array(event.before), np.array(event.after), trace, event)


@dataclass(frozen=True, slots=True)
class Maglev:
    """Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4), without a table of connections."""

    size: int = MAGLEV_SIZE

    def route(self, trace: Trace, event: Event) -> Numbers:
        """The node that each packet goes to."""
        return _by_tables(maglev_table(event.before, self.size), maglev_table(event.after, self.size), trace, event)


@dataclass(frozen=True, slots=True)
class Tracking:
    """Maglev hashing with a table of connections that forgets the one that was silent for longest when it is full.

    It is one scheduler's: what another one or a restarted one would do without the table is not counted.
    """

    entries: int
    maglev: Maglev = Maglev()

    def route(self, trace: Trace, event: Event) -> Numbers:
        """The node that each packet goes to."""
        hashed = self.maglev.route(trace, event)
        nodes = hashed.tolist()
        known: OrderedDict[int, int] = OrderedDict()
        dead = event.node if event.happening is Happening.REMOVE else None
        for packet, (connection, is_after) in enumerate(
            zip(trace.connections.tolist(), are_after(trace, event).tolist(), strict=True)
        ):
            maybe_node = known.get(connection)
            if maybe_node is not None and not (is_after and maybe_node == dead):
                nodes[packet] = maybe_node
                known.move_to_end(connection)
                continue
            known[connection] = nodes[packet]
            if len(known) > self.entries:
                known.popitem(last=False)
        return np.array(nodes)


def _by_tables(before: Numbers, after: Numbers, trace: Trace, event: Event) -> Numbers:
    found = hashes(trace, _KEY).astype(np.int64)
    is_after = are_after(trace, event)
    earlier, later = before[found % len(before)], after[found % len(after)]
    nodes: Numbers = np.where(is_after, later[trace.connections], earlier[trace.connections])
    return nodes


def maglev_table(nodes: Sequence[int], size: int) -> Numbers:
    """The node of each of `size` (a prime) entries; a node's preferences follow from its id alone."""
    offsets, skips = [], []
    for node in nodes:
        digest = blake2b(f"node {node}".encode(), digest_size=16).digest()
        offsets.append(int.from_bytes(digest[:8], "big") % size)
        skips.append(int.from_bytes(digest[8:], "big") % (size - 1) + 1)
    filled: Numbers = np.array(nodes)[populate(offsets, skips, size)]
    return filled


def populate(offsets: Sequence[int], skips: Sequence[int], size: int) -> list[int]:
    """Each in turn takes the next free entry of its preferences, offset + j * skip: the paper's pseudocode 1.

    Returns:
        for each entry the index of who took it.
    """
    entries = [-1] * size
    following = list(offsets)
    for turn in range(size):
        who = turn % len(following)
        while entries[following[who]] >= 0:
            following[who] = (following[who] + skips[who]) % size
        entries[following[who]] = who
    return entries
