"""The parser as Python: each state inside the one that leads to it, or behind a number where several do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from struct import Struct
from typing import assert_never

from softswitch.program import ir
from softswitch.python_backend.context import Context
from softswitch.python_backend.deparser import Deparsing
from softswitch.python_backend.source import bare
from softswitch.python_backend.statements import Statements

_LENGTH_BITS = 32
"""Lengths of variable fields and of what is skipped are of this width in P4's core library."""


class ParserCompiler:
    """Adds the parser to the source: from `frame` to fields, validity and `position`."""

    def __init__(self, context: Context, deparsing: Deparsing) -> None:
        self._context = context
        self._source = context.source
        self._names = context.names
        self._deparsing = deparsing
        self._statements = Statements(context)
        states = context.program.states
        reached = Counter(transition.next_state for s in states.values() for transition in s.transitions)
        shared = [name for name in states if reached[name] > 1]
        self._numbers = {name: number for number, name in enumerate(shared, start=1)}
        self._keeps_error = (ir.METADATA, "parser_error") in context.read

    def add(self) -> None:
        """Add the parser and the verification of checksums."""
        source, program = self._source, self._context.program
        source.line("position = 0")
        if self._numbers:
            source.line("state = 0")
        with source.block("while True"):
            self._enter(next(iter(program.states)))
            for name, number in self._numbers.items():
                with source.block(f"if state == {number}"):
                    self._state(name)
            source.line("break")
        for checksum in program.verify_checksums:
            self._verify(checksum)

    def _enter(self, name: str | None) -> None:
        if name in self._numbers:
            self._source.line(f"state = {self._numbers[name]}")
        elif name is not None:
            self._state(name)

    def _state(self, name: str) -> None:
        state = self._context.program.states[name]
        for step in state.steps:
            self._step(step)
        self._transitions(state)

    def _step(self, step: ir.ParserStep) -> None:
        source, expressions = self._source, self._context.expressions
        match step:
            case ir.Extract(header, length):
                self._extract(self._context.program.headers[header], length)
            case ir.Advance(bits):
                source.line(f"count = {expressions.fitting(bits, _LENGTH_BITS)}")
                self._fail("count & 7", ir.ParserError.INVALID_ARGUMENT)
                source.line("count = position + (count >> 3)")
                self._fail("size < count", ir.ParserError.PACKET_TOO_SHORT)
                source.line("position = tail = count")
                source.line("changed = 1")
            case ir.Verify(condition, error):
                with source.block(f"if not {expressions.condition(condition)}"):
                    if self._keeps_error:
                        source.line(f"{self._context.std('parser_error')} = {expressions.value(error)}")
                    source.line("break")
            case ir.Assign(target, ir.Lookahead() as ahead):
                self._statements.assign(target, bare(self._lookahead(ahead)))
            case ir.Assign() | ir.AddHeader() | ir.RemoveHeader() | ir.CopyHeader():
                self._statements.add([step])
            case _:
                assert_never(step)

    def _fail(self, condition: str, error: ir.ParserError) -> None:
        with self._source.block(f"if {condition}"):
            if self._keeps_error:
                self._source.line(f"{self._context.std('parser_error')} = {self._context.program.errors[error]}")
            self._source.line("break")

    def _extract(self, header: ir.Header, varbit_length: ir.Expression | None) -> None:
        source, layout = self._source, self._context.layouts[header.name]
        if varbit_length is None:
            source.line(f"count = position + {header.fixed_bytes}")
            self._fail("size < count", ir.ParserError.PACKET_TOO_SHORT)
        else:
            source.line(f"count = {self._context.expressions.fitting(varbit_length, _LENGTH_BITS)}")
            self._fail("count & 7", ir.ParserError.INVALID_ARGUMENT)
            source.line(f"count = position + {header.fixed_bytes} + (count >> 3)")
            self._fail("size < count", ir.ParserError.PACKET_TOO_SHORT)
            self._fail(f"count - position > {header.max_bytes}", ir.ParserError.HEADER_TOO_SHORT)
        if layout.parts:
            unpack = self._context.bind(Struct(layout.unpack_format).unpack_from, "unpack", header.name)
            comma = "," if len(layout.parts) == 1 else ""
            source.line(f"{', '.join(layout.parts)}{comma} = {unpack}(frame, position)")
            for assignment in layout.assignments:
                source.line(assignment)
        if header.varbit is not None and layout.is_rewritten:
            source.line(f"{self._names(header.name, header.varbit)} = frame[position + {header.fixed_bytes}:count]")
        source.line(f"{self._names.of('valid', header.name)} = 1")
        if header.name in self._deparsing.copied:
            source.line(f"{self._names.of('from', header.name)} = position")
            source.line(f"{self._names.of('to', header.name)} = count")
        source.line("position = tail = count" if header.name in self._deparsing.marks_tail else "position = count")
        if header.name in self._deparsing.dropped:
            source.line("changed = 1")

    def _lookahead(self, ahead: ir.Lookahead) -> str:
        """Text for the bits ahead, behind the check that the packet has them."""
        first, end = ahead.offset // 8, (ahead.offset + ahead.width + 7) // 8
        self._fail(f"size < position + {end}", ir.ParserError.PACKET_TOO_SHORT)
        whole = f"int.from_bytes(frame[position + {first}:position + {end}], 'big')"
        below = 8 * end - ahead.offset - ahead.width
        return f"({whole} >> {below} & {(1 << ahead.width) - 1:#x})"

    def _transitions(self, state: ir.ParserState) -> None:
        """Try the transitions in order. A packet that fits none is accepted, as BMv2 does."""
        keys = [self._key(key) for key in state.keys]
        word = "if"
        for transition in state.transitions:
            condition = self._condition(state.keys, keys, transition)
            if condition is None:
                if word == "if":
                    self._enter(transition.next_state)
                elif transition.next_state is not None:
                    with self._source.block("else"):
                        self._enter(transition.next_state)
                return
            with self._source.block(f"{word} {condition}"):
                self._enter(transition.next_state)
            word = "elif"

    def _key(self, key: ir.FieldValue | ir.Valid | ir.Lookahead) -> str:
        if not isinstance(key, ir.Lookahead):
            return self._context.expressions.value(key)
        name = self._names.of("ahead", str(key.offset), str(key.width))
        self._source.line(f"{name} = {bare(self._lookahead(key))}")
        return name

    def _condition(
        self,
        keys: Sequence[ir.FieldValue | ir.Valid | ir.Lookahead],
        texts: Sequence[str],
        transition: ir.Transition,
    ) -> str | None:
        """The text of a transition's condition; None when it always fits."""
        tests = []
        for key, text, (value, mask) in zip(keys, texts, transition.matches, strict=False):
            full = (1 << (1 if isinstance(key, ir.Valid) else key.width)) - 1
            if mask == full:
                tests.append(f"{text} == {value:#x}")
            elif mask:
                tests.append(f"{text} & {mask:#x} == {value & mask:#x}")
        return " and ".join(tests) or None

    def _verify(self, checksum: ir.Checksum) -> None:
        """A checksum that does not hold sets `checksum_error`; that of an invalid header is not looked at."""
        if (ir.METADATA, "checksum_error") not in self._context.read:
            return
        expressions, target = self._context.expressions, checksum.target
        condition = "1" if checksum.condition is None else expressions.condition(checksum.condition)
        if target.header in self._context.layouts:
            condition = f"{self._names.of('valid', target.header)} and {condition}"
        with self._source.block(f"if {condition}"):
            hashed = self._statements.hashed(checksum.calculation)
            with self._source.block(f"if {hashed} != {expressions.value(target)}"):
                self._source.line(f"{self._context.std('checksum_error')} = 1")
