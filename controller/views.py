"""What the switches see of the nodes, and which of it counts [H1] [H3] (pure).

Nodes are probed through every switch. For a VIP its active switch's view decides; the others' are kept, to judge by
them when it fails and to begin with when they take over. A switch through which nothing answers says nothing about
nodes as long as another switch sees them: its own path is broken then, and its failures are not held against them.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from controller.health import Check, Outcome
from pentaflow.config import Configuration

_NS_PER_MS = 1_000_000


class Views:
    """The last outcomes of every data-path probe of every switch."""

    def __init__(self, configuration: Configuration) -> None:
        self._outcomes: dict[str, dict[tuple[int, Check], deque[Outcome]]] = defaultdict(dict)
        self._last_success_ns: dict[str, int] = {}
        self._failing_since_ns: dict[str, int] = {}
        self._failures: dict[str, int] = defaultdict(int)
        self.reconfigure(configuration)

    def reconfigure(self, configuration: Configuration) -> None:
        """Other nodes, vservers or rules: what is no longer probed is forgotten."""
        health = configuration.controller.health
        served = {(node.id, v.name) for v in configuration.vservers for node in configuration.serving(v)}
        for switch, seen in self._outcomes.items():
            self._outcomes[switch] = {
                (node_id, check): outcomes
                for (node_id, check), outcomes in seen.items()
                if (node_id, check.vserver) in served
            }
        self._kept = max(health.rise, health.fall)
        self._patience_ns = ((health.fall - 1) * health.interval_ms + health.timeout_ms) * _NS_PER_MS
        self._fall = health.fall

    def observe(self, node_id: int, check: Check, outcome: Outcome) -> None:
        """A probe through `check.switch` has ended."""
        self._outcomes[check.switch].setdefault((node_id, check), deque(maxlen=self._kept)).append(outcome)
        if outcome.failure:
            self._failing_since_ns.setdefault(check.switch, outcome.started_ns)
            self._failures[check.switch] += 1
        else:
            self._last_success_ns[check.switch] = outcome.started_ns
            self._failing_since_ns.pop(check.switch, None)
            self._failures[check.switch] = 0

    def forget(self, switch: str) -> None:
        """A switch was lost: what it saw is old."""
        for of_switch in (self._outcomes, self._last_success_ns, self._failing_since_ns, self._failures):
            of_switch.pop(switch, None)

    def maybe_path_works(self, switch: str, now_ns: int) -> bool | None:
        """Whether a switch reaches the nodes; None: its path cannot be told from the nodes themselves.

        It does when any node answers through it. It does not when none has for as long as makes a node down, while
        one answered through another switch.
        """
        since_ns = self._failing_since_ns.get(switch)
        if since_ns is None:
            return True if switch in self._last_success_ns else None
        if now_ns - since_ns < self._patience_ns or self._failures[switch] < self._fall:
            return None
        return False if self._others_see_since(switch, since_ns) else None

    def counts(self, node_id: int, check: Check, outcome: Outcome) -> bool:
        """Whether the outcome of a probe through the active switch says something about the node.

        A failure does when the switch has seen any node since, or nobody else sees this one.
        """
        if not outcome.failure or self._last_success_ns.get(check.switch, -1) >= outcome.started_ns:
            return True
        others = (
            outcomes[-1]
            for switch, seen in self._outcomes.items()
            for (seen_id, _), outcomes in seen.items()
            if switch != check.switch and seen_id == node_id
        )
        return all(other.failure for other in others)

    def of(self, switch: str, vservers: Iterable[str]) -> list[tuple[int, Check, Outcome]]:
        """The kept outcomes of a switch for some vservers, oldest first: the start of a switch that takes over."""
        names = set(vservers)
        return [
            (node_id, check, outcome)
            for (node_id, check), outcomes in self._outcomes.get(switch, {}).items()
            if check.vserver in names
            for outcome in outcomes
        ]

    def seen(self, switch: str) -> frozenset[int]:
        """The nodes that answered the last probe through a switch, for any vserver."""
        return frozenset(n for (n, _), outcomes in self._outcomes.get(switch, {}).items() if not outcomes[-1].failure)

    def _others_see_since(self, switch: str, since_ns: int) -> bool:
        return any(seen_ns >= since_ns for other, seen_ns in self._last_success_ns.items() if other != switch)
