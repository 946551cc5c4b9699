"""Multicast groups (P4Runtime 1.5, "MulticastGroupEntry" and "CloneSessionEntry")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping

from pentaflow.p4runtime import p4r
from softswitch.p4runtime.bytestrings import decode_bits
from softswitch.p4runtime.status import Code, RequestError
from softswitch.pipeline import Replica
from softswitch.state import CLONE_SESSIONS, MAX_CLONE_SESSION

# Widths of v1model's standard metadata.
_PORT_WIDTH = 9
_GROUP_WIDTH = 16
_INSTANCE_WIDTH = 16
_DROP_PORT = 511


def _invalid(message: str) -> RequestError:
    return RequestError(Code.INVALID_ARGUMENT, message)


class Replication:
    """The packet replication engine; `groups` is what the pipeline looks up: groups, and clone sessions behind them."""

    def __init__(self, groups: MutableMapping[int, tuple[Replica, ...]]) -> None:
        self._groups = groups
        self._messages: dict[int, p4r.MulticastGroupEntry] = {}
        self._sessions: dict[int, p4r.CloneSessionEntry] = {}

    def write(self, kind: p4r.Update.Type.ValueType, message: p4r.PacketReplicationEngineEntry) -> None:
        """Apply an update.

        Raises:
            RequestError: with the code that the specification names; nothing was changed.
        """
        match message.WhichOneof("type"):
            case "multicast_group_entry":
                self._write_group(kind, message.multicast_group_entry)
            case "clone_session_entry":
                self._write_session(kind, message.clone_session_entry)
            case _:
                raise _invalid("packet_replication_engine_entry is empty")

    def _write_group(self, kind: p4r.Update.Type.ValueType, message: p4r.MulticastGroupEntry) -> None:
        group = message.multicast_group_id
        if not 0 < group < 1 << _GROUP_WIDTH:
            raise _invalid(f"multicast group {group} is not between 1 and {(1 << _GROUP_WIDTH) - 1}")
        if kind == p4r.Update.INSERT:
            if group in self._messages:
                raise RequestError(Code.ALREADY_EXISTS, f"there is a multicast group {group} already")
        elif group not in self._messages:
            raise RequestError(Code.NOT_FOUND, f"there is no multicast group {group}")
        if kind == p4r.Update.DELETE:
            del self._messages[group]
            del self._groups[group]
            return
        self._groups[group] = _decode_replicas(message.replicas)
        self._messages[group] = p4r.MulticastGroupEntry()
        self._messages[group].CopyFrom(message)

    def _write_session(self, kind: p4r.Update.Type.ValueType, message: p4r.CloneSessionEntry) -> None:
        session = message.session_id
        if not 0 < session <= MAX_CLONE_SESSION:
            raise _invalid(f"clone session {session} is not between 1 and {MAX_CLONE_SESSION}")
        if kind == p4r.Update.INSERT:
            if session in self._sessions:
                raise RequestError(Code.ALREADY_EXISTS, f"there is a clone session {session} already")
        elif session not in self._sessions:
            raise RequestError(Code.NOT_FOUND, f"there is no clone session {session}")
        if kind == p4r.Update.DELETE:
            del self._sessions[session]
            del self._groups[CLONE_SESSIONS + session]
            return
        if message.packet_length_bytes < 0:
            raise _invalid(f"packet_length_bytes of clone session {session} is {message.packet_length_bytes}")
        for name in ("class_of_service", "packet_length_bytes"):
            if getattr(message, name):
                raise RequestError(Code.UNIMPLEMENTED, f"{name} of clone sessions is not supported")
        self._groups[CLONE_SESSIONS + session] = _decode_replicas(message.replicas)
        self._sessions[session] = p4r.CloneSessionEntry()
        self._sessions[session].CopyFrom(message)

    def read(self, query: p4r.PacketReplicationEngineEntry) -> Iterator[p4r.Entity]:
        """One multicast group or clone session, or all of them for id 0.

        Raises:
            RequestError: NOT_FOUND, or INVALID_ARGUMENT, before the first.
        """
        match query.WhichOneof("type"):
            case "multicast_group_entry":
                return self._read_groups(query.multicast_group_entry.multicast_group_id)
            case "clone_session_entry":
                return self._read_sessions(query.clone_session_entry.session_id)
            case _:
                raise _invalid("packet_replication_engine_entry is empty")

    def _read_groups(self, group: int) -> Iterator[p4r.Entity]:
        if group and group not in self._messages:
            raise RequestError(Code.NOT_FOUND, f"there is no multicast group {group}")
        chosen = [self._messages[group]] if group else list(self._messages.values())
        return (
            p4r.Entity(packet_replication_engine_entry=p4r.PacketReplicationEngineEntry(multicast_group_entry=entry))
            for entry in chosen
        )

    def _read_sessions(self, session: int) -> Iterator[p4r.Entity]:
        if session and session not in self._sessions:
            raise RequestError(Code.NOT_FOUND, f"there is no clone session {session}")
        chosen = [self._sessions[session]] if session else list(self._sessions.values())
        return (
            p4r.Entity(packet_replication_engine_entry=p4r.PacketReplicationEngineEntry(clone_session_entry=entry))
            for entry in chosen
        )


def _decode_replicas(messages: Iterable[p4r.Replica]) -> tuple[Replica, ...]:
    replicas = []
    for replica in messages:
        if replica.backup_replicas:
            raise RequestError(Code.UNIMPLEMENTED, "backup replicas are not supported")
        port = _decode_port(replica)
        if not 0 < port < _DROP_PORT:
            raise _invalid(f"port {port} of a replica is not between 1 and {_DROP_PORT - 1}")
        if replica.instance >> _INSTANCE_WIDTH:
            raise _invalid(f"instance {replica.instance} of a replica does not fit bit<{_INSTANCE_WIDTH}>")
        replicas.append(Replica(port, replica.instance))
    if len(set(replicas)) != len(replicas):
        raise _invalid("two replicas have the same port and instance")
    return tuple(replicas)


def _decode_port(replica: p4r.Replica) -> int:
    match replica.WhichOneof("port_kind"):
        case "port":
            return decode_bits(replica.port, _PORT_WIDTH, "the port of a replica")
        case "egress_port":
            return replica.egress_port
        case _:
            raise _invalid("a replica has no port")
