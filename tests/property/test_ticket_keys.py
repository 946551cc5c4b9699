"""Whatever nodes, messages and operators do: no ticket is made that somebody who serves could not decrypt [P4]."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pentaflow.ticket_keys import KEY_BYTES, MAX_KEYS, KeyRings, KeyState, Rotation, TicketKeySet

VSERVERS = ("api", "web")
ROTATIONS = {"api": Rotation(rotate_s=50, lifetime_s=200), "web": Rotation(rotate_s=300, lifetime_s=100)}
NODES = st.sampled_from(["n1", "n2", "n3"])


@dataclass
class Node:
    """What a node has, and whether clients reach it."""

    has: TicketKeySet = field(default_factory=TicketKeySet)
    serves: bool = True


class Array(RuleBasedStateMachine):
    """Three nodes and a controller whose messages to them, and theirs to it, take as long as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.rings = KeyRings(version=7)
        self.nodes = {name: Node() for name in ("n1", "n2", "n3")}
        self.acknowledged: dict[str, int] = {}
        self.tickets: list[tuple[str, bytes, float]] = []
        self.numbers = count(1)

    def make_key(self) -> bytes:
        return next(self.numbers).to_bytes(KEY_BYTES, "big")

    @initialize()
    def begin(self) -> None:
        self.step()

    def step(self) -> None:
        serving = [name for name, node in self.nodes.items() if node.serves]
        acknowledged = min((self.acknowledged.get(name, 0) for name in serving), default=self.rings.version)
        before = self.rings
        self.rings = before.advanced(ROTATIONS, now_s=self.now_s, acknowledged=acknowledged, make_key=self.make_key)
        assert (self.rings.version > before.version) == (
            self.rings.handed_out().vservers != before.handed_out().vservers
        )

    @rule(elapsed_s=st.one_of(st.just(0.0), st.floats(0, 60), st.floats(0, 400)))
    def time_passes(self, elapsed_s: float) -> None:
        self.now_s += elapsed_s
        self.step()

    @rule(name=NODES)
    def keys_arrive(self, name: str) -> None:
        if self.nodes[name].serves:
            self.nodes[name].has = self.rings.handed_out()

    @rule(name=NODES)
    def acknowledgement_arrives(self, name: str) -> None:
        self.acknowledged[name] = self.nodes[name].has.version

    @rule(name=NODES, restarts=st.booleans())
    def node_goes_down(self, name: str, restarts: bool) -> None:
        self.nodes[name].serves = False
        if restarts:
            self.nodes[name].has = TicketKeySet()

    @rule(name=NODES)
    def node_comes_back_once_it_is_caught_up(self, name: str) -> None:
        self.nodes[name].has = self.rings.handed_out()
        self.acknowledged[name] = self.rings.version
        self.nodes[name].serves = True

    @rule(vserver=st.sampled_from(VSERVERS))
    def operator_rotates(self, vserver: str) -> None:
        self.rings = self.rings.rotating(vserver)

    @rule()
    def another_controller_leads(self) -> None:
        self.acknowledged = {}
        self.rings = KeyRings(version=self.rings.version + 10, rings=self.rings.rings)

    @rule(name=NODES, vserver=st.sampled_from(VSERVERS))
    @precondition(lambda self: any(node.serves for node in self.nodes.values()))
    def ticket_is_made(self, name: str, vserver: str) -> None:
        keys = self.nodes[name].has.of(vserver)
        if self.nodes[name].serves and keys.issues:
            self.tickets.append((vserver, keys.keys[0], self.now_s))

    @invariant()
    def what_one_encrypts_with_all_have(self) -> None:
        serving = [node.has for node in self.nodes.values() if node.serves]
        for vserver in VSERVERS:
            for keys in (has.of(vserver) for has in serving):
                assert not keys.issues or all(keys.keys[0] in other.of(vserver).keys for other in serving)

    @invariant()
    def every_good_ticket_can_be_decrypted_everywhere(self) -> None:
        self.tickets = [t for t in self.tickets if self.now_s - t[2] < ROTATIONS[t[0]].lifetime_s]
        for node in self.nodes.values():
            if node.serves:
                assert all(secret in node.has.of(vserver).keys for vserver, secret, _ in self.tickets)

    @invariant()
    def rings_are_in_order(self) -> None:
        for ring in self.rings.rings.values():
            states = [key.state for key in ring.keys]
            assert states.count(KeyState.ACTIVE) <= 1
            assert states.count(KeyState.PRE_DISTRIBUTED) == 1
            assert len(ring.keys) <= MAX_KEYS
            assert ring.handed_out().issues == (states[0] is KeyState.ACTIVE)


Array.TestCase.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
TestArray = Array.TestCase
