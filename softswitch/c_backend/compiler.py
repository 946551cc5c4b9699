"""Compiles a program to one C function, `pf_process`: what `softswitch.python_backend` compiles to Python.

Fields are local variables. A header whose fields were not written is copied from the frame, another one is put
together from its variables; the rest of the frame is not copied at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from softswitch.c_backend.control import ControlCompiler
from softswitch.c_backend.expressions import NotNativeError, c_type
from softswitch.c_backend.layout import DigestLayout, TableLayout
from softswitch.c_backend.parser import ParserCompiler
from softswitch.c_backend.statements import Statements
from softswitch.c_backend.unit import Unit, make_unit
from softswitch.program import ir
from softswitch.python_backend.usage import preserved_by_clones
from softswitch.state import MAX_EGRESS_CLONES

_REPLICATION = 5
Clones = Mapping[int, Sequence[ir.FieldValue]]
Kept = Mapping[str, ir.FieldValue]
"""The fields that some clone keeps, by their names in `struct pf_clone`."""

_NS_PER_US = 1000
_TIMESTAMP_MASK = (1 << 48) - 1
_STORES = {8: "pf_put64", 4: "pf_put32", 2: "pf_put16"}
_INCLUDES = ("errno", "stdint", "stdlib", "string", "sys/socket", "sys/uio", "time")
_SIGNATURE = (
    "void pf_process(struct pf_state *state, u32 port, const u8 *frame, u32 size, u64 now_ns, struct pf_outputs *out)"
)

_CLONING_SIGNATURE = _SIGNATURE.replace("void pf_process", "static void pf_run").replace(
    "*out)", "*out, const struct pf_clone *clone)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A program as C, and how to talk to it: tables in the order of their numbers, digests likewise.

    `most_egress_clones` is how many copies clones of egress make of a packet at most, and of its ingress clone.
    """

    source: str
    tables: dict[str, TableLayout]
    digests: tuple[DigestLayout, ...]
    most_egress_clones: int


def part(name: str) -> str:
    """A file of this package."""
    return resources.files("softswitch.c_backend").joinpath(name).read_text(encoding="utf-8")


def compile_program(program: ir.Program) -> Compiled:
    """The program as C.

    Raises:
        NotNativeError: it has what only the Python back end runs.
    """
    unit = make_unit(program)
    head_bytes = sum(_most_bytes(program.headers[name]) for name in program.deparser)
    unit.line(f"#define PF_HEAD_BYTES {max(head_bytes, 1)}")
    unit.line("u32 pf_head_bytes(void) { return PF_HEAD_BYTES; }")
    clones, egress_clones = (preserved_by_clones(program, block) for block in (program.ingress, program.egress))
    kept = _preserved(clones, egress_clones)
    if clones or egress_clones:
        _declare_clone(unit, kept)
    if egress_clones:
        _declare_waiting(unit)
    with unit.block(_CLONING_SIGNATURE if clones else _SIGNATURE):
        _declare(unit)
        if clones or egress_clones:
            unit.line("struct pf_clone request = {0};")
        ParserCompiler(unit).add()
        if clones:
            _add_ingress_or_clone(unit, clones, kept)
        else:
            ControlCompiler(unit).add(program.ingress)
        _add_targets(unit, clones=bool(clones))
        if egress_clones:
            _add_copies_and_clones(unit, egress_clones, kept)
        else:
            _add_copies(unit)
    if clones:
        with unit.block(_SIGNATURE):
            unit.line("pf_run(state, port, frame, size, now_ns, out, 0);")
    includes = "#define _GNU_SOURCE\n" + "".join(f"#include <{name}.h>\n" for name in _INCLUDES)
    parts = [part(name) for name in ("declarations.h", "packet.h", "tables.h")]
    source = "\n".join((includes, *parts, unit.text(), part("batches.h")))
    return Compiled(
        source=source,
        tables=unit.tables,
        digests=tuple(unit.digests),
        most_egress_clones=(2 if clones else 1) * MAX_EGRESS_CLONES if egress_clones else 0,
    )


