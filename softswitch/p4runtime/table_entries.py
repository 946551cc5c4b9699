"""Writing and reading table entries, default entries and direct counters (P4Runtime 1.5, "TableEntry")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pentaflow.p4runtime import p4r
from softswitch.p4runtime.idle import IdleTimers
from softswitch.p4runtime.p4info import PipelineInfo
from softswitch.p4runtime.status import Code, RequestError
from softswitch.p4runtime.table_codec import TableCodec
from softswitch.tables import Entry, EntryExists, EntryNotFound, MatchValue, Table, TableFull

_INSERT, _MODIFY, _DELETE = p4r.Update.INSERT, p4r.Update.MODIFY, p4r.Update.DELETE
_MAX_INT64 = (1 << 63) - 1

Match = tuple[MatchValue, ...]


def _invalid(message: str) -> RequestError:
    return RequestError(Code.INVALID_ARGUMENT, message)


class TableEntries:
    """The entries of all tables that a client may name."""

    def __init__(self, info: PipelineInfo, tables: Mapping[str, Table], timers: IdleTimers) -> None:
        self._tables = {
            table.id: (TableCodec(table, tables[table.name]), tables[table.name]) for table in info.tables.values()
        }
        self._codecs = {table.name: codec for codec, table in self._tables.values()}
        self._timers = timers

    def _find(self, table_id: int) -> tuple[TableCodec, Table]:
        try:
            return self._tables[table_id]
        except KeyError:
            raise _invalid(f"there is no table with id {table_id}") from None

    def write(self, kind: p4r.Update.Type.ValueType, message: p4r.TableEntry, now_ns: int) -> None:
        """Apply an update.

        Raises:
            RequestError: with the code that the specification names; nothing was changed.
        """
        codec, table = self._find(message.table_id)
        if message.is_const:
            raise _invalid("is_const is for reading only")
        if message.is_default_action:
            self._write_default(kind, message, codec, table)
            return
        if table.is_const and kind != _MODIFY:
            raise RequestError(Code.PERMISSION_DENIED, f"the entries of table '{table.name}' are constant")
        if kind != _DELETE:
            _check_attributes(message, table)
        match = codec.decode_match(message)
        priority = message.priority
        codec.check_priority(priority)
        try:
            if kind == _INSERT:
                self._insert(message, codec, table, match, priority, now_ns)
            elif kind == _MODIFY:
                self._modify(message, codec, table, match, now_ns)
            else:
                self._delete(table, match, priority)
        except EntryExists:
            raise RequestError(Code.ALREADY_EXISTS, f"table '{table.name}' has this entry already") from None
        except EntryNotFound:
            raise RequestError(Code.NOT_FOUND, f"table '{table.name}' has no such entry") from None
        except TableFull:
            raise RequestError(
                Code.RESOURCE_EXHAUSTED, f"table '{table.name}' is full: it holds {table.size} entries"
            ) from None

    def _insert(
        self, message: p4r.TableEntry, codec: TableCodec, table: Table, match: Match, priority: int, now_ns: int
    ) -> None:
        if not table.fields:
            raise _invalid(f"table '{table.name}' has no key: it has a default entry only")
        action, params = codec.decode_action(message.action, as_default=False)
        entry = Entry(
            match=match,
            priority=priority,
            action=action,
            params=params,
            idle_timeout_ns=message.idle_timeout_ns,
            controller_metadata=message.controller_metadata,
            metadata=message.metadata,
        )
        table.insert(entry, now_ns)
        _set_counter(entry, message)
        if entry.idle_timeout_ns:
            self._timers.arm(table, entry, now_ns)

    def _modify(self, message: p4r.TableEntry, codec: TableCodec, table: Table, match: Match, now_ns: int) -> None:
        entry = table.find(match, message.priority)
        if table.is_const or entry.is_const:
            if message.HasField("action"):
                raise RequestError(
                    Code.PERMISSION_DENIED, f"this entry of table '{table.name}' is constant: leave out its action"
                )
        else:
            action, params = entry.action, entry.params
            if message.HasField("action"):
                action, params = codec.decode_action(message.action, as_default=False)
            table.modify(
                Entry(
                    match=match,
                    priority=message.priority,
                    action=action,
                    params=params,
                    idle_timeout_ns=message.idle_timeout_ns,
                    controller_metadata=message.controller_metadata,
                    metadata=message.metadata,
                ),
                now_ns,
            )
            self._timers.arm(table, entry, now_ns)
        _set_counter(entry, message)

    def _delete(self, table: Table, match: Match, priority: int) -> None:
        entry = table.find(match, priority)
        if entry.is_const:
            raise RequestError(Code.PERMISSION_DENIED, f"this entry of table '{table.name}' is constant")
        table.delete(match, priority)
        self._timers.disarm(entry)

    def _write_default(
        self, kind: p4r.Update.Type.ValueType, message: p4r.TableEntry, codec: TableCodec, table: Table
    ) -> None:
        if kind != _MODIFY:
            raise _invalid(f"the default entry of table '{table.name}' can only be modified")
        _check_default_key(message, table)
        _check_attributes(message, table)
        if codec.info.const_default:
            raise RequestError(Code.PERMISSION_DENIED, f"the default entry of table '{table.name}' is constant")
        if not message.HasField("action"):
            table.reset_default()
            return
        action, params = codec.decode_action(message.action, as_default=True)
        before = table.default
        table.set_default(action, params)
        table.default.packets, table.default.octets = before.packets, before.octets
        table.default.controller_metadata = message.controller_metadata
        table.default.metadata = message.metadata
        _set_counter(table.default, message)

    def read(self, query: p4r.TableEntry, now_ns: int) -> Iterator[p4r.Entity]:
        """The entries that a query selects (P4Runtime 1.5, "TableEntry: Wildcard Reads").

        Raises:
            RequestError: INVALID_ARGUMENT before the first entry.
        """
        if query.table_id:
            codec, table = self._find(query.table_id)
            _check_readable(query, table)
            entries = _select(query, codec, table)
            return (_encode(entry, query, codec, table, now_ns) for entry in entries)
        if (
            query.match
            or query.priority
            or query.HasField("action")
            or query.controller_metadata
            or query.metadata
            or query.is_default_action
        ):
            raise _invalid("a query for all tables (table_id 0) can have no other filter")
        return (
            _encode(entry, query, codec, table, now_ns) for codec, table in self._tables.values() for entry in table
        )

    def write_counter(self, kind: p4r.Update.Type.ValueType, message: p4r.DirectCounterEntry) -> None:
        """Set the direct counter of an entry (P4Runtime 1.5, "DirectCounterEntry").

        Raises:
            RequestError: with the code that the specification names; nothing was changed.
        """
        if kind != _MODIFY:
            raise _invalid("a direct counter comes and goes with its table entry: it can only be modified")
        _, table, entry = self._counted(message.table_entry)
        if entry is None:
            raise RequestError(Code.NOT_FOUND, f"table '{table.name}' has no such entry")
        if message.HasField("data"):
            check_counter_data(message.data)
            entry.packets, entry.octets = message.data.packet_count, message.data.byte_count

    def read_counters(self, query: p4r.DirectCounterEntry) -> Iterator[p4r.Entity]:
        """Direct counters: of all tables for table_id 0, of one table without a match, or of one entry.

        Raises:
            RequestError: INVALID_ARGUMENT, or NOT_FOUND, before the first entry.
        """
        key = query.table_entry
        if not key.table_id:
            return (
                _encode_counter(entry, codec)
                for codec, table in self._tables.values()
                if table.has_counter
                for entry in table
            )
        if key.match or key.priority or key.is_default_action:
            codec, table, entry = self._counted(key)
            if entry is None:
                raise RequestError(Code.NOT_FOUND, f"table '{table.name}' has no such entry")
            return iter((_encode_counter(entry, codec, is_default=key.is_default_action),))
        codec, table = self._find_counted(key.table_id)
        return (_encode_counter(entry, codec) for entry in table)

    def _find_counted(self, table_id: int) -> tuple[TableCodec, Table]:
        codec, table = self._find(table_id)
        if not table.has_counter:
            raise _invalid(f"table '{table.name}' has no direct counter")
        return codec, table

    def _counted(self, key: p4r.TableEntry) -> tuple[TableCodec, Table, Entry | None]:
        codec, table = self._find_counted(key.table_id)
        if key.is_default_action:
            _check_default_key(key, table)
            return codec, table, table.default
        match = codec.decode_match(key)
        codec.check_priority(key.priority)
        try:
            return codec, table, table.find(match, key.priority)
        except EntryNotFound:
            return codec, table, None

    def idle_notice(self, table: Table, entry: Entry) -> p4r.TableEntry:
        """The entry as an idle-timeout notification names it."""
        message = p4r.TableEntry()
        self._codecs[table.name].encode_key(entry, message)
        _encode_kept(entry, message)
        return message


def check_counter_data(data: p4r.CounterData) -> None:
    """Raises RequestError INVALID_ARGUMENT for a negative count."""
    if data.packet_count < 0 or data.byte_count < 0:
        raise _invalid(f"a counter can't be {min(data.packet_count, data.byte_count)}")


def counter_data(packets: int, octets: int) -> p4r.CounterData:
    """A counter's value; it wraps where the message's signed 64 bits end."""
    return p4r.CounterData(packet_count=packets & _MAX_INT64, byte_count=octets & _MAX_INT64)


def _check_default_key(message: p4r.TableEntry, table: Table) -> None:
    if message.match or message.priority:
        raise _invalid(f"the default entry of table '{table.name}' has neither match nor priority")
    if message.idle_timeout_ns or message.HasField("time_since_last_hit"):
        raise _invalid(f"the default entry of table '{table.name}' has no idle timeout")


def _check_attributes(message: p4r.TableEntry, table: Table) -> None:
    if timeout_ns := message.idle_timeout_ns:
        if not table.supports_idle_timeout:
            raise _invalid(f"table '{table.name}' has no idle timeouts")
        if timeout_ns < 0:
            raise _invalid(f"an idle timeout of {timeout_ns} ns is in the past")
    if message.HasField("time_since_last_hit"):
        raise _invalid("time_since_last_hit is for reading only")
    if message.HasField("counter_data"):
        if not table.has_counter:
            raise _invalid(f"table '{table.name}' has no direct counter")
        check_counter_data(message.counter_data)
    if message.HasField("meter_config") or message.HasField("meter_counter_data"):
        raise _invalid(f"table '{table.name}' has no direct meter")


def _set_counter(entry: Entry, message: p4r.TableEntry) -> None:
    if message.HasField("counter_data"):
        entry.packets, entry.octets = message.counter_data.packet_count, message.counter_data.byte_count


def _check_readable(query: p4r.TableEntry, table: Table) -> None:
    if query.HasField("time_since_last_hit") and not table.supports_idle_timeout:
        raise _invalid(f"table '{table.name}' has no idle timeouts")
    if query.HasField("counter_data") and not table.has_counter:
        raise _invalid(f"table '{table.name}' has no direct counter")
    if query.HasField("meter_config") or query.HasField("meter_counter_data"):
        raise _invalid(f"table '{table.name}' has no direct meter")


def _select(query: p4r.TableEntry, codec: TableCodec, table: Table) -> Iterator[Entry]:
    action = None
    if query.HasField("action"):
        info = codec.info.actions.get(query.action.action.action_id)
        if info is None or query.action.action.params:
            raise _invalid(f"a query of table '{table.name}' can filter by one of its action ids, nothing else")
        action = info.name
    entries: Iterator[Entry]
    if query.is_default_action:
        _check_default_key(query, table)
        entries = iter((table.default,))
    elif query.match:
        match = codec.decode_match(query)
        if codec.needs_priority and not query.priority:
            entries = (entry for entry in table if entry.match == match)
        else:
            codec.check_priority(query.priority)
            entries = _maybe_one(table, match, query.priority)
    else:
        entries = iter(table)
    return (
        entry
        for entry in entries
        if (not query.priority or entry.priority == query.priority)
        and (action is None or entry.action == action)
        and (not query.controller_metadata or entry.controller_metadata == query.controller_metadata)
        and (not query.metadata or entry.metadata == query.metadata)
    )


def _maybe_one(table: Table, match: Match, priority: int) -> Iterator[Entry]:
    try:
        return iter((table.find(match, priority),))
    except EntryNotFound:
        return iter(())


def _encode_kept(entry: Entry, message: p4r.TableEntry) -> None:
    if entry.controller_metadata:
        message.controller_metadata = entry.controller_metadata
    if entry.metadata:
        message.metadata = entry.metadata
    if entry.idle_timeout_ns:
        message.idle_timeout_ns = entry.idle_timeout_ns


def _encode(entry: Entry, query: p4r.TableEntry, codec: TableCodec, table: Table, now_ns: int) -> p4r.Entity:
    entity = p4r.Entity()
    message = entity.table_entry
    if entry is table.default:
        message.table_id = codec.info.id
        message.is_default_action = True
    else:
        codec.encode_key(entry, message)
        message.is_const = table.is_const or entry.is_const
        if table.supports_idle_timeout and query.HasField("time_since_last_hit"):
            message.time_since_last_hit.elapsed_ns = max(0, now_ns - entry.last_hit_ns)
    codec.encode_action(entry, message)
    _encode_kept(entry, message)
    if table.has_counter and query.HasField("counter_data"):
        message.counter_data.CopyFrom(counter_data(entry.packets, entry.octets))
    return entity


def _encode_counter(entry: Entry, codec: TableCodec, *, is_default: bool = False) -> p4r.Entity:
    entity = p4r.Entity()
    message = entity.direct_counter_entry
    if is_default:
        message.table_entry.table_id = codec.info.id
        message.table_entry.is_default_action = True
    else:
        codec.encode_key(entry, message.table_entry)
    message.data.CopyFrom(counter_data(entry.packets, entry.octets))
    return entity
