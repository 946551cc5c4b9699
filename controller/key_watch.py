"""What follows from which node has which ticket keys [P4]: who has to wait before it serves, and what is wrong."""

from __future__ import annotations

from controller.alarms import AlarmKey, AlarmKind
from controller.availability import Availability
from controller.ticket_keys import TicketKeys
from controller.unknown_tickets import UnknownTickets
from pentaflow.config import Configuration
from pentaflow.modes import NodeKind


class KeyWatch:
    """Looks at nodes and their keys together."""

    def __init__(self, keys: TicketKeys, availability: Availability) -> None:
        self._keys = keys
        self._availability = availability
        self._names: dict[int, str] = {}
        self._are_given = False
        self.unknown_tickets = UnknownTickets()

    def reconfigure(self, configuration: Configuration) -> None:
        """This configuration is in force."""
        self._names = {node.id: node.name for node in configuration.nodes if node.kind is NodeKind.TLS}
        self._are_given = configuration.controller.ticket_keys is not None
        self._keys.keep(self._names.values())
        self.unknown_tickets.keep(set(self._names.values()))

    def counting(self) -> set[str]:
        """Names of the TLS nodes that may serve now: they must have a key before tickets are made with it."""
        able = self._availability.may_serve()
        return {name for node_id, name in self._names.items() if node_id in able}

    def hold_back(self, now_ns: int) -> bool:
        """Nodes that are down and have missed keys come back once they have them: whether the health of any changed."""
        behind: set[int] = set()
        if self._are_given:
            able = self._availability.may_serve()
            behind = {n for n, name in self._names.items() if n not in able and self._keys.behind(name)}
        return self._availability.hold_back(behind, "it has not got the ticket keys that others have", now_ns)

    def alarm_reasons(self, now_ns: int) -> dict[AlarmKey, str]:
        """What is wrong now."""
        if not self._are_given:  # then every node has keys of its own, and does not know others'
            return {}
        unknown, lagging = self.unknown_tickets.reasons(), self._keys.lagging(self.counting(), now_ns)
        return {AlarmKey(AlarmKind.UNKNOWN_TICKETS, name): why for name, why in unknown.items()} | {
            AlarmKey(AlarmKind.TICKET_KEYS, name): why for name, why in lagging.items()
        }
