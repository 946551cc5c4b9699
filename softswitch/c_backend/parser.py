"""The parser as C: a label for each state, jumps between them."""

from __future__ import annotations

from collections.abc import Iterator

from softswitch.c_backend.expressions import NotNativeError, c_type, literal
from softswitch.c_backend.statements import Statements
from softswitch.c_backend.unit import Unit
from softswitch.program import ir

_LENGTH_BITS = 32
_MOST_BYTES = 16
_LOADS = {8: "pf_be64({})", 4: "pf_be32({})", 2: "pf_be16({})", 1: "(u64)*({})"}


def load(place: str, first: int, end: int) -> str:
    """Text for bytes of the frame as one number, of the type for so many bits.

    Raises:
        NotNativeError: it is longer than 16 bytes.
    """
    if end - first > _MOST_BYTES:
        raise NotNativeError("a field that is spread over more than 16 bytes")
    kind = c_type(8 * (end - first))
    return "(" + " | ".join(_shifted_loads(place, first, end, kind)) + ")"


def _shifted_loads(place: str, first: int, end: int, kind: str) -> Iterator[str]:
    while first < end:
        size = next(size for size in _LOADS if size <= end - first)
        text = _LOADS[size].format(f"{place} + {first}")
        first += size
        yield f"({kind}){text} << {8 * (end - first)}" if first < end else f"({kind}){text}"


def bits_of(place: str, offset: int, width: int) -> str:
    """Text for some bits of the frame, of the type for `width`."""
    first, end = offset // 8, (offset + width + 7) // 8
    text = load(place, first, end)
    below = 8 * end - offset - width
    if below:
        text = f"({text} >> {below})"
    kind = c_type(width)
    return f"({kind}){text}" if width == 8 * (end - first) else f"(({kind}){text} & {literal((1 << width) - 1)})"


class ParserCompiler:
    """Adds the parser: from `frame` to fields, validity and `position`; it ends at the label `parsed`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._expressions = unit.expressions()
        self._statements = Statements(unit)
        self._labels = {name: unit.label("state") for name in unit.program.states}

    def add(self) -> None:
        """Add the parser and the verification of checksums."""
        unit, program = self._unit, self._unit.program
        unit.line(f"goto {next(iter(self._labels.values()))};")
        for name, state in program.states.items():
            unit.line(f"{self._labels[name]}:;")
            with unit.block(""):
                for step in state.steps:
                    self._step(step)
                self._transitions(state)
        unit.line("parsed:;")
        for checksum in program.verify_checksums:
            self._verify(checksum)

    def _step(self, step: ir.ParserStep) -> None:
        unit, expressions = self._unit, self._expressions
        match step:
            case ir.Extract(header, length):
                with unit.block(""):
                    self._extract(unit.program.headers[header], length)
            case ir.Advance(bits):
                with unit.block(""):
                    unit.line(f"u64 count = {expressions.fitting(bits, _LENGTH_BITS)};")
                    self._fail("count & 7", ir.ParserError.INVALID_ARGUMENT)
                    self._fail("size - position < count >> 3", ir.ParserError.PACKET_TOO_SHORT)
                    unit.line("position += count >> 3;")
            case ir.Verify(condition, error):
                with unit.block(f"if (!{expressions.condition(condition)})"):
                    self._set_error(expressions.fitting(error, self._error_bits()))
            case ir.Assign(target, ir.Lookahead() as ahead):
                self._check_ahead(ahead)
                text = bits_of("frame + position", ahead.offset, ahead.width)
                if ahead.width > target.width:
                    raise NotNativeError("a lookahead that is cut")
                unit.assign(target, text)
            case _:
                self._statements.add([step])

    def _error_bits(self) -> int:
        return self._unit.program.headers[ir.METADATA].fields.get("parser_error", 32)

    def _set_error(self, text: str) -> None:
        if self._unit.has_std("parser_error"):
            self._unit.line(f"{self._unit.std('parser_error')} = {text};")
        self._unit.line("goto parsed;")

    def _fail(self, condition: str, error: ir.ParserError) -> None:
        with self._unit.block(f"if ({condition})"):
            self._set_error(str(self._unit.program.errors[error]))

    def _extract(self, header: ir.Header, varbit_length: ir.Expression | None) -> None:
        unit, name = self._unit, header.name
        if varbit_length is None:
            unit.line(f"u64 count = {header.fixed_bytes};")
            self._fail("size - position < count", ir.ParserError.PACKET_TOO_SHORT)
        else:
            unit.line(f"u64 count = {self._expressions.fitting(varbit_length, _LENGTH_BITS)};")
            self._fail("count & 7", ir.ParserError.INVALID_ARGUMENT)
            unit.line(f"count = {header.fixed_bytes} + (count >> 3);")
            self._fail("size - position < count", ir.ParserError.PACKET_TOO_SHORT)
            self._fail(f"count > {header.max_bytes}", ir.ParserError.HEADER_TOO_SHORT)
        unit.line("const u8 *at = frame + position;")
        offset = 0
        for field, width in header.fields.items():
            if width <= 128:
                unit.line(f"{unit.field(name, field)} = {bits_of('at', offset, width)};")
            offset += width
        if header.varbit is not None:
            place, length = unit.varbit(name)
            unit.line(f"{place} = position + {header.fixed_bytes};")
            unit.line(f"{length} = count - {header.fixed_bytes};")
        unit.line(f"{unit.valid(name)} = 1;")
        unit.line(f"{unit.dirty(name)} = 0;")
        unit.line(f"{unit.place(name)} = position;")
        unit.line("position += count;")

    def _check_ahead(self, ahead: ir.Lookahead) -> None:
        self._fail(f"size - position < {(ahead.offset + ahead.width + 7) // 8}", ir.ParserError.PACKET_TOO_SHORT)

    def _transitions(self, state: ir.ParserState) -> None:
        """Try the transitions in order. A packet that fits none is accepted, as BMv2 does."""
        unit, keys = self._unit, []
        for key in state.keys:
            if isinstance(key, ir.Lookahead):
                self._check_ahead(key)
                keys.append((bits_of("frame + position", key.offset, key.width), key.width))
            elif isinstance(key, ir.Valid):
                keys.append((unit.valid(key.header), 1))
            else:
                keys.append((self._expressions.fitting(key, key.width), key.width))
        for transition in state.transitions:
            tests = [
                f"({text} & {literal(wanted & (1 << width) - 1)}) == {literal(value & wanted)}"
                for (text, width), (value, wanted) in zip(keys, transition.matches, strict=False)
                if wanted
            ]
            target = "parsed" if transition.next_state is None else self._labels[transition.next_state]
            unit.line(f"if ({' && '.join(tests)}) goto {target};" if tests else f"goto {target};")
        unit.line("goto parsed;")

    def _verify(self, checksum: ir.Checksum) -> None:
        """A checksum that does not hold sets `checksum_error`; that of an invalid header is not looked at."""
        unit, target = self._unit, checksum.target
        if not unit.has_std("checksum_error"):
            return
        condition = "(1)" if checksum.condition is None else self._expressions.condition(checksum.condition)
        if unit.is_packet_header(target.header):
            condition = f"({unit.valid(target.header)} && {condition})"
        with unit.block(f"if {condition}"):
            hashed = self._statements.hashed(checksum.calculation)
            with unit.block(f"if ({hashed} != {self._expressions.fitting(target, target.width)})"):
                unit.line(f"{unit.std('checksum_error')} = 1;")
