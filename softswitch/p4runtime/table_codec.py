"""P4Runtime table entries ↔ entries of a run-time table, strictly checked (P4Runtime 1.5, "TableEntry")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pentaflow.p4runtime import p4r
from softswitch.p4runtime.bytestrings import decode_bits, encode_bits
from softswitch.p4runtime.p4info import ActionInfo, MatchFieldInfo, Scope, TableInfo
from softswitch.p4runtime.status import Code, RequestError
from softswitch.tables import Entry, MatchKind, MatchValue, Table

KNOWN_ACTIONS = 4096
"""How many decoded actions a table remembers before it starts again."""

Decoder = Callable[[p4r.FieldMatch], MatchValue]


def _invalid(message: str) -> RequestError:
    return RequestError(Code.INVALID_ARGUMENT, message)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    """Where a match field goes: its place in the key, and what is there when the client omits it."""

    position: int
    info: MatchFieldInfo
    compiled_kind: MatchKind
    what: str

    @property
    def full_mask(self) -> int:
        return (1 << self.info.width) - 1

    @property
    def dont_care(self) -> MatchValue:
        match self.compiled_kind:
            case MatchKind.LPM | MatchKind.TERNARY:
                return (0, 0)
            case MatchKind.RANGE:
                return (0, self.full_mask)
            case MatchKind.EXACT | MatchKind.OPTIONAL:
                return None


class TableCodec:
    """Decodes and encodes the entries of one table."""

    def __init__(self, info: TableInfo, table: Table) -> None:
        self.info = info
        self._slots: Mapping[int, _Slot] = {
            field.id: _Slot(
                position=position,
                info=field,
                compiled_kind=compiled.kind,
                what=f"field '{field.name}' of table '{info.name}'",
            )
            for position, (field, compiled) in enumerate(zip(info.fields, table.fields, strict=True))
        }
        self._decoders: Mapping[int, tuple[int, Decoder]] = {
            field_id: (slot.position, _decoder(slot)) for field_id, slot in self._slots.items()
        }
        self._omitted: tuple[MatchValue, ...] = tuple(slot.dont_care for slot in self._slots.values())
        self._required = sum(1 << slot.position for slot in self._slots.values() if slot.info.kind is MatchKind.EXACT)
        self.needs_priority = info.needs_priority
        # Entries have few distinct actions; to decode one takes longer than to look it up. By `as_default`.
        self._known_actions: tuple[dict[bytes, tuple[str, tuple[int, ...]]], ...] = ({}, {})
        self._actions_by_name = {action.name: action for action in info.actions.values()}

    def decode_match(self, message: p4r.TableEntry) -> tuple[MatchValue, ...]:
        """Match values, in the order of the table's fields.

        Raises:
            RequestError: INVALID_ARGUMENT, or OUT_OF_RANGE for a byte string that does not fit.
        """
        values = list(self._omitted)
        seen = 0
        for field_match in message.match:
            field_id = field_match.field_id
            try:
                position, decode = self._decoders[field_id]
            except KeyError:
                raise _invalid(f"table '{self.info.name}' has no field {field_id}") from None
            bit = 1 << position
            if seen & bit:
                raise _invalid(f"{self._slots[field_id].what} is given twice")
            seen |= bit
            values[position] = decode(field_match)
        if missing := self._required & ~seen:
            name = self.info.fields[(missing & -missing).bit_length() - 1].name
            raise _invalid(f"exact field '{name}' of table '{self.info.name}' is missing")
        return tuple(values)

    def check_priority(self, priority: int) -> None:
        """Raises RequestError INVALID_ARGUMENT for a missing priority, and for one that is out of place."""
        if self.needs_priority:
            if priority <= 0:
                raise _invalid(f"table '{self.info.name}' needs a priority above 0, not {priority}")
        elif priority:
            raise _invalid(f"table '{self.info.name}' takes no priority, {priority} was given")

    def decode_action(self, message: p4r.TableAction, *, as_default: bool) -> tuple[str, tuple[int, ...]]:
        """Action name and parameters, in the order of their declaration.

        Raises:
            RequestError: INVALID_ARGUMENT; OUT_OF_RANGE for a value that does not fit; PERMISSION_DENIED for an
                action out of its scope.
        """
        memo = self._known_actions[as_default]
        encoded = message.SerializeToString()
        known = memo.get(encoded)
        if known is None:
            known = self._decode_action(message, as_default=as_default)
            if len(memo) >= KNOWN_ACTIONS:
                memo.clear()
            memo[encoded] = known
        return known

    def _decode_action(self, message: p4r.TableAction, *, as_default: bool) -> tuple[str, tuple[int, ...]]:
        kind = message.WhichOneof("type")
        if kind != "action":
            raise _invalid(f"table '{self.info.name}' needs an action, not {kind or 'an empty one'}")
        action = self.info.actions.get(message.action.action_id)
        if action is None:
            raise _invalid(f"table '{self.info.name}' has no action {message.action.action_id}")
        forbidden = Scope.TABLE_ONLY if as_default else Scope.DEFAULT_ONLY
        if self.info.scopes[action.id] is forbidden:
            where = "the default entry" if as_default else "an entry"
            raise RequestError(
                Code.PERMISSION_DENIED, f"action '{action.name}' may not be used in {where} of '{self.info.name}'"
            )
        return action.name, _decode_params(message.action, action)

    def encode_key(self, entry: Entry, message: p4r.TableEntry) -> None:
        """Set the fields that identify the entry."""
        message.table_id = self.info.id
        message.priority = entry.priority
        for slot, omitted, value in zip(self._slots.values(), self._omitted, entry.match, strict=True):
            if value != omitted:
                _encode_match(value, slot, message.match.add())

    def encode_action(self, entry: Entry, message: p4r.TableEntry) -> None:
        """Set the action and its parameters."""
        action = self._actions_by_name[entry.action]
        message.action.action.action_id = action.id
        for param, value in zip(action.params, entry.params, strict=True):
            message.action.action.params.add(param_id=param.id, value=encode_bits(value))


def _decoder(slot: _Slot) -> Decoder:
    """What decodes the values of one field."""
    width, what = slot.info.width, slot.what
    limit = 1 << width
    from_bytes = int.from_bytes

    def exact(message: p4r.FieldMatch) -> int:
        data = message.exact.value
        value = from_bytes(data, "big")
        # There are no data in a match of another kind, either.
        if not data or value >= limit:
            check_kind(message)
            return decode_bits(data, width, what)
        return value

    def lpm(message: p4r.FieldMatch) -> tuple[int, int]:
        check_kind(message)
        value, length = decode_bits(message.lpm.value, width, what), message.lpm.prefix_len
        if not 0 < length <= width:
            raise _invalid(
                f"{what} has prefix length {length}, 1 to {width} was expected (omit a field that does not matter)"
            )
        if value & (1 << width - length) - 1:
            raise _invalid(f"{what} has bits set after its prefix of {length} bits")
        return value, length

    def ternary(message: p4r.FieldMatch) -> tuple[int, int]:
        check_kind(message)
        value = decode_bits(message.ternary.value, width, what)
        mask = decode_bits(message.ternary.mask, width, what)
        if not mask:
            raise _invalid(f"{what} has an empty mask: omit a field that does not matter")
        if value & ~mask:
            raise _invalid(f"{what} has bits set that its mask leaves out")
        return value, mask

    def range_(message: p4r.FieldMatch) -> tuple[int, int]:
        check_kind(message)
        low = decode_bits(message.range.low, width, what)
        high = decode_bits(message.range.high, width, what)
        if low > high:
            raise _invalid(f"{what} has a range from {low} to {high}")
        if (low, high) == slot.dont_care:
            raise _invalid(f"{what} has a range of all values: omit a field that does not matter")
        return low, high

    def optional(message: p4r.FieldMatch) -> MatchValue:
        check_kind(message)
        value = decode_bits(message.optional.value, width, what)
        return value if slot.compiled_kind is MatchKind.OPTIONAL else (value, slot.full_mask)

    def check_kind(message: p4r.FieldMatch) -> None:
        given, wanted = message.WhichOneof("field_match_type"), slot.info.kind.value
        if given != wanted:
            raise _invalid(f"{what} is matched as {wanted}, not as {given or 'nothing'}")

    match slot.info.kind:
        case MatchKind.EXACT:
            return exact
        case MatchKind.LPM:
            return lpm
        case MatchKind.TERNARY:
            return ternary
        case MatchKind.RANGE:
            return range_
        case MatchKind.OPTIONAL:
            return optional


def _encode_match(value: MatchValue, slot: _Slot, message: p4r.FieldMatch) -> None:
    message.field_id = slot.info.id
    match slot.info.kind, value:
        case MatchKind.EXACT, int():
            message.exact.value = encode_bits(value)
        case MatchKind.LPM, (prefix, length):
            message.lpm.value = encode_bits(prefix)
            message.lpm.prefix_len = length
        case MatchKind.TERNARY, (masked, mask):
            message.ternary.value = encode_bits(masked)
            message.ternary.mask = encode_bits(mask)
        case MatchKind.RANGE, (low, high):
            message.range.low = encode_bits(low)
            message.range.high = encode_bits(high)
        case MatchKind.OPTIONAL, int():
            message.optional.value = encode_bits(value)
        case MatchKind.OPTIONAL, (wanted, _):
            message.optional.value = encode_bits(wanted)
        case _:
            raise AssertionError(f"{slot.what}: {value!r} is no {slot.info.kind.value} match")


def _decode_params(message: p4r.Action, action: ActionInfo) -> tuple[int, ...]:
    given: dict[int, bytes] = {}
    for param in message.params:
        if param.param_id in given:
            raise _invalid(f"parameter {param.param_id} of action '{action.name}' is given twice")
        given[param.param_id] = param.value
    values = []
    for info in action.params:
        data = given.pop(info.id, None)
        if data is None:
            raise _invalid(f"parameter '{info.name}' of action '{action.name}' is missing")
        values.append(decode_bits(data, info.width, f"parameter '{info.name}' of action '{action.name}'"))
    if given:
        raise _invalid(f"action '{action.name}' has no parameter {min(given)}")
    return tuple(values)
