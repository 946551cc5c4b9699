"""P4Info is checked, not trusted: everything that the controller uses must be in the pipeline as it expects it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from controller.entries import (
    LEARN_DIGEST,
    LEARN_FIELDS,
    PACKET_IN_FIELDS,
    PACKET_OUT_FIELDS,
    TABLES,
    TRANSIT_REGISTERS,
    Kind,
    TableSpec,
)
from pentaflow.config import Configuration
from pentaflow.errors import ConfigurationError, PipelineMismatchError
from pentaflow.p4runtime import p4i


def check_p4info(p4info: p4i.P4Info, place: str) -> None:
    """Check tables, fields, widths, actions, parameters, digest and packet headers.

    Raises:
        PipelineMismatchError: names the first thing that is missing or different.
    """
    tables = {table.preamble.alias: table for table in p4info.tables}
    actions = {action.preamble.id: action for action in p4info.actions}
    for kind, spec in TABLES.items():
        if kind not in tables:
            raise PipelineMismatchError(place, f"there is no table {kind}")
        _check_table(tables[kind], spec, actions, place)
    headers = {header.preamble.alias: header for header in p4info.controller_packet_metadata}
    for name, fields in (("packet_in", PACKET_IN_FIELDS), ("packet_out", PACKET_OUT_FIELDS)):
        if name not in headers:
            raise PipelineMismatchError(place, f"there is no controller header {name}")
        found = {field.name: field.bitwidth for field in headers[name].metadata}
        _check_widths(found, fields, f"{place}: controller header {name}")
    if LEARN_DIGEST not in {digest.preamble.alias for digest in p4info.digests}:
        raise PipelineMismatchError(place, f"there is no digest {LEARN_DIGEST}")
    members = p4info.type_info.structs[LEARN_DIGEST].members
    widths = {member.name: member.type_spec.bitstring.bit.bitwidth for member in members}
    _check_widths(widths, LEARN_FIELDS, f"{place}: digest {LEARN_DIGEST}")


def check_capacity(p4info: p4i.P4Info, configuration: Configuration, place: str) -> None:
    """Check that each of the pipeline's tables holds what the configuration needs of it.

    A split bucket has one entry, as any other; stations are learnt until their tables are full (`station_capacity`).

    Raises:
        ConfigurationError: names the first table that has not enough room.
    """
    sizes = {table.preamble.alias: table.size for table in p4info.tables}
    vips = Counter(vip.version for vip in {vserver.vip for vserver in configuration.vservers})
    vservers = Counter(vserver.vip.version for vserver in configuration.vservers)
    needs = {
        Kind.SLOT: len(configuration.nodes) * configuration.controller.slots_per_node,
        Kind.BUCKET: sum(vserver.buckets for vserver in configuration.vservers),
        Kind.VSERVER: vservers[4],
        Kind.VSERVER_V6: vservers[6],
        Kind.ADMIT: vips.total(),
        Kind.ARP: vips[4] + 1,  # and the address that probes come from
        Kind.ND: vips[6] + 1,
    }
    for kind, need in needs.items():
        if need > sizes[kind]:
            raise ConfigurationError(place, f"{need} entries are needed in table {kind}, which holds {sizes[kind]}")


def station_capacity(p4info: p4i.P4Info) -> int:
    """How many stations a switch can learn: each takes an entry in `smac` and one in `dmac`.

    `dmac` has up to two more, of the MACs that probes come from.
    """
    sizes = {table.preamble.alias: table.size for table in p4info.tables}
    return min(sizes[Kind.SMAC], sizes[Kind.DMAC] - 2)


def transit_cells(p4info: p4i.P4Info) -> int:
    """Cells of each of the transit filter's two registers, or of the smaller one.

    Raises:
        PipelineMismatchError: there are none.
    """
    sizes = {register.preamble.alias: register.size for register in p4info.registers}
    for name in TRANSIT_REGISTERS:
        if name not in sizes:
            raise PipelineMismatchError("the pipeline", f"there is no register {name}")
    return min(sizes[name] for name in TRANSIT_REGISTERS)


def _check_table(table: p4i.Table, spec: TableSpec, actions: Mapping[int, p4i.Action], place: str) -> None:
    where = f"{place}: table {table.preamble.alias}"
    _check_widths({field.name: field.bitwidth for field in table.match_fields}, spec.fields, where)
    for field in table.match_fields:
        if field.match_type != p4i.MatchField.EXACT:
            kind = p4i.MatchField.MatchType.Name(field.match_type)
            raise PipelineMismatchError(where, f"{field.name} is matched {kind}, expected EXACT")
    settable = {
        actions[ref.id].preamble.alias: actions[ref.id]
        for ref in table.action_refs
        if ref.scope != p4i.ActionRef.DEFAULT_ONLY
    }
    for action, params in spec.actions().items():
        name = spec.p4_name(action)
        if name not in settable:
            raise PipelineMismatchError(where, f"has {_list(settable)}, expected action {name}")
        found = {param.name: param.bitwidth for param in settable[name].params}
        _check_widths(found, params, f"{where}: action {name}")
    if spec.idle_timeout and table.idle_timeout_behavior != p4i.Table.NOTIFY_CONTROL:
        raise PipelineMismatchError(where, "does not notify of idle entries")


def _check_widths(found: Mapping[str, int], expected: Mapping[str, int], where: str) -> None:
    for name, width in expected.items():
        if name not in found:
            raise PipelineMismatchError(where, f"has {_list(found)}, expected {name}")
        if found[name] != width:
            raise PipelineMismatchError(where, f"{name} has {found[name]} bits, expected {width}")
    if extra := found.keys() - expected.keys():
        raise PipelineMismatchError(where, f"has {_list(sorted(extra))}, which the controller does not set")


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"
