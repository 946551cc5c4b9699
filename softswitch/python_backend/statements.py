"""Statements of actions as Python."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import assert_never

from softswitch.program import ir
from softswitch.program.ir import parts
from softswitch.python_backend.context import Context
from softswitch.python_backend.hashes import FUNCTIONS
from softswitch.python_backend.source import Expressions, bare
from softswitch.state import CLONE_SESSIONS, MAX_CLONE_SESSION

_INDEX_BITS = 32
"""Indices of counters and registers are of this width in v1model."""


class Statements:
    """Adds statements to the source; `arguments` are the texts of the enclosing action's parameters."""

    def __init__(self, context: Context, arguments: Sequence[str] = ()) -> None:
        self._is_in_loop = False
        self._context = context
        self._source = context.source
        self._names = context.names
        self._expressions = Expressions(context.names, arguments)

    def add(self, statements: Sequence[ir.Statement]) -> None:
        """Add statements. The first one that surely changes an emitted header notes that the packet has changed."""
        is_marked = False
        for statement in statements:
            if not is_marked and self._changes_packet(statement):
                self._source.line("changed = 1")
                is_marked = True
            self._add(statement)

    def add_action(self, body: Sequence[ir.Statement]) -> None:
        """Add an action's body. When it may return early, that leaves a loop of one round around it."""
        inside = [type(part) for part in parts(tuple(body))]
        if ir.Return not in inside:
            self.add(body)
            return
        self._is_in_loop = True
        if ir.Exit in inside:
            self._source.line("leaves = 0")
        with self._source.block("while True"):
            self.add(body)
            self._source.line("break")
        if ir.Exit in inside:
            with self._source.block("if leaves"):
                self._source.line("break")

    def assign(self, target: ir.FieldValue, text: str) -> None:
        """Write a field, unless nobody ever looks at it."""
        if self._context.is_kept(target):
            self._source.line(f"{self._names(target.header, target.field)} = {text}")

    def update_checksum(self, checksum: ir.Checksum) -> None:
        """Compute a checksum and write it to its field."""
        condition = "1" if checksum.condition is None else bare(self._expressions.condition(checksum.condition))
        with self._source.block(f"if {condition}"):
            if checksum.target.header in self._context.program.deparser:
                self._source.line("changed = 1")
            hashed = self.hashed(checksum.calculation)
            self.assign(checksum.target, f"{hashed} & {(1 << checksum.target.width) - 1:#x}")

    def hashed(self, calculation: ir.Calculation) -> str:
        """A text that computes a hash, behind lines that gather its input in `data`.

        Bits are put together from the left and filled up with zeros to a whole byte; invalid headers are left out.
        """
        function = self._context.bind(FUNCTIONS[calculation.algorithm], "hash", calculation.algorithm.value)
        headers = {self._wire_header(value) for value, _ in calculation.inputs}
        if headers <= {None}:
            bits = sum(width for _, width in calculation.inputs)
            self._source.line("data = 0")
            self._gather(calculation.inputs)
            return f"{function}((data << {-bits % 8}).to_bytes({(bits + 7) // 8}, 'big'))"
        self._source.line("data = count = 0")
        for header, inputs in groupby(calculation.inputs, lambda pair: self._wire_header(pair[0])):
            pairs = list(inputs)
            with self._source.block(f"if {'1' if header is None else self._names.of('valid', header)}"):
                self._gather(pairs)
                self._source.line(f"count += {sum(width for _, width in pairs)}")
        return f"{function}((data << -count % 8).to_bytes((count + 7) // 8, 'big'))"

    def _gather(self, pairs: Sequence[tuple[ir.Constant | ir.FieldValue, int]]) -> None:
        for value, width in pairs:
            self._source.line(f"data = data << {width} | {self._expressions.value(value)}")

    def _wire_header(self, value: ir.Constant | ir.FieldValue) -> str | None:
        return value.header if isinstance(value, ir.FieldValue) and value.header in self._context.layouts else None

    def _changes_packet(self, statement: ir.Statement) -> bool:
        match statement:
            case ir.Assign() | ir.RegisterRead() | ir.Hash():
                return statement.target.header in self._context.program.deparser
            case ir.CopyHeader():
                return statement.target in self._context.program.deparser
            case _:
                return False

    def _add(self, statement: ir.Statement) -> None:
        source, context, expressions = self._source, self._context, self._expressions
        match statement:
            case ir.Assign(target, value):
                self.assign(target, expressions.fitting(value, target.width))
            case ir.AddHeader(header):
                self._add_header(header)
            case ir.RemoveHeader(header):
                self._remove_header(header)
            case ir.CopyHeader():
                self._copy_header(statement.target, statement.source)
            case ir.MarkToDrop():
                source.line(f"{context.std('egress_spec')} = {ir.DROP_PORT}")
                source.line(f"{context.std('mcast_grp')} = 0")
            case ir.Exit():
                if self._is_in_loop:
                    source.line("leaves = 1")
                source.line("break")
            case ir.Return():
                source.line("break")
            case ir.Count(counter, index):
                cells = context.state.counters[counter]
                packets, octets = (
                    context.bind(cells.packets, "packets", counter),
                    context.bind(cells.octets, "octets", counter),
                )
                self._with_cell(index, cells.size, [f"{packets}[{{0}}] += 1", f"{octets}[{{0}}] += size"])
            case ir.RegisterRead(target, register, index):
                definition = context.program.registers[register]
                if context.is_kept(target):
                    mask = f" & {(1 << target.width) - 1:#x}" if definition.width > target.width else ""
                    name = self._names(target.header, target.field)
                    self._with_cell(index, definition.size, [f"{name} = {self._register(register)}[{{0}}]{mask}"])
            case ir.RegisterWrite(register, index, value):
                definition = context.program.registers[register]
                text = expressions.fitting(value, definition.width)
                self._with_cell(index, definition.size, [f"{self._register(register)}[{{0}}] = {text}"])
            case ir.Hash(target, calculation, base, size):
                hashed, most = self.hashed(calculation), (1 << target.width) - 1
                limit = expressions.value(size)
                self.assign(target, f"{expressions.value(base)} + {hashed} % ({limit} or 1) & {most:#x}")
            case ir.SendDigest(name, values):
                # Out of the program's structs, digests have at least one member.
                members = ", ".join(bare(expressions.value(value)) for value in values)
                send = context.bind(context.state.digests.append, "send_digest")
                source.line(f"{send}(new(Digest, ({name!r}, ({members},))))")
            case ir.Clone(session, number):
                cut = ir.Binary(ir.BinaryOp.AND, session, ir.Constant(MAX_CLONE_SESSION))
                source.line(f"request = ({CLONE_SESSIONS:#x} | {expressions.value(cut)}, {number})")
            case ir.If(condition, then, otherwise):
                with source.block(f"if {bare(expressions.condition(condition))}"):
                    self.add(then)
                if otherwise:
                    with source.block("else"):
                        self.add(otherwise)
            case _:
                assert_never(statement)

    def _register(self, name: str) -> str:
        return self._context.bind(self._context.state.registers[name], "register", name)

    def _with_cell(self, index: ir.Expression, size: int, lines: Sequence[str]) -> None:
        """Add lines about a cell of an array, `{0}`; nothing happens when it is out of range."""
        width = ir.width(index)
        if isinstance(index, ir.Constant) and 0 <= index.value < size:
            self._lines(lines, str(index.value))
        elif width is not None and 1 << width <= size:
            self._lines(lines, bare(self._expressions.value(index)))
        else:
            self._source.line(f"index = {self._expressions.fitting(index, _INDEX_BITS)}")
            with self._source.block(f"if index < {size}"):
                self._lines(lines, "index")

    def _lines(self, lines: Sequence[str], cell: str) -> None:
        for line in lines:
            self._source.line(line.format(cell))

    def _add_header(self, header: str) -> None:
        with self._source.block(f"if not {self._names.of('valid', header)}"):
            self._validity(header, 1)
            for variable, zero in self._context.layouts[header].variables:
                self._source.line(f"{variable} = {zero}")
            self._resize("+=", header)

    def _remove_header(self, header: str) -> None:
        with self._source.block(f"if {self._names.of('valid', header)}"):
            self._validity(header, 0)
            self._resize("-=", header)

    def _validity(self, header: str, valid: int) -> None:
        self._source.line(f"{self._names.of('valid', header)} = {valid}")
        if header in self._context.program.deparser:
            self._source.line("changed = 1")

    def _resize(self, operator: str, header: str) -> None:
        if self._context.tracks_length:
            definition = self._context.program.headers[header]
            varbit = "" if definition.varbit is None else f" + len({self._names(header, definition.varbit)})"
            self._source.line(f"added {operator} {definition.fixed_bytes}{varbit}")

    def _copy_header(self, target: str, source: str) -> None:
        # Both are rewritten and all their fields are in use, so that their variables pair up.
        self._source.line(f"{self._names.of('valid', target)} = {self._names.of('valid', source)}")
        with self._source.block(f"if {self._names.of('valid', source)}"):
            to, come = self._context.layouts[target].variables, self._context.layouts[source].variables
            for (variable, _), (original, _) in zip(to, come, strict=True):
                self._source.line(f"{variable} = {original}")
