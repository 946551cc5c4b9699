"""Which nodes can serve: what was observed of each [H1], and what follows from it and from intent [B6]."""

from __future__ import annotations

from controller.events import EventKind, EventLog
from controller.health import Check, Health, NodeHealth, Outcome, Transition
from pentaflow.config import Configuration

_NS_PER_MS = 1_000_000
_TRANSITION_EVENTS = {
    Health.UP: EventKind.NODE_UP,
    Health.DOWN: EventKind.NODE_DOWN,
    Health.UNKNOWN: EventKind.NODE_UNKNOWN,
}


class Availability:
    """The health of all nodes; every transition is an event."""

    def __init__(self, configuration: Configuration, events: EventLog, now_ns: int) -> None:
        self._events = events
        self._nodes = {node.id: node for node in configuration.nodes}
        health = configuration.controller.health
        self.health = {
            node_id: NodeHealth(node_id=node_id, rise=health.rise, fall=health.fall, since_ns=now_ns)
            for node_id in self._nodes
        }

    def observe(self, node_id: int, check: Check, outcome: Outcome, now_ns: int) -> int:
        """A check of a node has ended: the id of the event if its health changed, else 0."""
        transition = self.health[node_id].observe(check, outcome, now_ns)
        return self._record(transition, now_ns) if transition else 0

    def forget(self, switch: str, now_ns: int) -> bool:
        """Probes through a switch say nothing any more: whether the health of a node changed."""
        transitions = [found for health in self.health.values() if (found := health.forget(switch, now_ns))]
        for transition in transitions:
            self._record(transition, now_ns)
        return bool(transitions)

    def _record(self, transition: Transition, now_ns: int) -> int:
        details: dict[str, str | float] = {"node": self._nodes[transition.node_id].name, "reason": transition.reason}
        if transition.after is Health.DOWN:
            details["detection_ms"] = (now_ns - transition.failing_since_ns) / _NS_PER_MS
        return self._events.add(_TRANSITION_EVENTS[transition.after], now_ns, **details).id

    def down(self) -> set[int]:
        """Nodes that are seen to be down."""
        return self._in(Health.DOWN)

    def unknown(self) -> set[int]:
        """Nodes that nothing is known of."""
        return self._in(Health.UNKNOWN)

    def survivors(self) -> dict[int, int]:
        """Who takes over: nodes that are up, else those not known to be down, else those kept for maintenance.

        Returns:
            node id → weight above 0.
        """
        for state, in_service in ((Health.UP, True), (Health.UNKNOWN, True), (Health.UP, False)):
            found = {
                node_id: self._nodes[node_id].weight or 1
                for node_id in self._in(state)
                if bool(self._nodes[node_id].weight) is in_service
            }
            if found:
                return found
        return {}

    def serving_weights(self) -> dict[int, int]:
        """Node id → weight, 0 included, of the nodes that are up."""
        return {node_id: self._nodes[node_id].weight for node_id in self._in(Health.UP)}

    def initial_weights(self) -> dict[int, int]:
        """Node id → weight of the nodes that a fresh map is spread over: all that are not known to be down."""
        weights = {node_id: node.weight for node_id, node in self._nodes.items()}
        return {node_id: weights[node_id] for node_id in weights.keys() - self.down()} or weights

    def _in(self, state: Health) -> set[int]:
        return {node_id for node_id, health in self.health.items() if health.state is state}
