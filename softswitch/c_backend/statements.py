"""Statements of actions as C."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from softswitch.c_backend.expressions import NotNativeError, c_type, mask
from softswitch.c_backend.layout import DigestLayout
from softswitch.c_backend.unit import Unit
from softswitch.program import ir
from softswitch.state import CLONE_SESSIONS, MAX_CLONE_SESSION

_INDEX_BITS = 32


class Statements:
    """Adds statements; `arguments` are the texts of the action's parameters, `exit_label` where `exit` goes."""

    def __init__(self, unit: Unit, arguments: Sequence[str] = (), exit_label: str = "") -> None:
        self._unit = unit
        self._expressions = unit.expressions(arguments)
        self._exit = exit_label
        self._return = ""

    def add_action(self, body: Sequence[ir.Statement]) -> None:
        """Add an action's body."""
        self._return = self._unit.label("return")
        self.add(body)
        self._unit.line(f"{self._return}:;")

    def add(self, statements: Sequence[ir.Statement | ir.ParserStep]) -> None:
        """Add statements."""
        for statement in statements:
            self._add(statement)

    def hashed(self, calculation: ir.Calculation) -> str:
        """A variable that holds a hash, behind the lines that compute it."""
        unit = self._unit
        bits, result = unit.label("bits"), unit.label("hashed")
        size = sum(width for _, width in calculation.inputs) // 8 + 1
        unit.line(f"u8 {bits}_bytes[{size}] = {{0}};")
        unit.line(f"struct pf_bits {bits} = {{{bits}_bytes, 0}};")
        for header, inputs in groupby(calculation.inputs, lambda pair: self._wire_header(pair[0])):
            with unit.block("" if header is None else f"if ({unit.valid(header)})"):
                for value, width in inputs:
                    unit.line(f"pf_add_bits(&{bits}, {self._expressions.fitting(value, width)}, {width});")
        unit.line(f"u64 {result} = pf_hash_{calculation.algorithm.value}(&{bits});")
        return result

    def update_checksum(self, checksum: ir.Checksum) -> None:
        """Compute a checksum and write it to its field."""
        condition = "(1)" if checksum.condition is None else self._expressions.condition(checksum.condition)
        with self._unit.block(f"if {condition}"):
            hashed = self.hashed(checksum.calculation)
            self._unit.assign(
                checksum.target, mask(f"({c_type(checksum.target.width)}){hashed}", checksum.target.width)
            )

    def _wire_header(self, value: ir.Constant | ir.FieldValue) -> str | None:
        return value.header if isinstance(value, ir.FieldValue) and self._unit.is_packet_header(value.header) else None

    def _add(self, statement: ir.Statement | ir.ParserStep) -> None:
        unit, expressions = self._unit, self._expressions
        match statement:
            case ir.Assign(target, value):
                unit.assign(target, expressions.fitting(value, target.width))
            case ir.AddHeader(header):
                self._add_header(header)
            case ir.RemoveHeader(header):
                with unit.block(f"if ({unit.valid(header)})"):
                    unit.line(f"{unit.valid(header)} = 0;")
                    unit.line(f"added -= {self._length(header)};")
            case ir.CopyHeader():
                self._copy_header(statement.target, statement.source)
            case ir.MarkToDrop():
                unit.line(f"{unit.std('egress_spec')} = {ir.DROP_PORT};")
                unit.line(f"{unit.std('mcast_grp')} = 0;")
            case ir.Exit():
                unit.line(f"goto {self._exit};")
            case ir.Return():
                unit.line(f"goto {self._return};")
            case ir.Count(counter, index):
                number = unit.numbers["counter"][counter]
                with self._cell(index, unit.program.counters[counter]):
                    unit.line(f"state->packets[{number}][cell]++;")
                    unit.line(f"state->octets[{number}][cell] += size;")
            case ir.RegisterRead(target, register, index):
                definition = unit.program.registers[register]
                with self._cell(index, definition.size):
                    text = f"({c_type(target.width)})state->registers[{unit.numbers['register'][register]}][cell]"
                    unit.assign(target, mask(text, target.width) if definition.width > target.width else text)
            case ir.RegisterWrite(register, index, value):
                definition = unit.program.registers[register]
                with self._cell(index, definition.size):
                    text = expressions.fitting(value, definition.width)
                    unit.line(f"state->registers[{unit.numbers['register'][register]}][cell] = {text};")
            case ir.Hash():
                self._hash(statement)
            case ir.SendDigest(name, values):
                self._digest(name, values)
            case ir.Clone(session, number):
                cut = expressions.fitting(session, MAX_CLONE_SESSION.bit_length())
                unit.line(f"request.session = {CLONE_SESSIONS:#x} | (u32){cut};")
                unit.line(f"request.list = {number};")
            case ir.If(condition, then, otherwise):
                with unit.block(f"if {expressions.condition(condition)}"):
                    self.add(then)
                if otherwise:
                    with unit.block("else"):
                        self.add(otherwise)
            case _:
                raise NotNativeError(f"{type(statement).__name__} in an action")

    @contextmanager
    def _cell(self, index: ir.Expression, size: int) -> Iterator[None]:
        """Lines about one cell of an array, `cell`; nothing happens when it is out of range."""
        with self._unit.block(""):
            self._unit.line(f"u64 cell = {self._expressions.fitting(index, _INDEX_BITS)};")
            with self._unit.block(f"if (cell < {size})"):
                yield

    def _hash(self, statement: ir.Hash) -> None:
        unit, expressions, width = self._unit, self._expressions, statement.target.width
        with unit.block(""):
            hashed, kind = self.hashed(statement.calculation), c_type(width)
            unit.line(f"u64 limit = {expressions.natural(statement.size)};")
            text = f"({expressions.low(statement.base, kind)} + {hashed} % (limit ? limit : 1))"
            unit.assign(statement.target, mask(text, width))

    def _digest(self, name: str, values: Sequence[ir.Expression]) -> None:
        unit, words = self._unit, []
        texts = []
        for value in values:
            text, kind = self._expressions.exact(value)
            if kind == "s128":
                raise NotNativeError(f"a member of digest '{name}' may be negative")
            parts = [text] if kind == "u64" else [f"(u64)({text} >> 64)", f"(u64)({text})"]
            words.append(len(parts))
            texts += parts
        number = len(unit.digests)
        unit.digests.append(DigestLayout(name, tuple(words)))
        with unit.block(""):
            unit.line(f"u64 *digest = pf_digest(state, {number}, {len(texts)});")
            with unit.block("if (digest)"):
                for at, text in enumerate(texts):
                    unit.line(f"digest[{at}] = {text};")

    def _length(self, header: str) -> str:
        definition = self._unit.program.headers[header]
        varbit = "" if definition.varbit is None else f" + {self._unit.varbit(header)[1]}"
        return f"{definition.fixed_bytes}{varbit}"

    def _add_header(self, header: str) -> None:
        unit, definition = self._unit, self._unit.program.headers[header]
        with unit.block(f"if (!{unit.valid(header)})"):
            unit.line(f"{unit.valid(header)} = {unit.dirty(header)} = 1;")
            for field, width in definition.fields.items():
                c_type(width)
                unit.line(f"{unit.field(header, field)} = 0;")
            if definition.varbit is not None:
                unit.line(f"{unit.varbit(header)[1]} = 0;")
            unit.line(f"added += {definition.fixed_bytes};")

    def _copy_header(self, target: str, source: str) -> None:
        unit, definition = self._unit, self._unit.program.headers[source]
        unit.line(f"{unit.valid(target)} = {unit.valid(source)};")
        with unit.block(f"if ({unit.valid(source)})"):
            unit.line(f"{unit.dirty(target)} = 1;")
            to = self._unit.program.headers[target]
            for (field, width), original in zip(to.fields.items(), definition.fields, strict=True):
                c_type(width)
                unit.line(f"{unit.field(target, field)} = {unit.field(source, original)};")
            if definition.varbit is not None:
                for variable, original in zip(unit.varbit(target), unit.varbit(source), strict=True):
                    unit.line(f"{variable} = {original};")
