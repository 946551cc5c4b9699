"""The C source in the making, and what its parts share: names, numbers, layouts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from softswitch.c_backend.expressions import Expressions, NotNativeError, c_type
from softswitch.c_backend.layout import DigestLayout, TableLayout, table_layout
from softswitch.program import ir
from softswitch.python_backend.usage import Usage, control_parts, parser_parts, usage


@dataclass(slots=True)
class Unit:
    """One program's C. Names carry a number, so that no two are the same and none is a word of C."""

    program: ir.Program
    tables: dict[str, TableLayout]
    numbers: dict[str, dict[str, int]]
    egress: Usage
    changed: frozenset[str]
    digests: list[DigestLayout] = field(default_factory=list)
    _lines: list[str] = field(default_factory=list)
    _names: dict[tuple[str, ...], str] = field(default_factory=dict)
    _depth: int = 0
    _labels: int = 0

    def line(self, text: str) -> None:
        """Add a line."""
        self._lines.append("    " * self._depth + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Add `head {`, what is added inside, and `}`."""
        self.line(f"{head} {{".lstrip())
        self._depth += 1
        yield
        self._depth -= 1
        self.line("}")

    def text(self) -> str:
        """All lines."""
        return "\n".join(self._lines) + "\n"

    def label(self, stem: str) -> str:
        """A name of its own for a label or a variable of a block."""
        self._labels += 1
        return f"{stem}{self._labels}"

    def field(self, header: str, name: str) -> str:
        """The variable of a field."""
        return self._name("f", header, name)

    def valid(self, header: str) -> str:
        """The variable that says whether a header is valid."""
        return self._name("valid", header)

    def dirty(self, header: str) -> str:
        """Whether the header's variables may be other than its bytes in the frame."""
        return self._name("dirty", header)

    def place(self, header: str) -> str:
        """Where in the frame the header was."""
        return self._name("place", header)

    def varbit(self, header: str) -> tuple[str, str]:
        """Place in the frame, and length, of the bytes of a header's variable-length field."""
        return self._name("varbit_at", header), self._name("varbit_bytes", header)

    def std(self, name: str) -> str:
        """The variable of a field of the standard metadata."""
        return self.field(ir.METADATA, name)

    def has_std(self, name: str) -> bool:
        """Whether the program's standard metadata has a field."""
        return name in self.program.headers[ir.METADATA].fields

    def is_packet_header(self, header: str) -> bool:
        """Whether it is on the wire, rather than metadata."""
        return not self.program.headers[header].is_metadata

    def expressions(self, arguments: Sequence[str] = ()) -> Expressions:
        """Expressions, in an action with these arguments."""
        return Expressions(self.field, self.valid, arguments)

    def assign(self, target: ir.FieldValue, text: str) -> None:
        """Write a field, with text that fits it."""
        c_type(target.width)
        self.line(f"{self.field(target.header, target.field)} = {text};")
        if self.is_packet_header(target.header):
            self.line(f"{self.dirty(target.header)} = 1;")

    def _name(self, kind: str, *thing: str) -> str:
        key = (kind, *thing)
        if key not in self._names:
            readable = re.sub(r"\W+", "_", "_".join(thing), flags=re.ASCII)
            self._names[key] = f"{kind}{len(self._names)}_{readable}"
        return self._names[key]


def make_unit(program: ir.Program) -> Unit:
    """An empty unit for a program.

    Raises:
        NotNativeError: a table has fields or parameters, or a register cells, that are too wide.
    """
    for name, register in program.registers.items():
        if register.width > 64:
            raise NotNativeError(f"the cells of register '{name}' have {register.width} bits")
    parser = usage(parser_parts(program), program.headers)
    ingress = usage(control_parts(program, program.ingress), program.headers)
    egress = usage([*control_parts(program, program.egress), *program.update_checksums], program.headers)
    return Unit(
        program=program,
        tables={
            name: table_layout(table.fields, {a.name: a.parameter_widths for a in table.actions.values()})
            for name, table in program.tables.items()
        },
        numbers={
            kind: {name: number for number, name in enumerate(names)}
            for kind, names in (
                ("table", program.tables),
                ("counter", program.counters),
                ("register", program.registers),
            )
        },
        egress=egress,
        changed=parser.changed | ingress.changed | egress.changed,
    )
