"""The mass-failure guard [H2]: when many nodes fail at once, wait before traffic is thrown at the few that are left.

What fails together has one cause. If that mends itself within seconds (a LAN switch that restarts), moving everything
there and back would break the connections that survive it; if it does not (a rack that lost its power), what is left
must take over, and nodes that still answer over the same switches prove that the probes tell the truth. So the map is
held, with an alarm, until enough nodes are back, an operator confirms the loss, or `hold_s` is over. A switch that the
controller cannot reach is no failure of nodes: their health is unknown then, and nothing moves anyway.

Failures are noticed one by one. Those of the window that came before the guard tripped have moved slots already, partly
to nodes that failed a moment later; `Verdict.TRIPPED` tells the caller to put them back.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

from pentaflow.config import Guard

_NS_PER_S = 1_000_000_000


class Verdict(Enum):
    """What `MassFailureGuard.judge` finds: TRIPPED and RELEASED are said once, at the change."""

    OPEN = "open"
    TRIPPED = "tripped"
    HOLDING = "holding"
    RELEASED = "released"


class MassFailureGuard:
    """Whether failover has to wait."""

    def __init__(self, rule: Guard) -> None:
        self.rule = rule
        self._fallen_ns: dict[int, int] = {}
        self._held_since_ns: int | None = None
        self.reason = ""

    @property
    def is_holding(self) -> bool:
        """Whether the map is kept as it is."""
        return self._held_since_ns is not None

    def is_settled(self, now_ns: int) -> bool:
        """Whether no failure is so fresh that it may yet turn out to be one of many."""
        return not any(now_ns - at_ns <= int(self.rule.window_s * _NS_PER_S) for at_ns in self._fallen_ns.values())

    def fell(self, node_id: int, now_ns: int) -> None:
        """A node in service has failed."""
        self._fallen_ns[node_id] = now_ns

    def judge(self, in_service: Collection[int], down: Collection[int], now_ns: int) -> Verdict:
        """Decide anew, after any change and when time has passed.

        Args:
            in_service: nodes that are meant to serve, whatever their health.
            down: those that are down.
            now_ns: the clock.
        """
        if self._held_since_ns is None:
            fresh = {
                n: at
                for n, at in self._fallen_ns.items()
                if n in down and now_ns - at <= int(self.rule.window_s * _NS_PER_S)
            }
            self._fallen_ns = fresh
            # Of those that had failed before nothing was expected.
            share = self._share(fresh, len(set(in_service) - set(down)) + len(fresh))
            if share <= self.rule.share or len(fresh) < 2:
                return Verdict.OPEN
            self._held_since_ns = now_ns
            self.reason = (
                f"{len(fresh)} nodes failed within {self.rule.window_s:g} s ({share:.0%} of those that served)"
            )
            return Verdict.TRIPPED
        still = {n: at for n, at in self._fallen_ns.items() if n in down}
        if self._share(still, len(set(in_service) - set(down)) + len(still)) <= self.rule.share:
            return self._release("nodes are back")
        hold_s = self.rule.hold_s
        if hold_s is not None and now_ns - self._held_since_ns >= int(hold_s * _NS_PER_S):
            return self._release(f"held for {hold_s:g} s")
        return Verdict.HOLDING

    def confirm(self) -> Verdict:
        """An operator says that the nodes are really lost."""
        return self._release("confirmed by an operator") if self.is_holding else Verdict.OPEN

    def _share(self, fallen: Collection[int], served: int) -> float:
        return len(fallen) / served if served else 0.0

    def _release(self, why: str) -> Verdict:
        # What is down from here on was looked at: only new failures count towards the next trip.
        self._held_since_ns, self._fallen_ns, self.reason = None, {}, why
        return Verdict.RELEASED
