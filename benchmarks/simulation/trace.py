"""Connections as they might arrive at a VIP, packet by packet: the same for everybody who is compared.

Connections begin as a Poisson process. Durations are log-normal with a heavy tail, and capped. The first packet is the
SYN, the second comes a round trip later and makes the connection, the last one ends it. Between packets are short gaps
and, in one case of ten, long ones, always shorter than a node's default keep-alive of 60 s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pentaflow.hash_arrays import Words

Numbers = NDArray[np.int64]
Times = NDArray[np.float64]

NEW_PER_S = 100.0
MEDIAN_DURATION_S = 8.0
SIGMA = 1.3
LONGEST_S = 300.0
ROUND_TRIP_S = (0.005, 0.2)
MEAN_SHORT_GAP_S = 1.0
LONG_GAPS = 0.1
LONG_GAP_S = (5.0, 55.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """Connections in the order in which they begin, and their packets in the order of time; seconds from 0.

    Attributes:
        sources: client addresses, n rows of one word.
        ports: client ports, n.
        began: SYN of each connection, n.
        made: its second packet: from then on the node has it open.
        ended: its last packet.
        connections: connection of each packet, p.
        times: time of each packet, p.
        are_syn: whether each packet is its connection's SYN, p.
    """

    sources: Words
    ports: Words
    began: Times
    made: Times
    ended: Times
    connections: Numbers
    times: Times
    are_syn: NDArray[np.bool_]

    def open_at(self, time_s: float) -> NDArray[np.bool_]:
        """Whether each connection is open, handshake included."""
        return (self.began < time_s) & (time_s <= self.ended)


def make_trace(connections: int, seed: int) -> Trace:
    """A trace of so many connections; the same seed gives the same trace."""
    chance = np.random.default_rng(seed)
    began = np.cumsum(chance.exponential(1 / NEW_PER_S, connections))
    durations = np.minimum(chance.lognormal(np.log(MEDIAN_DURATION_S), SIGMA, connections), LONGEST_S)
    round_trips = chance.uniform(*ROUND_TRIP_S, connections)
    made = began + round_trips
    ended = made + durations
    everybody = np.arange(connections)
    whose, when = [everybody, everybody, everybody], [began, made, ended]
    going, now = everybody, made
    while len(going):
        now = now + _gaps(chance, len(going))
        is_before_end = now < ended[going]
        going, now = going[is_before_end], now[is_before_end]
        whose.append(going)
        when.append(now)
    times, of = np.concatenate(when), np.concatenate(whose)
    order = np.argsort(times, kind="stable")
    return Trace(
        sources=chance.integers(0, 1 << 32, (connections, 1), dtype=np.uint32),
        ports=chance.integers(1024, 1 << 16, connections, dtype=np.uint32),
        began=began,
        made=made,
        ended=ended,
        connections=of[order],
        times=times[order],
        are_syn=order < connections,
    )


def _gaps(chance: np.random.Generator, count: int) -> Times:
    short = np.minimum(chance.exponential(MEAN_SHORT_GAP_S, count), LONG_GAP_S[1])
    return np.where(chance.random(count) < LONG_GAPS, chance.uniform(*LONG_GAP_S, count), short)
