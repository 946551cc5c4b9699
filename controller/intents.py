"""What operators intend with nodes [B6], apart from what is observed of them (`controller.health`).

The configuration gives each node a state; an operator may put another over it at run time, which the store keeps. Times
are those of the wall clock, since an intent outlives the controller.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from controller.health import Health
from pentaflow.config import Node, NodeState


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What is intended with one node.

    Attributes:
        state: active, draining or maintenance.
        since_ms: when it was set, milliseconds since 1970; 0: it is the configured one.
        deadline_ms: when a drain is forced; None: never.
        who: the operator who set it; empty: the configuration.
        reason: the operator's own words.
    """

    state: NodeState
    since_ms: int = 0
    deadline_ms: int | None = None
    who: str = ""
    reason: str = ""

    @property
    def is_configured(self) -> bool:
        """Whether no operator has set it."""
        return not self.who


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentChange:
    """A node's intent has changed."""

    node_id: int
    before: Intent
    after: Intent


class Intents:
    """The intent of every node."""

    def __init__(self, nodes: Iterable[Node], overrides: Mapping[int, Intent] | None = None) -> None:
        """`overrides`: what the store has kept; that of a node that is no longer configured is dropped."""
        self._configured = {node.id: Intent(state=node.state) for node in nodes}
        self._overrides = {n: intent for n, intent in (overrides or {}).items() if n in self._configured}

    def of(self, node_id: int) -> Intent:
        """What is intended with a node; KeyError: there is none of this id."""
        return self._overrides.get(node_id) or self._configured[node_id]

    def overrides(self) -> dict[int, Intent]:
        """What operators have set, for the store."""
        return dict(self._overrides)

    def states(self) -> dict[int, NodeState]:
        """Node id → what is intended with it."""
        return {node_id: self.of(node_id).state for node_id in self._configured}

    def set(self, node_id: int, intent: Intent) -> IntentChange | None:
        """An operator's intent (`who` is not empty); None: nothing changes by it."""
        before = self.of(node_id)
        self._overrides[node_id] = intent
        is_same = (before.state, before.deadline_ms) == (intent.state, intent.deadline_ms)
        return None if is_same else IntentChange(node_id=node_id, before=before, after=intent)

    def clear(self, node_id: int) -> IntentChange | None:
        """Back to what the configuration says; None: no operator has set anything."""
        before = self._overrides.pop(node_id, None)
        return IntentChange(node_id=node_id, before=before, after=self.of(node_id)) if before else None


def serving_weights(
    nodes: Mapping[int, Node], intents: Mapping[int, NodeState], health: Mapping[int, Health]
) -> dict[int, int]:
    """Node id → weight, 0 included, for planning: who is to hold which share of the buckets.

    Nodes that are down are left out; those that nothing is known of stay in, since ignorance moves nothing.
    """
    return {
        node_id: node.weight if intents[node_id] is NodeState.ACTIVE else 0
        for node_id, node in nodes.items()
        if health[node_id] is not Health.DOWN
    }


class _Tier(StrEnum):
    """Who is asked to take over, in this order."""

    IN_SERVICE = "in service and up"
    UNKNOWN = "in service, health unknown"
    SPARE = "up, of weight 0 or draining"
    HELD = "held down for flapping, but answering"
    MAINTENANCE = "up, in maintenance"


def survivors(
    nodes: Mapping[int, Node],
    intents: Mapping[int, NodeState],
    health: Mapping[int, Health],
    answering: Collection[int],
) -> dict[int, int]:
    """Who takes over from nodes that are down: the best tier that has any, since anything is better than nothing.

    Args:
        nodes: node id → configuration.
        intents: node id → what is intended with it.
        health: node id → what was observed.
        answering: nodes whose checks succeed, including those that are held down for flapping.

    Returns:
        node id → weight above 0; empty: there is nobody.
    """

    def maybe_tier(node: Node) -> _Tier | None:
        state, seen = intents[node.id], health[node.id]
        if state is NodeState.MAINTENANCE:
            return _Tier.MAINTENANCE if node.id in answering else None
        if seen is Health.DOWN:
            return _Tier.HELD if node.id in answering else None
        in_service = state is NodeState.ACTIVE and node.weight > 0
        if seen is Health.UNKNOWN:
            return _Tier.UNKNOWN if in_service else None
        return _Tier.IN_SERVICE if in_service else _Tier.SPARE

    tiers = {node_id: maybe_tier(node) for node_id, node in nodes.items()}
    for tier in _Tier:
        found = {node_id: nodes[node_id].weight or 1 for node_id, its in tiers.items() if its is tier}
        if found:
            return found
    return {}
