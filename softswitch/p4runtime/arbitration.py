"""Who may write: client arbitration (P4Runtime 1.5, "Client Arbitration and Controller Replication").

Each role has at most one primary: the live client whose election id is the highest that the device has ever seen for
that role. Nobody is promoted by another one's leaving: without a primary, a client has to ask again with an id that is
at least the highest ever seen.

    new client ── id ≥ highest ever seen ──▶ primary ── a higher id, a lower own id ──▶ backup
        └──────── lower id, or none ───────▶ backup  ── asks again, id ≥ highest ─────▶ primary
"""

from __future__ import annotations

from dataclasses import dataclass, field

from softswitch.p4runtime.status import Code, RequestError

MAX_ROLES = 64
MAX_CLIENTS_PER_ROLE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One advisory message to one client.

    Attributes:
        stream: the client's stream.
        role: role name; empty for the default role.
        election_id: the highest ever seen for the role; None when there has been no primary at all.
        code: OK to the primary, ALREADY_EXISTS to backups, NOT_FOUND when there is no primary.
    """

    stream: int
    role: str
    election_id: int | None
    code: Code


@dataclass(slots=True)
class _Role:
    """Live clients of one role (stream → election id), its primary, and the highest election id ever seen."""

    clients: dict[int, int | None] = field(default_factory=dict)
    primary: int | None = None
    highest: int | None = None


class Arbitration:
    """The clients of one device. A client is known by its stream, a number that the caller makes up."""

    def __init__(self, device_id: int) -> None:
        self._device_id = device_id
        self._roles: dict[str, _Role] = {"": _Role()}
        self._role_of: dict[int, str] = {}

    def update(
        self,
        stream: int,
        *,
        device_id: int,
        role: str,
        has_role_config: bool,
        election_id: int | None,
    ) -> list[Notice]:
        """A client's MasterArbitrationUpdate.

        Returns:
            the notices to send, the sender's last.

        Raises:
            RequestError: the stream is to be closed with this status; the arbitration is as it was before.
        """
        live_role = self._role_of.get(stream)
        if device_id != self._device_id:
            code = Code.NOT_FOUND if live_role is None else Code.FAILED_PRECONDITION
            raise RequestError(code, f"device {device_id} is not here: this is device {self._device_id}")
        if live_role is not None and role != live_role:
            raise RequestError(
                Code.FAILED_PRECONDITION,
                f"this stream has role '{live_role}': open another stream for role '{role}'",
            )
        if has_role_config:
            raise RequestError(
                Code.INVALID_ARGUMENT,
                f"role '{role}' has a config: every role has full pipeline access here, leave it unset",
            )
        state = self._roles.get(role) or self._new_role(role)
        if election_id is not None and any(
            used == election_id for other, used in state.clients.items() if other != stream
        ):
            raise RequestError(
                Code.INVALID_ARGUMENT,
                f"Election id {election_id} is already used by another live client of role '{role}'",
            )
        if live_role is None and len(state.clients) >= MAX_CLIENTS_PER_ROLE:
            raise RequestError(Code.RESOURCE_EXHAUSTED, f"role '{role}' has {MAX_CLIENTS_PER_ROLE} clients already")

        self._roles[role] = state
        self._role_of[stream] = role
        state.clients[stream] = election_id
        if election_id is not None and (state.highest is None or election_id >= state.highest):
            state.highest = election_id
            state.primary = stream
        elif state.primary == stream:
            state.primary = None
        else:
            return [self._notice(role, stream)]
        return self._notices(role, last=stream)

    def _new_role(self, role: str) -> _Role:
        if len(self._roles) >= MAX_ROLES:
            raise RequestError(Code.RESOURCE_EXHAUSTED, f"the device has {MAX_ROLES} roles already")
        return _Role()

    def close(self, stream: int) -> list[Notice]:
        """A client's stream has ended; returns the notices to the others."""
        role = self._role_of.pop(stream, None)
        if role is None:
            return []
        state = self._roles[role]
        del state.clients[stream]
        if state.primary != stream:
            return []
        state.primary = None
        return self._notices(role)

    def check_writer(self, device_id: int, role: str, election_id: int | None) -> None:
        """The checks before a Write or SetForwardingPipelineConfig, in the specification's order.

        Raises:
            RequestError: NOT_FOUND for an unknown device or role, PERMISSION_DENIED for anyone but the primary.
        """
        self.check_device(device_id)
        state = self._roles.get(role)
        if state is None:
            raise RequestError(Code.NOT_FOUND, f"no client has ever had role '{role}'")
        if state.primary is None:
            raise RequestError(Code.PERMISSION_DENIED, "there is no primary: a backup may only read")
        if election_id != state.clients[state.primary]:
            shown = "no election id" if election_id is None else f"election id {election_id}"
            raise RequestError(Code.PERMISSION_DENIED, f"{shown} is not the primary's: a backup may only read")

    def check_device(self, device_id: int) -> None:
        """Raises RequestError NOT_FOUND when the device is another one."""
        if device_id != self._device_id:
            raise RequestError(Code.NOT_FOUND, f"device {device_id} is not here: this is device {self._device_id}")

    def is_primary(self, stream: int) -> bool:
        """Whether the client is the primary of its role."""
        role = self._role_of.get(stream)
        return role is not None and self._roles[role].primary == stream

    def primaries(self) -> list[int]:
        """The streams that packet-ins, digests and idle notices go to: every role has the full pipeline."""
        return [state.primary for state in self._roles.values() if state.primary is not None]

    def _notice(self, role: str, stream: int) -> Notice:
        state = self._roles[role]
        code = Code.OK if stream == state.primary else Code.ALREADY_EXISTS
        if state.primary is None:
            code = Code.NOT_FOUND
        return Notice(stream=stream, role=role, election_id=state.highest, code=code)

    def _notices(self, role: str, last: int | None = None) -> list[Notice]:
        streams = sorted(self._roles[role].clients, key=lambda stream: stream == last)
        return [self._notice(role, stream) for stream in streams]