def _most_bytes(header: ir.Header) -> int:
    return header.max_bytes if header.varbit is not None else header.fixed_bytes


def _declare(unit: Unit) -> None:
    """All variables start at zero, but for what the switch knows of the packet."""
    known = {
        "ingress_port": "port",
        "packet_length": "size",
        "ingress_global_timestamp": _now(),
        "parser_error": str(unit.program.errors[ir.ParserError.NO_ERROR]),
    }
    unit.line("u64 position = 0, added = 0;")
    for header in unit.program.headers.values():
        for field, width in header.fields.items():
            if width <= 128:
                text = known.get(field, "0") if header.name == ir.METADATA else "0"
                unit.line(f"{c_type(width)} {unit.field(header.name, field)} = {text};")
        if not header.is_metadata:
            unit.line(
                f"u64 {unit.valid(header.name)} = 0, {unit.dirty(header.name)} = 0, {unit.place(header.name)} = 0;"
            )
        if header.varbit is not None:
            place, length = unit.varbit(header.name)
            unit.line(f"u64 {place} = 0, {length} = 0;")


def _now() -> str:
    return f"now_ns / {_NS_PER_US} & {_TIMESTAMP_MASK:#x}"


def _preserved(*clones: Clones) -> Kept:
    """The fields that some clone keeps."""
    fields = dict.fromkeys(field for of_block in clones for kept in of_block.values() for field in kept)
    return {f"kept{number}": field for number, field in enumerate(fields)}


def _declare_clone(unit: Unit, kept: Kept) -> None:
    """Add what a clone takes along."""
    members = "".join(f" {c_type(field.width)} {name};" for name, field in kept.items())
    unit.line(f"struct pf_clone {{ u32 session, list;{members} }};")


def _declare_waiting(unit: Unit) -> None:
    """Add the room in which clones of egress wait: too much for the stack; a packet's own clones use it one by one."""
    members = "".join(f" {kind} {name};" for name, kind in _packet_changed_in_egress(unit).items())
    unit.line(f"struct pf_waiting {{ struct pf_clone clone; const struct pf_group *group;{members} }};")
    unit.line(f"static _Thread_local struct pf_waiting pf_waiting[{MAX_EGRESS_CLONES}];")


def _add_ingress_or_clone(unit: Unit, clones: Clones, kept: Kept) -> None:
    """Add the ingress and the clone that it asks for; for a clone, its metadata instead.

    A clone is the same frame from its parser on, and goes out in front of the packet itself.
    """
    with unit.block("if (clone)"):
        _add_clone_metadata(unit, clones, kept, ir.INGRESS_CLONE)
    with unit.block("else"):
        ControlCompiler(unit).add(unit.program.ingress)
        with unit.block("if (request.session)"):
            _keep(unit, kept)
            unit.line("pf_run(state, port, frame, size, now_ns, out, &request);")


def _keep(unit: Unit, kept: Kept) -> None:
    for name, preserved in kept.items():
        unit.line(f"request.{name} = {unit.field(preserved.header, preserved.field)};")


def _add_clone_metadata(unit: Unit, clones: Clones, kept: Kept, instance_type: int) -> None:
    """Add the metadata that `clone` begins egress with."""
    for header in unit.program.headers.values():
        for field, width in header.fields.items() if header.is_metadata else ():
            if width <= 128:
                unit.line(f"{unit.field(header.name, field)} = 0;")
    for number, fields in clones.items():
        with unit.block(f"if (clone->list == {number})"):
            for name, preserved in kept.items():
                if preserved in fields:
                    unit.line(f"{unit.field(preserved.header, preserved.field)} = clone->{name};")
    if unit.has_std("instance_type"):
        unit.line(f"{unit.std('instance_type')} = {instance_type};")


