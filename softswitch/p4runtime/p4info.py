"""The P4Info message as an index: what a client may name, by id (P4Runtime 1.5, "The P4Info Message")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from pentaflow.errors import ConfigurationError, UnsupportedPipelineError
from pentaflow.p4runtime import p4i, p4t
from softswitch.tables import MatchKind

PLACE = "P4Info"

_MATCH_KINDS: Mapping[int, MatchKind] = {
    p4i.MatchField.EXACT: MatchKind.EXACT,
    p4i.MatchField.LPM: MatchKind.LPM,
    p4i.MatchField.TERNARY: MatchKind.TERNARY,
    p4i.MatchField.RANGE: MatchKind.RANGE,
    p4i.MatchField.OPTIONAL: MatchKind.OPTIONAL,
}
_KINDS_WITH_PRIORITY = frozenset({MatchKind.TERNARY, MatchKind.RANGE, MatchKind.OPTIONAL})


class Scope(Enum):
    """Where a table may use an action."""

    TABLE_AND_DEFAULT = 0
    TABLE_ONLY = 1
    DEFAULT_ONLY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchFieldInfo:
    """A match field; `width` in bits."""

    id: int
    name: str
    width: int
    kind: MatchKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamInfo:
    """An action's parameter, or a field of a packet-in or packet-out header; `width` in bits."""

    id: int
    name: str
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionInfo:
    """An action; parameters in the order of their declaration."""

    id: int
    name: str
    params: tuple[ParamInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableInfo:
    """A table; `actions` and `scopes` by action id."""

    id: int
    name: str
    fields: tuple[MatchFieldInfo, ...]
    actions: Mapping[int, ActionInfo]
    scopes: Mapping[int, Scope]
    const_default: bool
    is_const: bool
    size: int
    has_counter: bool
    supports_idle_timeout: bool

    @property
    def needs_priority(self) -> bool:
        """Whether entries must have a priority (P4Runtime 1.5, "TableEntry")."""
        return any(field.kind in _KINDS_WITH_PRIORITY for field in self.fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterInfo:
    """An indirect counter with `size` cells."""

    id: int
    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterInfo:
    """A register of `size` cells of `bit<width>`."""

    id: int
    name: str
    size: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestInfo:
    """A digest of a struct, or of a tuple, of `bit<W>` members."""

    id: int
    name: str
    is_struct: bool
    widths: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketHeaderInfo:
    """A header annotated `@controller_header`, in front of the packets from or to the controller."""

    name: str
    fields: tuple[ParamInfo, ...]

    @property
    def width(self) -> int:
        """In bits; a whole number of bytes."""
        return sum(field.width for field in self.fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineInfo:
    """Everything that a client may name, by id."""

    tables: Mapping[int, TableInfo]
    counters: Mapping[int, CounterInfo]
    registers: Mapping[int, RegisterInfo]
    digests: Mapping[int, DigestInfo]
    packet_in: PacketHeaderInfo | None
    packet_out: PacketHeaderInfo | None


def index_p4info(p4info: p4i.P4Info) -> PipelineInfo:
    """Index a P4Info message.

    Raises:
        UnsupportedPipelineError: it declares something that the switch does not run.
        ConfigurationError: it contradicts itself.
    """
    _refuse_unsupported(p4info)
    _check_ids(p4info)
    actions = {action.preamble.id: _action(action) for action in p4info.actions}
    counted = {counter.direct_table_id for counter in p4info.direct_counters}
    headers = {header.preamble.name: _packet_header(header) for header in p4info.controller_packet_metadata}
    if unknown := headers.keys() - {"packet_in", "packet_out"}:
        raise UnsupportedPipelineError(PLACE, f"controller header '{min(unknown)}' is neither packet_in nor packet_out")
    return PipelineInfo(
        tables={table.preamble.id: _table(table, actions, counted) for table in p4info.tables},
        counters={
            counter.preamble.id: CounterInfo(id=counter.preamble.id, name=counter.preamble.name, size=counter.size)
            for counter in p4info.counters
        },
        registers={register.preamble.id: _register(register) for register in p4info.registers},
        digests={digest.preamble.id: _digest(digest, p4info.type_info) for digest in p4info.digests},
        packet_in=headers.get("packet_in"),
        packet_out=headers.get("packet_out"),
    )


def _refuse_unsupported(p4info: p4i.P4Info) -> None:
    named: Iterable[tuple[str, list[str]]] = (
        ("action profile", [profile.preamble.name for profile in p4info.action_profiles]),
        ("meter", [meter.preamble.name for meter in p4info.meters]),
        ("direct meter", [meter.preamble.name for meter in p4info.direct_meters]),
        ("value set", [value_set.preamble.name for value_set in p4info.value_sets]),
        ("extern", [extern.extern_type_name for extern in p4info.externs]),
        (
            "translated type",
            sorted(
                name
                for name, spec in p4info.type_info.new_types.items()
                if spec.WhichOneof("representation") == "translated_type"
            ),
        ),
        ("table property", [table.preamble.name for table in p4info.tables if table.HasField("other_properties")]),
        ("table implementation", [table.preamble.name for table in p4info.tables if table.implementation_id]),
    )
    for kind, names in named:
        if names:
            raise UnsupportedPipelineError(PLACE, f"{kind} '{names[0]}' is not supported")


def _check_ids(p4info: p4i.P4Info) -> None:
    preambles = [
        item.preamble
        for items in (
            p4info.tables,
            p4info.actions,
            p4info.counters,
            p4info.direct_counters,
            p4info.registers,
            p4info.digests,
        )
        for item in items
    ]
    seen: dict[int, str] = {}
    for preamble in preambles:
        if preamble.id == 0:
            raise ConfigurationError(PLACE, f"'{preamble.name}' has no id")
        if preamble.id in seen:
            raise ConfigurationError(
                PLACE, f"'{preamble.name}' and '{seen[preamble.id]}' have the same id {preamble.id}"
            )
        seen[preamble.id] = preamble.name


_Item = TypeVar("_Item", MatchFieldInfo, ParamInfo)


def _by_unique_id(items: Iterable[_Item], owner: str) -> tuple[_Item, ...]:
    result = tuple(items)
    if len({item.id for item in result}) != len(result):
        raise ConfigurationError(PLACE, f"'{owner}' has two members with one id")
    for item in result:
        if item.id == 0 or item.width <= 0:
            raise ConfigurationError(PLACE, f"'{item.name}' of '{owner}' has no id or no bit width")
    return result


def _params(
    params: Iterable[p4i.Action.Param] | Iterable[p4i.ControllerPacketMetadata.Metadata], owner: str
) -> tuple[ParamInfo, ...]:
    return _by_unique_id((ParamInfo(id=param.id, name=param.name, width=param.bitwidth) for param in params), owner)


def _action(action: p4i.Action) -> ActionInfo:
    name = action.preamble.name
    return ActionInfo(id=action.preamble.id, name=name, params=_params(action.params, name))


def _match_field(field: p4i.MatchField, table: str) -> MatchFieldInfo:
    kind = _MATCH_KINDS.get(field.match_type)
    if kind is None:
        shown = field.other_match_type or "unspecified"
        raise UnsupportedPipelineError(
            PLACE, f"match kind '{shown}' of '{field.name}' in table '{table}' is not supported"
        )
    return MatchFieldInfo(id=field.id, name=field.name, width=field.bitwidth, kind=kind)


def _table(table: p4i.Table, actions: Mapping[int, ActionInfo], counted: set[int]) -> TableInfo:
    name = table.preamble.name
    scopes: dict[int, Scope] = {}
    for ref in table.action_refs:
        if ref.id not in actions:
            raise ConfigurationError(PLACE, f"table '{name}' refers to action {ref.id}, which is not declared")
        if ref.scope not in {scope.value for scope in Scope}:
            raise UnsupportedPipelineError(
                PLACE, f"the scope of action '{actions[ref.id].name}' in table '{name}' is not supported"
            )
        scopes[ref.id] = Scope(ref.scope)
    return TableInfo(
        id=table.preamble.id,
        name=name,
        fields=_by_unique_id((_match_field(field, name) for field in table.match_fields), name),
        actions={action_id: actions[action_id] for action_id in scopes},
        scopes=scopes,
        const_default=table.const_default_action_id != 0,
        is_const=table.is_const_table,
        size=table.size,
        has_counter=table.preamble.id in counted,
        supports_idle_timeout=table.idle_timeout_behavior == p4i.Table.NOTIFY_CONTROL,
    )


def _packet_header(header: p4i.ControllerPacketMetadata) -> PacketHeaderInfo:
    info = PacketHeaderInfo(
        name=header.preamble.name,
        fields=_params(header.metadata, header.preamble.name),
    )
    if info.width % 8:
        raise ConfigurationError(PLACE, f"header '{info.name}' has {info.width} bits, not whole bytes")
    return info


def _bit_width(spec: p4t.P4DataTypeSpec, what: str) -> int:
    if spec.WhichOneof("type_spec") == "bitstring" and spec.bitstring.WhichOneof("type_spec") == "bit":
        return spec.bitstring.bit.bitwidth
    raise UnsupportedPipelineError(PLACE, f"{what} is not of type bit<W>, which is the only one supported")


def _register(register: p4i.Register) -> RegisterInfo:
    name = register.preamble.name
    width = _bit_width(register.type_spec, f"register '{name}'")
    return RegisterInfo(id=register.preamble.id, name=name, size=register.size, width=width)


def _digest(digest: p4i.Digest, types: p4t.P4TypeInfo) -> DigestInfo:
    name = digest.preamble.name
    spec = digest.type_spec
    members: list[p4t.P4DataTypeSpec]
    match spec.WhichOneof("type_spec"):
        case "struct":
            members = [member.type_spec for member in types.structs[spec.struct.name].members]
        case "tuple":
            members = list(spec.tuple.members)
        case other:
            raise UnsupportedPipelineError(PLACE, f"digest '{name}' of type '{other}' is not supported")
    return DigestInfo(
        id=digest.preamble.id,
        name=name,
        is_struct=spec.WhichOneof("type_spec") == "struct",
        widths=tuple(_bit_width(member, f"a member of digest '{name}'") for member in members),
    )
