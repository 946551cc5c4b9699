"""Whether a P4Info and a compiled pipeline describe the same program."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pentaflow.errors import ConfigurationError
from softswitch.p4runtime.p4info import PLACE, ActionInfo, PipelineInfo, TableInfo
from softswitch.pipeline import IndirectCounter
from softswitch.state import Cells
from softswitch.tables import MatchKind, Table


def check_agreement(
    info: PipelineInfo,
    *,
    tables: Mapping[str, Table],
    counters: Mapping[str, IndirectCounter],
    registers: Mapping[str, Cells],
) -> None:
    """Compare every table, field, width, action, parameter and array of the two.

    Raises:
        ConfigurationError: the first difference, by name.
    """
    _same_names("table", {table.name for table in info.tables.values()}, _visible(tables))
    for table_info in info.tables.values():
        _check_table(table_info, tables[table_info.name])
    _same_names("counter", {counter.name for counter in info.counters.values()}, counters)
    for counter in info.counters.values():
        if counter.size != counters[counter.name].size:
            raise _differ(f"counter '{counter.name}'", "cells", counter.size, counters[counter.name].size)
    _same_names("register", {register.name for register in info.registers.values()}, registers)
    for register in info.registers.values():
        if register.size != len(registers[register.name]):
            raise _differ(f"register '{register.name}'", "cells", register.size, len(registers[register.name]))


def _visible(tables: Mapping[str, Table]) -> set[str]:
    """Tables that a client should see: the compiler makes keyless ones with a constant action out of statements."""
    return {name for name, table in tables.items() if table.fields or not table.default_is_const}


def _same_names(kind: str, in_p4info: Collection[str], in_pipeline: Collection[str]) -> None:
    if missing := set(in_p4info) - set(in_pipeline):
        raise ConfigurationError(PLACE, f"{kind} '{min(missing)}' is not in the device configuration")
    if missing := set(in_pipeline) - set(in_p4info):
        raise ConfigurationError(PLACE, f"{kind} '{min(missing)}' of the device configuration is missing")


def _differ(what: str, attribute: str, in_p4info: object, in_pipeline: object) -> ConfigurationError:
    return ConfigurationError(
        PLACE, f"{what} has {attribute} {in_p4info}, but {in_pipeline} in the device configuration"
    )


def _check_table(info: TableInfo, table: Table) -> None:
    what = f"table '{info.name}'"
    if len(info.fields) != len(table.fields):
        raise _differ(what, "fields", len(info.fields), len(table.fields))
    for declared, compiled in zip(info.fields, table.fields, strict=True):
        field = f"field '{declared.name}' of {what}"
        if declared.name != compiled.name:
            raise _differ(field, "name", declared.name, compiled.name)
        if declared.width != compiled.width:
            raise _differ(field, "bit width", declared.width, compiled.width)
        # BMv2's format has no optional match: p4c writes a ternary one.
        kinds = {MatchKind.OPTIONAL, MatchKind.TERNARY} if declared.kind is MatchKind.OPTIONAL else {declared.kind}
        if compiled.kind not in kinds:
            raise _differ(field, "match kind", declared.kind.value, compiled.kind.value)
    _same_names(f"an action of {what},", {action.name for action in info.actions.values()}, table.actions)
    for action in info.actions.values():
        _check_action(action, table.actions[action.name])
    facts = (
        ("constant entries", info.is_const, table.is_const),
        ("a constant default action", info.const_default, table.default_is_const),
        ("a direct counter", info.has_counter, table.has_counter),
        ("idle timeouts", info.supports_idle_timeout, table.supports_idle_timeout),
        # For constant entries p4c writes their number into the device configuration.
        ("size", info.size, info.size if info.is_const else table.size),
    )
    for attribute, declared_fact, compiled_fact in facts:
        if declared_fact != compiled_fact:
            raise _differ(what, attribute, declared_fact, compiled_fact)


def _check_action(info: ActionInfo, widths: tuple[int, ...]) -> None:
    declared = tuple(param.width for param in info.params)
    if declared != widths:
        raise _differ(f"action '{info.name}'", "parameter widths", declared, widths)