def _add_targets(unit: Unit, *, clones: bool) -> None:
    """Add where the packet goes."""
    group, spec = unit.std("mcast_grp"), unit.std("egress_spec")
    unit.line(f"struct pf_replica one = {{(u32){spec}, 0}};")
    unit.line("const struct pf_replica *replicas = &one;")
    unit.line("u32 copies = 1;")
    if clones:
        with unit.block("if (clone)"):
            unit.line("const struct pf_group *session = state->groups[clone->session];")
            unit.line("if (!session) return;")
            unit.line("replicas = session->replicas;")
            unit.line("copies = session->count;")
    with unit.block(f"{'else ' if clones else ''}if ({group})"):
        unit.line(f"const struct pf_group *group = state->groups[{group} & 0xFFFF];")
        unit.line("if (!group) return;")
        unit.line("replicas = group->replicas;")
        unit.line("copies = group->count;")
        if unit.has_std("instance_type"):
            unit.line(f"{unit.std('instance_type')} = {_REPLICATION};")
    with unit.block(f"else if ({spec} == {ir.DROP_PORT})"):
        unit.line("return;")


def _add_copies(unit: Unit, kept: Kept | None = None) -> None:
    """Add what happens to each copy."""
    saved = _changed_in_egress(unit)
    for name, kind in saved.items():
        unit.line(f"const {kind} saved_{name} = {name};")
    with unit.block("for (u32 copy = 0; copy < copies; copy++)"):
        for name in saved:
            unit.line(f"{name} = saved_{name};")
        _add_egress(unit, kept)


def _add_copies_and_clones(unit: Unit, clones: Clones, kept: Kept) -> None:
    """Add what happens to each copy, then to the clones that egress asked for, and to theirs."""
    unit.line(f"u32 room = {MAX_EGRESS_CLONES}, waiting = 0;")
    with unit.block("for (u32 next = 0;; next++)"):
        _add_copies(unit, kept)
        unit.line("if (next == waiting) return;")
        unit.line("const struct pf_clone *clone = &pf_waiting[next].clone;")
        _add_clone_metadata(unit, clones, kept, ir.EGRESS_CLONE)
        for name in _packet_changed_in_egress(unit):
            unit.line(f"{name} = pf_waiting[next].{name};")
        unit.line("replicas = pf_waiting[next].group->replicas;")
        unit.line("copies = pf_waiting[next].group->count;")


def _add_egress_request(unit: Unit, kept: Kept) -> None:
    """Add the clone that egress asked for to those that wait."""
    with unit.block("if (request.session)"):
        unit.line("const struct pf_group *session = state->groups[request.session];")
        unit.line("if (session && session->count > room) *state->clones_dropped += session->count;")
        with unit.block("else if (session && session->count)"):
            unit.line("room -= session->count;")
            _keep(unit, kept)
            unit.line("pf_waiting[waiting].clone = request;")
            unit.line("pf_waiting[waiting].group = session;")
            for name in _packet_changed_in_egress(unit):
                unit.line(f"pf_waiting[waiting].{name} = {name};")
            unit.line("waiting++;")


def _changed_in_egress(unit: Unit) -> dict[str, str]:
    """The variables, with their types, that one copy's egress must not leave changed for the next."""
    headers = unit.program.headers
    names = {}
    for header, field in unit.egress.written & unit.egress.read:
        if headers[header].is_metadata:
            names[unit.field(header, field)] = c_type(headers[header].fields[field])
    return dict(sorted(names.items())) | _packet_changed_in_egress(unit)


def _packet_changed_in_egress(unit: Unit) -> dict[str, str]:
    """Those of them that are no metadata."""
    headers = unit.program.headers
    names = {"added": "u64"}
    for header in unit.egress.changed:
        names |= dict.fromkeys((unit.valid(header), unit.dirty(header), unit.place(header)), "u64")
        names |= {unit.field(header, f): c_type(width) for f, width in headers[header].fields.items() if width <= 128}
        if headers[header].varbit is not None:
            names |= dict.fromkeys(unit.varbit(header), "u64")
    return dict(sorted(names.items()))


