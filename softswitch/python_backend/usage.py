"""Which fields and headers a program reads and writes: what the compiled code must keep in variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from softswitch.program import ir
from softswitch.program.ir import parts

FieldName = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Usage:
    """Fields as (header, field). A header is `changed` when its validity or a field may become other than parsed."""

    read: frozenset[FieldName]
    written: frozenset[FieldName]
    changed: frozenset[str]
    exits: bool


def usage(nodes: Iterable[object], headers: Mapping[str, ir.Header]) -> Usage:
    """What these parts of a program use."""
    read: set[FieldName] = set()
    written: set[FieldName] = set()
    copied: set[str] = set()
    toggled: set[str] = set()
    exits = False
    for node in (part for top in nodes for part in parts(top)):
        match node:
            case ir.FieldValue(header, field):
                read.add((header, field))
            case ir.Assign() | ir.RegisterRead() | ir.Hash() | ir.Checksum():
                written.add((node.target.header, node.target.field))
            case ir.AddHeader(header) | ir.RemoveHeader(header):
                toggled.add(header)
            case ir.CopyHeader(target, source):
                copied |= {target, source}
                read |= {(name, field) for name in (target, source) for field in headers[name].fields}
            case ir.MarkToDrop():
                written |= {(ir.METADATA, "egress_spec"), (ir.METADATA, "mcast_grp")}
            case ir.Exit():
                exits = True
            case _:
                pass
    written |= {(name, field) for name in copied for field in headers[name].fields}
    changed = {name for name, _ in written if not headers[name].is_metadata} | toggled | copied
    return Usage(frozenset(read), frozenset(written), frozenset(changed), exits)


def control_parts(program: ir.Program, block: ir.Block) -> list[object]:
    """A control block with the keys and actions of its tables."""
    nodes: list[object] = [block]
    for node in parts(block):
        if isinstance(node, ir.Apply):
            table = program.tables[node.table]
            nodes += [table.keys, tuple(action.body for action in table.actions.values())]
    return nodes


def parser_parts(program: ir.Program) -> list[object]:
    """The parser and the checksums that are verified behind it, whose targets are read, not written."""
    nodes: list[object] = [*program.states.values()]
    for checksum in program.verify_checksums:
        nodes += [checksum.target, checksum.calculation, checksum.condition]
    return nodes


def preserved_by_clones(program: ir.Program, block: ir.Block) -> dict[int, tuple[ir.FieldValue, ...]]:
    """The field lists of the clones that a control block may ask for, by number; empty when it never does."""
    nodes = (part for top in control_parts(program, block) for part in parts(top))
    return {node.number: node.preserved for node in nodes if isinstance(node, ir.Clone)}
