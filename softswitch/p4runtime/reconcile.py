"""Carrying the forwarding state over to another pipeline: RECONCILE_AND_COMMIT.

Entries, groups and digest configurations are read as P4Runtime entities and written to the new pipeline like a client's
updates. Entities name objects by id, so it is ids that decide what goes where, as in every other message of P4Runtime
(and in p4lang's PI); p4c derives them from the names. What an id stands for must be the same in both programs, though:
match fields and parameters are numbered by their places, and values must not land in others by that.

What can't be carried is refused, not dropped: P4Runtime 1.5, "SetForwardingPipelineConfig RPC", says INVALID_ARGUMENT
"if the existing forwarding state cannot be preserved". An object without state may change, and go. What the program
itself gives, constant entries and default actions that no client has changed, is the new program's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from pentaflow.p4runtime import p4r
from softswitch.p4runtime.forwarding import Forwarding
from softswitch.p4runtime.p4info import CounterInfo, DigestInfo, RegisterInfo, TableInfo
from softswitch.p4runtime.status import Code, RequestError
from softswitch.state import Cells
from softswitch.tables import Entry, EntryNotFound, Table

_GROUPS = (
    p4r.PacketReplicationEngineEntry(multicast_group_entry=p4r.MulticastGroupEntry()),
    p4r.PacketReplicationEngineEntry(clone_session_entry=p4r.CloneSessionEntry()),
)

_Info = TypeVar("_Info", TableInfo, CounterInfo, RegisterInfo, DigestInfo)


def carry_state(old: Forwarding, new: Forwarding, now_ns: int) -> Iterator[None]:
    """Carry everything from one pipeline to another, which is empty.

    A generator, so that the old one may forward packets between its steps; nothing may be written to it meanwhile. The
    last step copies at once what packets change: after it the new pipeline must take over before the next packet.

    Raises:
        RequestError: INVALID_ARGUMENT, and the old pipeline is as it was.
    """
    for query in _GROUPS:
        yield from _replay(old, new, p4r.Entity(packet_replication_engine_entry=query), now_ns)
    for entity in old.read(p4r.Entity(digest_entry=p4r.DigestEntry()), now_ns):
        _counterpart("digest", old.info.digests[entity.digest_entry.digest_id], new.info.digests)
        _write(new, p4r.Update.INSERT, entity, now_ns)
    twins: list[tuple[Table, Entry, Table, Entry]] = []
    for info in old.info.tables.values():
        yield from _carry_table(old, new, info, twins)
    for table, entry, new_table, twin in twins:
        _copy_hits(table, entry, new_table, twin)
    _carry_cells(old, new)


def _refusal(reason: str) -> RequestError:
    return RequestError(Code.INVALID_ARGUMENT, f"the forwarding state can't be preserved: {reason}")


def _counterpart(kind: str, info: _Info, candidates: Mapping[int, _Info]) -> _Info:
    """What the id of an object that has state stands for in the new program."""
    found = candidates.get(info.id)
    if found is None:
        raise _refusal(f"{kind} '{info.name}' (id {info.id}) has state, and is not in the new program")
    if found.name != info.name:
        raise _refusal(f"id {info.id} was {kind} '{info.name}', and is '{found.name}' in the new program")
    match info, found:
        case TableInfo(), TableInfo():
            is_same = info.fields == found.fields
        case RegisterInfo(), RegisterInfo():
            is_same = info.width == found.width
        case DigestInfo(), DigestInfo():
            is_same = info == found
        case _:
            is_same = True
    if not is_same:
        raise _refusal(f"{kind} '{info.name}' has state, and has other fields or widths in the new program")
    return found


def _write(new: Forwarding, kind: p4r.Update.Type.ValueType, entity: p4r.Entity, now_ns: int) -> None:
    try:
        new.write(p4r.Update(type=kind, entity=entity), now_ns)
    except RequestError as error:
        raise _refusal(error.message) from error


def _replay(old: Forwarding, new: Forwarding, query: p4r.Entity, now_ns: int) -> Iterator[None]:
    for entity in old.read(query, now_ns):
        _write(new, p4r.Update.INSERT, entity, now_ns)
        yield


def _carry_table(
    old: Forwarding, new: Forwarding, info: TableInfo, twins: list[tuple[Table, Entry, Table, Entry]]
) -> Iterator[None]:
    """Write the entries of a table, and add what they became to `twins`."""
    table = old.pipeline.tables[info.name]
    queries = [(iter((table.default,)), True)] if _is_default_touched(old, table) else []
    if len(table):
        queries.append((iter(table), False))
    for entries, is_default in queries:
        new_info = _counterpart("table", info, new.info.tables)
        new_table = new.pipeline.tables[new_info.name]
        query = p4r.TableEntry(table_id=info.id, is_default_action=is_default)
        for entry, entity in zip(entries, old.tables.read(query, 0), strict=True):
            if is_default:
                if _is_default_set(old, table):
                    _check_action(info, new_info, entity)
                    _write(new, p4r.Update.MODIFY, entity, entry.last_hit_ns)
                twins.append((table, entry, new_table, new_table.default))
            elif entry.is_const:
                twins += _maybe_twin(table, entry, new_table)
            else:
                _check_action(info, new_info, entity)
                # The idle timer goes on from when the entry was hit last.
                _write(new, p4r.Update.INSERT, entity, entry.last_hit_ns)
                twins.append((table, entry, new_table, new_table.find(entry.match, entry.priority)))
            yield


def _maybe_twin(table: Table, entry: Entry, new_table: Table) -> list[tuple[Table, Entry, Table, Entry]]:
    try:
        return [(table, entry, new_table, new_table.find(entry.match, entry.priority))]
    except EntryNotFound:
        return []


def _is_default_set(old: Forwarding, table: Table) -> bool:
    """Whether a client has changed the default entry."""
    program = old.pipeline.program.tables[table.name]
    default = table.default
    return bool(
        (default.action, default.params) != (program.default_action, program.default_params)
        or default.metadata
        or default.controller_metadata
    )


def _is_default_touched(old: Forwarding, table: Table) -> bool:
    """Whether the default entry has anything to preserve."""
    return _is_default_set(old, table) or (table.has_counter and bool(table.default.packets or table.default.octets))


def _check_action(info: TableInfo, new_info: TableInfo, entity: p4r.Entity) -> None:
    action = info.actions[entity.table_entry.action.action.action_id]
    if new_info.actions.get(action.id) != action:
        raise _refusal(f"table '{info.name}' uses action '{action.name}', which it has no more, or otherwise")


def _copy_hits(table: Table, entry: Entry, new_table: Table, twin: Entry) -> None:
    if new_table.has_counter:
        twin.packets, twin.octets = entry.packets, entry.octets
    elif table.has_counter and (entry.packets or entry.octets):
        raise _refusal(f"the direct counter of table '{table.name}' is not zero, and is not in the new program")
    twin.last_hit_ns = entry.last_hit_ns


def _carry_cells(old: Forwarding, new: Forwarding) -> None:
    for counter in old.info.counters.values():
        source = old.pipeline.counters[counter.name]
        if any(source.packets) or any(source.octets):
            target = new.pipeline.counters[_counterpart("counter", counter, new.info.counters).name]
            _copy_cells(counter.name, source.packets, target.packets)
            _copy_cells(counter.name, source.octets, target.octets)
    for register in old.info.registers.values():
        values = old.pipeline.registers[register.name]
        if any(values):
            target_name = _counterpart("register", register, new.info.registers).name
            _copy_cells(register.name, values, new.pipeline.registers[target_name])


def _copy_cells(name: str, old: Cells, new: Cells) -> None:
    for index, value in enumerate(old):
        if value:
            if index >= len(new):
                raise _refusal(f"cell {index} of '{name}' is not zero, and beyond the {len(new)} of the new program")
            new[index] = value
