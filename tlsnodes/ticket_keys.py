"""The ticket keys of a node [P4] (pure): its own, or those that a controller gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pentaflow.node_configuration import NodeConfiguration
from pentaflow.ticket_keys import KeyRings, Rotation, TicketKeySet, rotations_of


class NodeTicketKeys:
    """What a node's workers encrypt tickets with.

    Without a controller the node makes and rotates keys of its own, whose holders are its workers. With one it has
    what that gives, and until then none: it makes no ticket that others could not decrypt.

    Args:
        make_key: makes `pentaflow.ticket_keys.KEY_BYTES` that nobody can guess.
    """

    def __init__(self, make_key: Callable[[], bytes]) -> None:
        self._make_key = make_key
        self._rotations: dict[str, Rotation] = {}
        self._own = KeyRings()
        self._given = TicketKeySet()
        self._are_given = False
        self._prepared: KeyRings | None = None

    @property
    def current(self) -> TicketKeySet:
        """What workers are to have."""
        return self._given if self._are_given else self._own.handed_out()

    @property
    def given_version(self) -> int:
        """Of the controller's keys; 0: it has given none."""
        return self._given.version

    def describe(self) -> dict[str, Any]:
        """Their part of the status document: no secrets."""
        return {"version": self.given_version, "names": self.current.names()}

    def prepare(self, configuration: NodeConfiguration, now_s: float) -> TicketKeySet:
        """What workers will have with another configuration."""
        if configuration.has_given_ticket_keys:
            self._prepared = KeyRings()
            return self._given
        names = rotations_of(configuration.vservers)
        self._prepared = self._own.begun(names, now_s=now_s, make_key=self._make_key)
        return self._prepared.handed_out()

    def commit(self, configuration: NodeConfiguration) -> None:
        """The prepared configuration is served now."""
        assert self._prepared is not None
        self._own, self._prepared = self._prepared, None
        self._are_given = configuration.has_given_ticket_keys
        self._rotations = {} if self._are_given else rotations_of(configuration.vservers)

    def give(self, keys: TicketKeySet) -> None:
        """A controller gives these."""
        self._given = keys

    def advance(self, now_s: float, *, acknowledged: int) -> None:
        """Time has passed; all workers have taken this version of the node's own keys."""
        if not self._are_given:
            self._own = self._own.advanced(
                self._rotations, now_s=now_s, acknowledged=acknowledged, make_key=self._make_key
            )
