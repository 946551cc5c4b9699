"""The deparser as Python.

A packet whose headers are as they came goes out as it came. Of another one, the headers up to the last one that this
program ever rewrites are put together, and the rest of the packet, from `tail`, is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

from softswitch.program import ir
from softswitch.python_backend.context import Context

_VIEW_FROM_BYTES = 2048
"""From this size on, copying a packet twice costs more than a memoryview."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deparsing:
    """What the parser must note for the deparser.

    Attributes:
        emitted: the headers to put together.
        copied: those of them that are copied from the packet: their place in it is needed.
        marks_tail: headers behind which the rest of the packet may begin.
        dropped: headers that are not emitted at all: a packet that has one is changed.
        is_in_order: whether packets keep the order of their headers; otherwise each one is put together.
    """

    emitted: tuple[str, ...]
    copied: frozenset[str]
    marks_tail: frozenset[str]
    dropped: frozenset[str]
    is_in_order: bool


def plan_deparsing(context: Context) -> Deparsing:
    """How to deparse a program's packets."""
    order = context.program.deparser
    is_in_order = _is_in_order(context.program)
    rewritten = [at for at, name in enumerate(order) if context.layouts[name].is_rewritten]
    emitted = order[: max(rewritten, default=-1) + 1] if is_in_order else order
    dropped = frozenset(context.layouts) - frozenset(order)
    return Deparsing(
        emitted=emitted,
        copied=frozenset(name for name in emitted if not context.layouts[name].is_rewritten),
        marks_tail=frozenset(emitted) | dropped,
        dropped=dropped,
        is_in_order=is_in_order,
    )


def _is_in_order(program: ir.Program) -> bool:
    """Whether every path through the parser extracts headers in the order in which they are emitted.

    What is dropped, a header that is not emitted or bytes that are skipped, must come in front of all others.
    """
    if len(set(program.deparser)) < len(program.deparser):
        return False
    place = {name: at for at, name in enumerate(program.deparser)}
    furthest = dict.fromkeys(program.states, -1)
    for name, state in program.states.items():
        here = furthest[name]
        for step in state.steps:
            if not isinstance(step, ir.Extract | ir.Advance):
                continue
            at = place.get(step.header, -1) if isinstance(step, ir.Extract) else -1
            if at < here or at == here != -1:
                return False
            here = at
        for transition in state.transitions:
            if transition.next_state is not None:
                furthest[transition.next_state] = max(furthest[transition.next_state], here)
    return True


def add_deparser(context: Context, deparsing: Deparsing) -> None:
    """Add what makes the outgoing frame, `data`."""
    source, names = context.source, context.names
    with source.block("if changed"):
        source.line("pieces = []")
        for header in deparsing.emitted:
            with source.block(f"if {names.of('valid', header)}"):
                for piece in _pieces(context, header):
                    source.line(f"pieces.append({piece})")
        source.line(f"pieces.append(frame[tail:] if size < {_VIEW_FROM_BYTES} else memoryview(frame)[tail:])")
        source.line("data = b''.join(pieces)")
    with source.block("else"):
        source.line("data = bytes(frame)")


def _pieces(context: Context, header: str) -> Sequence[str]:
    layout, names = context.layouts[header], context.names
    if not layout.is_rewritten:
        return [f"frame[{names.of('from', header)}:{names.of('to', header)}]"]
    pieces = []
    if layout.pack_values:
        pack = context.bind(Struct(layout.pack_format).pack, "pack", header)
        pieces.append(f"{pack}({', '.join(layout.pack_values)})")
    if layout.header.varbit is not None:
        pieces.append(names(header, layout.header.varbit))
    return pieces