def _add_egress(unit: Unit, kept: Kept | None) -> None:
    """Add what happens to one copy, whose clones keep what is `kept`; None when egress asks for none."""
    program, spec = unit.program, unit.std("egress_spec")
    for name, text in (
        ("egress_port", "replicas[copy].port"),
        ("egress_rid", "replicas[copy].instance"),
        ("egress_spec", "0"),
        ("egress_global_timestamp", _now()),
    ):
        if unit.has_std(name):
            unit.line(f"{unit.std(name)} = {text};")
    if (ir.METADATA, "packet_length") in unit.egress.read:
        unit.line(f"{unit.std('packet_length')} = size + added;")
    if kept is not None:
        unit.line("request.session = 0;")
    ControlCompiler(unit).add(program.egress)
    if kept is not None:
        _add_egress_request(unit, kept)
    unit.line(f"if ({spec} == {ir.DROP_PORT}) continue;")
    statements = Statements(unit)
    for checksum in program.update_checksums:
        statements.update_checksum(checksum)
    unit.line("struct pf_output *output = pf_output(out, PF_HEAD_BYTES);")
    unit.line("if (!output) continue;")
    unit.line("u8 *head = output->head;")
    for header in program.deparser:
        with unit.block(f"if ({unit.valid(header)})"):
            _emit(unit, program.headers[header])
    unit.line(f"output->port = (u32){unit.std('egress_port')};")
    unit.line("output->head_length = (u32)(head - output->head);")
    unit.line("output->tail = frame + position;")
    unit.line("output->tail_length = (u32)(size - position);")


def _emit(unit: Unit, header: ir.Header) -> None:
    """Add a header to the head: from the frame as it came, or from its variables."""
    varbit = "" if header.varbit is None else f" + {unit.varbit(header.name)[1]}"
    if header.name not in unit.changed:
        _copy(unit, unit.place(header.name), f"{header.fixed_bytes}{varbit}")
        return
    with unit.block(f"if ({unit.dirty(header.name)})"):
        _pack(unit, header)
        unit.line(f"head += {header.fixed_bytes};")
        if header.varbit is not None:
            _copy(unit, *unit.varbit(header.name))
    with unit.block("else"):
        _copy(unit, unit.place(header.name), f"{header.fixed_bytes}{varbit}")


def _copy(unit: Unit, place: str, length: str) -> None:
    unit.line(f"memcpy(head, frame + {place}, {length});")
    unit.line(f"head += {length};")


def _pack(unit: Unit, header: ir.Header) -> None:
    """Write the fields, by the runs of them that begin and end on byte boundaries."""
    start = bits = 0
    run: list[tuple[str, int]] = []
    for field, width in header.fields.items():
        run.append((unit.field(header.name, field), width))
        bits += width
        if (bits - start) % 8:
            continue
        size = (bits - start) // 8
        if size > 16:
            raise NotNativeError(f"fields of header '{header.name}' that are written over more than 16 bytes")
        kind, below, texts = c_type(8 * size), bits - start, []
        for name, field_width in run:
            below -= field_width
            texts.append(f"({kind}){name} << {below}" if below else f"({kind}){name}")
        with unit.block(""):
            unit.line(f"{kind} run = {' | '.join(texts)};")
            at = start // 8
            while size:
                chunk = next((c for c in _STORES if c <= size), 1)
                size -= chunk
                value = f"(u64)(run >> {8 * size})" if size else "(u64)run"
                unit.line(f"{_STORES[chunk]}(head + {at}, {value});" if chunk > 1 else f"head[{at}] = (u8){value};")
                at += chunk
        start, run = bits, []
