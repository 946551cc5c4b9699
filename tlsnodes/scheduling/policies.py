"""How a pool chooses: small classes that see the servers in question and their load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, assert_never

from pentaflow.config import Policy
from tlsnodes.scheduling.server import ServerState


class SchedulingPolicy(Protocol):
    """Chooses one of several servers, all of positive weight."""

    def choose(self, candidates: Sequence[ServerState]) -> ServerState:
        """One of `candidates`, which are never none."""
        ...


class RoundRobin:
    """Smooth weighted round robin: each server earns its weight a turn, the richest one pays for all.

    Over any sum-of-weights choices in a row among the same servers, each is chosen exactly its weight's number of
    times, spread out.
    """

    __slots__ = ("_credit",)

    def __init__(self) -> None:
        self._credit: dict[int, int] = {}

    def choose(self, candidates: Sequence[ServerState]) -> ServerState:
        """See `SchedulingPolicy`."""
        credit = self._credit
        best = candidates[0]
        richest = total = 0
        for server in candidates:
            earned = credit.get(server.id, 0) + server.weight
            credit[server.id] = earned
            total += server.weight
            if earned > richest:
                best, richest = server, earned
        credit[best.id] = credit[best.id] - total
        return best


class LeastConnections:
    """Fewest open requests for its weight; among equals the one with the fewest hits for its weight."""

    __slots__ = ()

    def choose(self, candidates: Sequence[ServerState]) -> ServerState:
        """See `SchedulingPolicy`."""
        return min(candidates, key=lambda s: ((s.open + 1) / s.weight, s.hits / s.weight))


def make_policy(policy: Policy) -> SchedulingPolicy:
    """The policy that a configuration names."""
    match policy:
        case Policy.ROUND_ROBIN:
            return RoundRobin()
        case Policy.LEAST_CONNECTIONS:
            return LeastConnections()
        case _:
            assert_never(policy)
