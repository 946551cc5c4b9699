"""What the parts of the compiler share: the program, what it uses, names, the source so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from softswitch.program import ir
from softswitch.python_backend.headers import Layout, layout
from softswitch.python_backend.source import Expressions, Names, Source
from softswitch.python_backend.usage import Usage, control_parts, parser_parts, usage
from softswitch.state import State

_RESERVED = ("now_ns",)
"""Variables of the compiled code that a field's could be called like; all of those have an underscore inside."""


@dataclass(frozen=True, slots=True)
class Context:
    """Shared by the compiler's parts; `environment` is what the compiled code finds as globals."""

    program: ir.Program
    state: State
    source: Source
    names: Names
    expressions: Expressions
    layouts: Mapping[str, Layout]
    parser: Usage
    ingress: Usage
    egress: Usage
    read: frozenset[tuple[str, str]]
    environment: dict[str, Any] = field(default_factory=dict)

    def std(self, name: str) -> str:
        """The variable of a field of the standard metadata."""
        return self.names(ir.METADATA, name)

    @property
    def tracks_length(self) -> bool:
        """Whether the egress pipeline looks at the packet's length, which headers added in ingress change."""
        return (ir.METADATA, "packet_length") in self.egress.read

    def is_kept(self, target: ir.FieldValue) -> bool:
        """Whether what is written to the field can ever be seen."""
        return (target.header, target.field) in self.read or target.header in self.layouts

    def bind(self, value: object, kind: str, *thing: str) -> str:
        """Make a value known to the compiled code; returns its name there."""
        name = self.names.of(kind, *thing)
        self.environment[name] = value
        return name


def make_context(program: ir.Program, state: State) -> Context:
    """The context in which a program is compiled."""
    names = Names(_RESERVED)
    parser = usage(parser_parts(program), program.headers)
    ingress = usage(control_parts(program, program.ingress), program.headers)
    egress = usage([*control_parts(program, program.egress), *program.update_checksums], program.headers)
    stages = (parser, ingress, egress)
    read = frozenset[tuple[str, str]]().union(*(stage.read for stage in stages))
    written = frozenset[tuple[str, str]]().union(*(stage.written for stage in stages))
    changed = frozenset[str]().union(*(stage.changed for stage in stages))
    layouts = {
        name: layout(
            header,
            [f for f in header.fields if (name, f) in read or (name, f) in written],
            name in changed,
            names,
        )
        for name, header in program.headers.items()
        if not header.is_metadata
    }
    read |= {(ir.METADATA, field) for field in ("egress_spec", "mcast_grp")}
    return Context(program, state, Source(), names, Expressions(names), layouts, parser, ingress, egress, read)
