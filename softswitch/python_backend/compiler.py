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
from softswitch.state import MAX_EGRESS_CLONES, Digest, Output, State

Clones = Mapping[int, Sequence[ir.FieldValue]]

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
    clones, egress_clones = (preserved_by_clones(program, block) for block in (program.ingress, program.egress))
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
        if egress_clones:
            source.line("waiting = []")
            source.line(f"room = {MAX_EGRESS_CLONES}")
            with source.block("while True"):
                _add_egress_of_targets(context, deparsing, egress_clones)
                with source.block("if not waiting"):
                    source.line("return outputs")
                _add_waiting_clone(context, egress_clones)
        else:
            _add_egress_of_targets(context, deparsing, egress_clones)
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
    with source.block(f"if {context.std('mcast_grp')}"):
        source.line(f"targets = {_groups(context)}.get({context.std('mcast_grp')}, ())")
        _save(context)
        if (ir.METADATA, "instance_type") in context.read:
            source.line(f"{context.std('instance_type')} = {_REPLICATION}")
    with source.block(f"elif {egress_spec} == {ir.DROP_PORT}"):
        source.line("return outputs")
    with source.block("else"):
        source.line(f"targets = (({egress_spec}, 0),)")
        if _changed_in_egress(context):
            source.line("saved = None")


def _preserved(context: Context, clones: Clones) -> list[str]:
    """The variables that some clone keeps."""
    return sorted({context.names(field.header, field.field) for fields in clones.values() for field in fields})


def _kept(context: Context, clones: Clones) -> str:
    """The values of what some clone keeps."""
    return f"({''.join(f'{name}, ' for name in _preserved(context, clones))})"


def _add_request(context: Context, clones: Clones) -> None:
    """Add the clone that ingress asked for: the same frame from its parser on, in front of the packet itself."""
    with context.source.block("if request"):
        context.source.line(f"outputs = process(port, frame, now_ns, (request, {_kept(context, clones)}))")


def _add_clone(context: Context, clones: Clones) -> None:
    """Add what a clone begins egress with instead of an ingress: its metadata and where it goes."""
    context.source.line("(session, number), kept = clone")
    _add_clone_metadata(context, clones, ir.INGRESS_CLONE)
    context.source.line(f"targets = {_groups(context)}.get(session, ())")
    _save(context)


def _add_clone_metadata(context: Context, clones: Clones, instance_type: int) -> None:
    """Add the metadata of a clone with the field list `number`, out of the values `kept`."""
    source = context.source
    metadata = {context.names(*field) for field in context.read if context.program.headers[field[0]].is_metadata}
    source.line(f"{' = '.join(sorted(metadata))} = 0")
    for list_number, fields in clones.items():
        if fields:
            own = {context.names(field.header, field.field) for field in fields}
            names = ", ".join(name if name in own else "_" for name in _preserved(context, clones))
            with source.block(f"if number == {list_number}"):
                source.line(f"{names}, = kept")
    if (ir.METADATA, "instance_type") in context.read:
        source.line(f"{context.std('instance_type')} = {instance_type}")


def _add_egress_request(context: Context, clones: Clones) -> None:
    """Add the clone that egress asked for to those that wait: they go through egress behind the packet's copies."""
    source = context.source
    dropped = context.bind(context.state.clones_dropped, "clones_dropped")
    with source.block("if request"):
        source.line(f"replicas = {_groups(context)}.get(request[0], ())")
        with source.block("if len(replicas) > room"):
            source.line(f"{dropped}[0] += len(replicas)")
        with source.block("elif replicas"):
            source.line("room -= len(replicas)")
            packet = "".join(f"{name}, " for name in _packet_changed_in_egress(context))
            source.line(f"waiting.append((replicas, request[1], {_kept(context, clones)}, ({packet})))")


def _add_waiting_clone(context: Context, clones: Clones) -> None:
    """Add what the first clone that waits begins egress with."""
    packet = _packet_changed_in_egress(context)
    context.source.line("targets, number, kept, packet = waiting.pop(0)")
    _add_clone_metadata(context, clones, ir.EGRESS_CLONE)
    if packet:
        context.source.line(f"{', '.join(packet)}, = packet")
    _save(context)


def _groups(context: Context) -> str:
    return context.bind(context.state.multicast_groups, "multicast_groups")


def _save(context: Context) -> None:
    saved = _changed_in_egress(context)
    if saved:
        context.source.line(f"saved = {', '.join(saved)},")


def _changed_in_egress(context: Context) -> list[str]:
    """The variables that one copy's egress must not leave changed for the next."""
    seen = context.egress.written & context.egress.read
    names = {context.names(*field) for field in seen if context.program.headers[field[0]].is_metadata}
    return sorted(names) + _packet_changed_in_egress(context)


def _packet_changed_in_egress(context: Context) -> list[str]:
    """Those of them that are no metadata."""
    names: set[str] = set()
    for header in context.egress.changed:
        names.add(context.names.of("valid", header))
        names.update(variable for variable, _ in context.layouts[header].variables)
    if context.egress.changed:
        names.add("changed")
    if context.tracks_length:
        names.add("added")
    return sorted(names)


def _add_egress_of_targets(context: Context, deparsing: Deparsing, clones: Clones) -> None:
    """Add what happens to all copies."""
    with context.source.block(f"for {context.std('egress_port')}, {context.std('egress_rid')} in targets"):
        _add_egress(context, deparsing, clones)


def _add_egress(context: Context, deparsing: Deparsing, clones: Clones) -> None:
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
    if clones:
        source.line("request = None")
    ControlCompiler(context).add(program.egress, exits=context.egress.exits)
    if clones:
        _add_egress_request(context, clones)
    if (ir.METADATA, "egress_spec") in context.egress.written:
        with source.block(f"if {egress_spec} == {ir.DROP_PORT}"):
            source.line("continue")
    statements = Statements(context)
    for checksum in program.update_checksums:
        statements.update_checksum(checksum)
    add_deparser(context, deparsing)
    source.line(f"outputs.append(new(Output, ({context.std('egress_port')}, data)))")
