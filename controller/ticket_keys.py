"""The ticket keys that the controller gives to TLS nodes [P4]: which they are, and who has taken them.

`pentaflow.ticket_keys` says how a key takes the place of another; its holders are the nodes here. Those count that may
serve clients now: neither seen to be down nor in maintenance. One that does not count keeps no key back, and must have
caught up before it serves again (`behind`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from controller.events import EventKind, EventLog
from pentaflow.config import Configuration
from pentaflow.ticket_keys import KeyRings, rotations_of

GRACE_S = 30.0
"""How long a node that serves may take to acknowledge keys, before that is an alarm."""
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """The version that a node has said it has, and when."""

    version: int
    at_ns: int


class TicketKeys:
    """What is handed out, and to whom."""

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._acknowledged: dict[str, Acknowledgement] = {}
        self._failures: dict[str, str] = {}
        self._since_ns = 0
        self.rings = KeyRings()

    def begin(self, rings: KeyRings, now_ns: int) -> None:
        """This controller leads; with these, if some were kept. Who has them must be seen anew."""
        self.rings, self._since_ns = rings, now_ns

    def following(
        self,
        configuration: Configuration,
        acknowledged: int,
        *,
        now_s: float,
        make_key: Callable[[], bytes],
    ) -> KeyRings:
        """What should be handed out now; the same if nothing is to change.

        Args:
            configuration: in force.
            acknowledged: the newest version that all nodes have which may serve.
            now_s: seconds since 1970.
            make_key: makes `pentaflow.ticket_keys.KEY_BYTES` that nobody can guess.
        """
        return self.rings.advanced(
            {} if configuration.controller.ticket_keys is None else rotations_of(configuration.vservers),
            now_s=now_s,
            acknowledged=acknowledged,
            make_key=make_key,
        )

    def acknowledged_by(self, counting: Collection[str]) -> int:
        """The newest version that all of these nodes have."""
        return min((self.version_of(name) for name in counting), default=self.rings.version)

    def adopt(self, following: KeyRings, now_ns: int) -> None:
        """Hand these out from now on."""
        if following.version != self.rings.version:
            self._since_ns = now_ns
        before, self.rings = self.rings, following
        for vserver in sorted(before.rings.keys() | following.rings.keys()):
            old, new = _states(before, vserver), _states(following, vserver)
            for name, state in new.items():
                if old.get(name) != state:
                    self._events.add(EventKind.TICKET_KEY, now_ns, vserver=vserver, key=name, state=state)
            for name in old.keys() - new.keys():
                self._events.add(EventKind.TICKET_KEY, now_ns, vserver=vserver, key=name, state="gone")

    def rotate(self, vserver: str) -> None:
        """An operator wants the next key of a vserver, which has some, to take over."""
        self.rings = self.rings.rotating(vserver)

    def acknowledge(self, node: str, version: int, now_ns: int) -> None:
        """A node has said which version it has; 0: none."""
        self._acknowledged[node] = Acknowledgement(version=version, at_ns=now_ns)
        self._failures.pop(node, None)

    def failed(self, node: str, reason: str) -> None:
        """A node could not be given the keys."""
        self._failures[node] = reason

    def keep(self, nodes: Collection[str]) -> None:
        """Only these are configured now."""
        self._acknowledged = {name: found for name, found in self._acknowledged.items() if name in nodes}
        self._failures = {name: reason for name, reason in self._failures.items() if name in nodes}

    def version_of(self, node: str) -> int:
        """The version that a node has; 0: none, or one of another controller's."""
        found = self._acknowledged.get(node)
        return found.version if found and found.version <= self.rings.version else 0

    def is_current(self, node: str) -> bool:
        """Whether a node has what is handed out."""
        return self.version_of(node) == self.rings.version

    def heard_at_ns(self, node: str) -> int:
        """When a node last said what it has; 0: never."""
        found = self._acknowledged.get(node)
        return found.at_ns if found else 0

    def behind(self, node: str) -> bool:
        """Whether a node, which has had keys, has not what is handed out: it must not begin to serve."""
        return node in self._acknowledged and not self.is_current(node)

    def lagging(self, counting: Collection[str], now_ns: int) -> dict[str, str]:
        """Name → why, of the nodes that may serve and have not the keys though they have had time."""
        if now_ns - self._since_ns <= GRACE_S * _NS_PER_S:
            return {}
        found = {}
        for name in counting:
            if not self.is_current(name):
                has = f"version {self.version_of(name)}" if self.version_of(name) else "none"
                why = f": {self._failures[name]}" if name in self._failures else ""
                found[name] = f"has {has} of the ticket keys, {self.rings.version} is handed out: none rotate{why}"
        return found


def _states(rings: KeyRings, vserver: str) -> Mapping[str, str]:
    ring = rings.rings.get(vserver)
    return {key.name: key.state for key in ring.keys} if ring else {}
