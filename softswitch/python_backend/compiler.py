"""Compiles a program to one straight-line Python function.

Fields are local variables, tables are dictionary lookups, actions stand where they are applied. The function keeps to
what `simple_switch` does: parser; ingress; drop, unicast or multicast; egress and deparser for each copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from softswitch.program import ir
from softswitch.python_backend.context import Context, make_context
from softswitch.python_backend.control import ControlCompiler
from softswitch.python_backend.deparser import Deparsing, add_deparser, plan_deparsing
from softswitch.python_backend.parser import ParserCompiler
from softswitch.python_backend.statements import Statements
from softswitch.python_backend.usage import preserved_by_clones
from softswitch.state import Digest, Output, State

_REPLICATION = 5
"""The `instance_type` of copies that multicast makes, as BMv2 numbers it."""

_NS_PER_US = 1000
_TIMESTAMP_MASK = (1 << 48) - 1


def compile_program(program: ir.Program, state: State) -> tuple[str, dict[str, Any]]:
    """The program as the source of a function `process(port, frame, now_ns)`, and the globals that it needs."""
    context = make_context(program, state)
    deparsing = plan_deparsing(context)
    context.environment.update({"Output": Output, "Digest": Digest, "new": tuple.__new__})
    source = context.source
    clones = preserved_by_clones(program)
    with source.block(f"def process(port, frame, now_ns{', clone=None' if clones else ''})"):
        source.line("size = len(frame)")
        _add_initial_values(context, deparsing)
        ParserCompiler(context, deparsing).add()
        source.line("outputs = []")
        if clones:
            with source.block("if clone"):
                _add_clone(context, clones)
            with source.block("else"):
                source.line("request = None")
                ControlCompiler(context).add(program.ingress, exits=context.ingress.exits)
                _add_request(context, clones)
                _add_targets(context)
        else:
            ControlCompiler(context).add(program.ingress, exits=context.ingress.exits)
            _add_targets(context)
        with source.block(f"for {context.std('egress_port')}, {context.std('egress_rid')} in targets"):
            _add_egress(context, deparsing)
        source.line("return outputs")
    return source.text(), context.environment


def _add_initial_values(context: Context, deparsing: Deparsing) -> None:
    """All variables start at zero, as P4 programs for BMv2 expect, but for what the switch knows of the packet."""
    known = {
        "ingress_port": "port",
        "packet_length": "size",
        "ingress_global_timestamp": _now(),
        "parser_error": str(context.program.errors[ir.ParserError.NO_ERROR]),
    }
    variables = {"tail": "0", "changed": "0" if deparsing.is_in_order else "1"}
    if context.tracks_length:
        variables["added"] = "0"
    for header, field in sorted(context.read):
        if context.program.headers[header].is_metadata:
            text = known.get(field, "0") if header == ir.METADATA else "0"
            variables[context.names(header, field)] = text
    for header, layout in context.layouts.items():
        variables[context.names.of("valid", header)] = "0"
        variables.update(layout.variables)
    by_text: dict[str, list[str]] = {}
    for name, text in variables.items():
        by_text.setdefault(text, []).append(name)
    for text, names in by_text.items():
        context.source.line(f"{' = '.join(names)} = {text}")


def _now() -> str:
    return f"now_ns // {_NS_PER_US} & {_TIMESTAMP_MASK:#x}"


def _add_targets(context: Context) -> None:
    """Add where the packet goes: (port, replication id) pairs."""
    source, egress_spec = context.source, context.std("egress_spec")
    groups = context.bind(context.state.multicast_groups, "multicast_groups")
    saved = _changed_in_egress(context)
    with source.block(f"if {context.std('mcast_grp')}"):
        source.line(f"targets = {groups}.get({context.std('mcast_grp')}, ())")
        if saved:
            source.line(f"saved = {', '.join(saved)},")
        if (ir.METADATA, "instance_type") in context.read:
            source.line(f"{context.std('instance_type')} = {_REPLICATION}")
    with source.block(f"elif {egress_spec} == {ir.DROP_PORT}"):
        source.line("return outputs")
    with source.block("else"):
        source.line(f"targets = (({egress_spec}, 0),)")
        if saved:
            source.line("saved = None")


def _preserved(context: Context, clones: Mapping[int, Sequence[ir.FieldValue]]) -> list[str]:
    """The variables that some clone keeps."""
    return sorted({context.names(field.header, field.field) for fields in clones.values() for field in fields})


def _add_request(context: Context, clones: Mapping[int, Sequence[ir.FieldValue]]) -> None:
    """Add the clone that ingress asked for: the same frame from its parser on, in front of the packet itself."""
    with context.source.block("if request"):
        kept = "".join(f"{name}, " for name in _preserved(context, clones))
        context.source.line(f"outputs = process(port, frame, now_ns, (request, ({kept})))")


def _add_clone(context: Context, clones: Mapping[int, Sequence[ir.FieldValue]]) -> None:
    """Add what a clone begins egress with instead of an ingress: its metadata and where it goes."""
    source = context.source
    metadata = {context.names(*field) for field in context.read if context.program.headers[field[0]].is_metadata}
    source.line(f"{' = '.join(sorted(metadata))} = 0")
    for number, fields in clones.items():
        if fields:
            own = {context.names(field.header, field.field) for field in fields}
            names = ", ".join(name if name in own else "_" for name in _preserved(context, clones))
            with source.block(f"if clone[0][1] == {number}"):
                source.line(f"{names}, = clone[1]")
    if (ir.METADATA, "instance_type") in context.read:
        source.line(f"{context.std('instance_type')} = {ir.INGRESS_CLONE}")
    source.line(f"targets = {context.bind(context.state.multicast_groups, 'multicast_groups')}.get(clone[0][0], ())")
    saved = _changed_in_egress(context)
    if saved:
        source.line(f"saved = {', '.join(saved)},")


def _changed_in_egress(context: Context) -> list[str]:
    """The variables that one copy's egress must not leave changed for the next."""
    seen = context.egress.written & context.egress.read
    names = {context.names(*field) for field in seen if context.program.headers[field[0]].is_metadata}
    for header in context.egress.changed:
        names.add(context.names.of("valid", header))
        names.update(variable for variable, _ in context.layouts[header].variables)
    if context.egress.changed:
        names.add("changed")
    if context.tracks_length:
        names.add("added")
    return sorted(names)


def _add_egress(context: Context, deparsing: Deparsing) -> None:
    """Add what happens to one copy."""
    source, program, egress_spec = context.source, context.program, context.std("egress_spec")
    saved = _changed_in_egress(context)
    if saved:
        with source.block("if saved"):
            source.line(f"{', '.join(saved)}, = saved")
    source.line(f"{egress_spec} = 0")
    if context.tracks_length:
        source.line(f"{context.std('packet_length')} = size + added")
    if (ir.METADATA, "egress_global_timestamp") in context.egress.read:
        source.line(f"{context.std('egress_global_timestamp')} = {_now()}")
    ControlCompiler(context).add(program.egress, exits=context.egress.exits)
    if (ir.METADATA, "egress_spec") in context.egress.written:
        with source.block(f"if {egress_spec} == {ir.DROP_PORT}"):
            source.line("continue")
    statements = Statements(context)
    for checksum in program.update_checksums:
        statements.update_checksum(checksum)
    add_deparser(context, deparsing)
    source.line(f"outputs.append(new(Output, ({context.std('egress_port')}, data)))")
