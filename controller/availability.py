"""Which nodes can serve: what was observed of each [H1], and what follows from it and from intent [B6].

Every transition of health or intent is an event with its reason.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from controller.alarms import AlarmKey, AlarmKind
from controller.damping import Penalty
from controller.events import EventKind, EventLog
from controller.guard import MassFailureGuard, Verdict
from controller.health import Check, CheckKind, Health, NodeHealth, Outcome, Transition
from controller.intents import Intent, IntentChange, Intents, serving_weights, survivors
from controller.node_sets import NodeSet, node_sets
from pentaflow.config import Configuration, NodeState
from pentaflow.config import Health as HealthRule

HOLD_BACK_S = 10.0
"""How long a node that could serve, but for ticket keys, waits for them."""
_TICKET_KEYS = Check(CheckKind.TICKET_KEYS)
_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000
_TRANSITION_EVENTS = {
    Health.UP: EventKind.NODE_UP,
    Health.DOWN: EventKind.NODE_DOWN,
    Health.UNKNOWN: EventKind.NODE_UNKNOWN,
}


class Availability:
    """The health and intent of all nodes, and the guard that looks at all of them together."""

    def __init__(
        self,
        configuration: Configuration,
        events: EventLog,
        now_ns: int,
        *,
        kept_intents: Mapping[int, Intent] | None = None,
    ) -> None:
        self._events = events
        self._nodes = {node.id: node for node in configuration.nodes}
        self._sets: tuple[NodeSet, ...] = node_sets(configuration)
        self.intents = Intents(configuration.nodes, kept_intents)
        rule = configuration.controller.health
        self.guard = MassFailureGuard(rule.guard)
        self.health = {node_id: _unobserved(node_id, rule, now_ns) for node_id in self._nodes}
        self._held_back: dict[int, int] = {}  # node id → since when only the want of ticket keys keeps it down

    def reconfigure(self, configuration: Configuration, now_ns: int) -> None:
        """Other nodes, or other rules, from now on. What was observed of a node stays while it is the same machine."""
        before, self._nodes = self._nodes, {node.id: node for node in configuration.nodes}
        self._sets = node_sets(configuration)
        states = self.intents.states()
        self.intents = Intents(configuration.nodes, self.intents.overrides())
        for node_id, state in self.intents.states().items():
            if state is not states.get(node_id, state):
                change = IntentChange(node_id=node_id, before=Intent(state=states[node_id]), after=Intent(state=state))
                self._record_intent(change, now_ns)
        rule = configuration.controller.health
        self.guard.rule = rule.guard
        switches = {switch.name for switch in configuration.switches}
        served = {(node.id, v.name) for v in configuration.vservers for node in configuration.serving(v)}
        observed, self.health = self.health, {}
        for node_id, node in self._nodes.items():
            old = before.get(node_id)
            is_same = old is not None and (old.mac, old.ports, old.management) == (
                node.mac,
                node.ports,
                node.management,
            )
            health = observed[node_id] if is_same else _unobserved(node_id, rule, now_ns)
            health.rise, health.fall, health.penalty.rule = rule.rise, rule.fall, rule.damping
            self.health[node_id] = health
            if not is_same:
                self._held_back.pop(node_id, None)
            is_wanted = partial(_is_made, node_id=node_id, switches=switches, served=served)
            if transition := health.retain(is_wanted, now_ns):
                self._record(transition, now_ns)

    def name(self, node_id: int | None) -> str:
        """A node's name, or its number when it is no longer configured."""
        node = self._nodes.get(node_id or 0)
        return node.name if node else f"#{node_id}"

    # What happens.

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

    def hold_back(self, behind: Collection[int], reason: str, now_ns: int) -> bool:
        """Nodes that must not begin to serve for want of ticket keys: whether the health of a node changed.

        One that all other checks find up for HOLD_BACK_S serves without: that is better than not at all.
        """
        transitions = []
        for node_id, health in self.health.items():
            held_since_ns = self._held_back.get(node_id)
            if held_since_ns is None:
                if node_id in behind and not health.is_answering:
                    self._held_back[node_id] = now_ns
                    transitions.append(health.hold_back(_TICKET_KEYS, reason, now_ns))
                continue
            if not health.is_held_back_by(_TICKET_KEYS):
                self._held_back[node_id] = held_since_ns = now_ns
            if node_id not in behind or now_ns - held_since_ns > HOLD_BACK_S * _NS_PER_S:
                del self._held_back[node_id]
                transitions.append(health.retain(lambda check: check != _TICKET_KEYS, now_ns))
        for transition in filter(None, transitions):
            self._record(transition, now_ns)
        return any(transitions)

    def may_serve(self) -> set[int]:
        """Nodes that clients may reach now, as far as is known."""
        states, down = self.intents.states(), self.down()
        return {n for n in self._nodes if n not in down and states[n] is not NodeState.MAINTENANCE}

    def clear_penalty(self, node_id: int, now_ns: int) -> int:
        """An operator forgives a node that it flapped: the id of the event if its health changed, else 0."""
        transition = self.health[node_id].clear_penalty(now_ns)
        return self._record(transition, now_ns) if transition else 0

    def set_intent(self, node_id: int, intent: Intent, now_ns: int) -> int:
        """An operator's intent: the id of the event if it changes something, else 0."""
        return self._record_intent(self.intents.set(node_id, intent), now_ns)

    def clear_intent(self, node_id: int, now_ns: int) -> int:
        """Back to the configured state: the id of the event if it changes something, else 0."""
        return self._record_intent(self.intents.clear(node_id), now_ns)

    def judge(self, now_ns: int) -> Verdict:
        """Whether failover has to wait; to be asked after every change and from time to time."""
        return self._record_verdict(self.guard.judge(self._in_service(), self.down(), now_ns), now_ns)

    def confirm(self, now_ns: int) -> Verdict:
        """An operator says that what failed together is really lost."""
        return self._record_verdict(self.guard.confirm(), now_ns)

    def _record(self, transition: Transition, now_ns: int) -> int:
        details: dict[str, str | float] = {"node": self._nodes[transition.node_id].name, "reason": transition.reason}
        if transition.is_held:
            return self._events.add(EventKind.NODE_HELD_DOWN, now_ns, **details).id
        if transition.after is Health.DOWN:
            details["detection_ms"] = (now_ns - transition.failing_since_ns) / _NS_PER_MS
            if transition.before is not Health.DOWN and transition.node_id in self._in_service():
                self.guard.fell(transition.node_id, now_ns)
        return self._events.add(_TRANSITION_EVENTS[transition.after], now_ns, **details).id

    def _record_intent(self, change: IntentChange | None, now_ns: int) -> int:
        if change is None:
            return 0
        return self._events.add(
            EventKind.NODE_INTENT,
            now_ns,
            node=self._nodes[change.node_id].name,
            before=change.before.state,
            after=change.after.state,
            who=change.after.who or "configuration",
            reason=change.after.reason,
        ).id

    def _record_verdict(self, verdict: Verdict, now_ns: int) -> Verdict:
        if verdict is Verdict.TRIPPED:
            self._events.add(EventKind.FAILOVER_HELD, now_ns, reason=self.guard.reason)
        elif verdict is Verdict.RELEASED:
            self._events.add(EventKind.FAILOVER_RELEASED, now_ns, reason=self.guard.reason)
        return verdict

    # What follows.

    def down(self) -> set[int]:
        """Nodes that are seen to be down, or held down."""
        return self._in(Health.DOWN)

    def unknown(self) -> set[int]:
        """Nodes that nothing is known of, other than those that serve no vserver or are in maintenance."""
        states = self.intents.states()
        serving: set[int] = set().union(*(its.node_ids for its in self._sets))
        return {n for n in self._in(Health.UNKNOWN) & serving if states[n] is not NodeState.MAINTENANCE}

    def survivors(self) -> dict[int, int]:
        """Who takes over from nodes that are down, of each set of nodes (`controller.intents.survivors`): node id →
        weight above 0."""
        answering = {node_id for node_id, health in self.health.items() if health.is_answering}
        states, seen = self.intents.states(), self._states()
        found: dict[int, int] = {}
        for its in self._sets:
            found |= survivors({n: self._nodes[n] for n in sorted(its.node_ids)}, states, seen, answering)
        return found

    def served(self) -> set[int]:
        """Vservers that have a node that clients may get an answer from."""
        serving = self.unknown().union(self.survivors())
        return {vserver_id for its in self._sets if its.node_ids & serving for vserver_id in its.vserver_ids}

    def serving_weights(self) -> dict[int, int]:
        """Node id → weight, 0 included, of the nodes that are not known to be down (`controller.intents`)."""
        return serving_weights(self._nodes, self.intents.states(), self._states())

    def initial_weights(self) -> dict[int, int]:
        """Node id → weight of the nodes that a fresh map is spread over: all that are not known to be down."""
        weights = self.serving_weights()
        for its in self._sets:
            if not any(weights.get(node_id) for node_id in its.node_ids):
                weights |= {node_id: self._nodes[node_id].weight for node_id in its.node_ids}
        return weights

    def alarm_reasons(self) -> dict[AlarmKey, str]:
        """What is wrong with nodes now; those in maintenance may be as they like."""
        reasons = {}
        if self.guard.is_holding:
            reasons[AlarmKey(AlarmKind.MASS_FAILURE)] = f"{self.guard.reason}: the map is held"
        states = self.intents.states()
        for node_id in sorted(self.down()):
            health = self.health[node_id]
            kind = AlarmKind.NODE_HELD_DOWN if health.is_answering else AlarmKind.NODE_DOWN
            if states[node_id] is not NodeState.MAINTENANCE:
                reasons[AlarmKey(kind, self._nodes[node_id].name)] = health.reason
        return reasons

    def _in_service(self) -> set[int]:
        states = self.intents.states()
        return {n for n, node in self._nodes.items() if states[n] is NodeState.ACTIVE and node.weight > 0}

    def _states(self) -> dict[int, Health]:
        return {node_id: health.state for node_id, health in self.health.items()}

    def _in(self, state: Health) -> set[int]:
        return {node_id for node_id, health in self.health.items() if health.state is state}


def _unobserved(node_id: int, rule: HealthRule, now_ns: int) -> NodeHealth:
    return NodeHealth(node_id=node_id, rise=rule.rise, fall=rule.fall, since_ns=now_ns, penalty=Penalty(rule.damping))


def _is_made(check: Check, *, node_id: int, switches: Collection[str], served: Collection[tuple[int, str]]) -> bool:
    """Whether a check is still made of a node: of its management address, or a probe of a vserver that it serves."""
    return (not check.switch or check.switch in switches) and (not check.vserver or (node_id, check.vserver) in served)
