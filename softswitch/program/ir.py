"""What a pipeline is, between p4c's JSON and the code that runs it: plain values, with control flow as nested blocks.

The loader (`softswitch.program.bmv2_json`) makes a `Program`; back ends such as `softswitch.python_backend` read it.
Widths are in bits. Arithmetic is that of BMv2: integers of unlimited size, brought down to a width where p4c says so
(`& mask`) and whenever a field is written; every field is unsigned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import assert_never

from softswitch.tables import Entry, Field

METADATA = "standard_metadata"
DROP_PORT = 511
INGRESS_CLONE = 1
"""The `instance_type` of clones that ingress asked for, as BMv2 numbers it."""

EGRESS_CLONE = 2
"""The `instance_type` of clones that egress asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A header or metadata instance; `varbit` names its one variable-length field, which is the last one."""

    name: str
    is_metadata: bool
    fields: Mapping[str, int]
    varbit: str | None = None
    max_bytes: int = 0

    @property
    def fixed_bytes(self) -> int:
        """Its length on the wire without the variable-length field."""
        return sum(self.fields.values()) // 8


# Expressions. Those that are true or false are used only where a condition is wanted, or through `BoolToData`.


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, perhaps negative."""

    value: int


@dataclass(frozen=True, slots=True)
class FieldValue:
    """A field of a header or metadata instance."""

    header: str
    field: str
    width: int


@dataclass(frozen=True, slots=True)
class Valid:
    """Whether a header is valid: 1 or 0."""

    header: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """An action parameter."""

    index: int
    width: int


@dataclass(frozen=True, slots=True)
class Lookahead:
    """Bits of the packet from `offset` past the parser's position; in the parser, and never inside an expression."""

    offset: int
    width: int


class BinaryOp(Enum):
    """Operators with two operands; the values are p4c's names."""

    ADD = "+"
    SUB = "-"
    MUL = "*"
    SHL = "<<"
    SHR = ">>"
    AND = "&"
    OR = "|"
    XOR = "^"
    EQ = "=="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    BOOL_AND = "and"
    BOOL_OR = "or"


class UnaryOp(Enum):
    """Operators with one operand; the values are p4c's names."""

    COMPLEMENT = "~"
    NOT = "not"
    DATA_TO_BOOL = "d2b"
    BOOL_TO_DATA = "b2d"


@dataclass(frozen=True, slots=True)
class Binary:
    """`left op right`."""

    op: BinaryOp
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Unary:
    """`op operand`."""

    op: UnaryOp
    operand: Expression


@dataclass(frozen=True, slots=True)
class Saturate:
    """The operand brought into 0 … 2^width - 1."""

    operand: Expression
    width: int


@dataclass(frozen=True, slots=True)
class Conditional:
    """`condition ? then : otherwise`."""

    condition: Expression
    then: Expression
    otherwise: Expression


Expression = Constant | FieldValue | Valid | Parameter | Lookahead | Binary | Unary | Saturate | Conditional


# Statements: what actions are made of.


@dataclass(frozen=True, slots=True)
class Assign:
    """Write a field; the value is cut to the field's width."""

    target: FieldValue
    value: Expression


@dataclass(frozen=True, slots=True)
class AddHeader:
    """Make a header valid, all zero, unless it is valid already."""

    header: str


@dataclass(frozen=True, slots=True)
class RemoveHeader:
    """Make a header invalid."""

    header: str


@dataclass(frozen=True, slots=True)
class CopyHeader:
    """Copy a header of the same type, its validity included."""

    target: str
    source: str


@dataclass(frozen=True, slots=True)
class MarkToDrop:
    """Drop the packet when the pipeline ends, unless a later statement sends it after all."""


@dataclass(frozen=True, slots=True)
class Exit:
    """Leave the control block at once."""


@dataclass(frozen=True, slots=True)
class Return:
    """Leave the action."""


@dataclass(frozen=True, slots=True)
class Count:
    """Add the packet to a cell of an indirect counter; a cell out of range is none."""

    counter: str
    index: Expression


@dataclass(frozen=True, slots=True)
class RegisterRead:
    """Read a register cell; out of range, the target keeps its value."""

    target: FieldValue
    register: str
    index: Expression


@dataclass(frozen=True, slots=True)
class RegisterWrite:
    """Write a register cell; out of range, nothing is written."""

    register: str
    index: Expression
    value: Expression


@dataclass(frozen=True, slots=True)
class Hash:
    """`target = base + hash(inputs) % size`; a size of 0 counts as 1."""

    target: FieldValue
    calculation: Calculation
    base: Expression
    size: Expression


@dataclass(frozen=True, slots=True)
class SendDigest:
    """Tell the control plane these values."""

    name: str
    values: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Clone:
    """Send a copy to a clone session's replicas when the control block ends; the last request counts.

    Ingress sends the packet as it came, egress (`is_of_egress`) with the headers that it leaves, through egress once
    more. The copy begins with all metadata zero but for `preserved`, the field list with this number, whose values are
    those at the end of the block.
    """

    session: Expression
    number: int
    preserved: tuple[FieldValue, ...]
    is_of_egress: bool


@dataclass(frozen=True, slots=True)
class If:
    """A condition inside an action."""

    condition: Expression
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


Statement = (
    Assign
    | AddHeader
    | RemoveHeader
    | CopyHeader
    | MarkToDrop
    | Exit
    | Return
    | Count
    | RegisterRead
    | RegisterWrite
    | Hash
    | SendDigest
    | Clone
    | If
)


class Algorithm(Enum):
    """Hash and checksum algorithms; the values are BMv2's names."""

    CRC16 = "crc16"
    CRC32 = "crc32"
    CSUM16 = "csum16"
    IDENTITY = "identity"


@dataclass(frozen=True, slots=True)
class Calculation:
    """A hash over (value, width) pairs, the first at the top; fields of invalid headers are left out."""

    algorithm: Algorithm
    inputs: tuple[tuple[Constant | FieldValue, int], ...]


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum kept in `target`: verified after the parser or updated before the deparser."""

    target: FieldValue
    calculation: Calculation
    condition: Expression | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """An action; several may share a control-plane name."""

    name: str
    parameter_widths: tuple[int, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDefinition:
    """A match-action table as the program declares it."""

    name: str
    fields: tuple[Field, ...]
    keys: tuple[Expression, ...]
    actions: Mapping[str, Action]
    size: int
    has_counter: bool
    supports_idle_timeout: bool
    default_action: str
    default_params: tuple[int, ...]
    default_is_const: bool
    const_entries: tuple[Entry, ...] | None


# Control blocks.


@dataclass(frozen=True, slots=True)
class Apply:
    """Apply a table, then the block of the action that ran, or the one for hit or miss."""

    table: str
    by_action: tuple[tuple[frozenset[str], Block], ...] = ()
    on_hit: Block = ()
    on_miss: Block = ()


@dataclass(frozen=True, slots=True)
class Branch:
    """An `if` of a control block."""

    condition: Expression
    then: Block
    otherwise: Block


Block = tuple[Apply | Branch, ...]


# The parser.


@dataclass(frozen=True, slots=True)
class Extract:
    """Extract a header; `varbit_length` is the length in bits of its variable-length field."""

    header: str
    varbit_length: Expression | None = None


@dataclass(frozen=True, slots=True)
class Advance:
    """Skip bits of the packet."""

    bits: Expression


@dataclass(frozen=True, slots=True)
class Verify:
    """Stop parsing with an error unless the condition holds."""

    condition: Expression
    error: Expression


ParserStep = Extract | Advance | Verify | Assign | AddHeader | RemoveHeader | CopyHeader


@dataclass(frozen=True, slots=True)
class Transition:
    """Go to `next_state` (None: accept) when every key agrees with its (value, mask); no pairs: always."""

    matches: tuple[tuple[int, int], ...]
    next_state: str | None


@dataclass(frozen=True, slots=True)
class ParserState:
    """A parser state. When no transition fits, parsing ends."""

    steps: tuple[ParserStep, ...]
    keys: tuple[FieldValue | Valid | Lookahead, ...]
    transitions: tuple[Transition, ...]


class ParserError(Enum):
    """Errors that the parser raises by itself; the values are the core library's names."""

    NO_ERROR = "NoError"
    PACKET_TOO_SHORT = "PacketTooShort"
    HEADER_TOO_SHORT = "HeaderTooShort"
    INVALID_ARGUMENT = "ParserInvalidArgument"


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """A register array."""

    size: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A v1model pipeline.

    `states` are in an order in which every transition leads forwards; the first one is the start state.
    """

    headers: Mapping[str, Header]
    states: Mapping[str, ParserState]
    errors: Mapping[ParserError, int]
    verify_checksums: tuple[Checksum, ...]
    tables: Mapping[str, TableDefinition]
    ingress: Block
    egress: Block
    update_checksums: tuple[Checksum, ...]
    deparser: tuple[str, ...]
    counters: Mapping[str, int]
    registers: Mapping[str, Register]


def parts(node: object) -> Iterator[object]:
    """The node and everything in it, fields that it writes to left out."""
    yield node
    if isinstance(node, tuple):
        for item in node:
            yield from parts(item)
    elif is_dataclass(node) and not isinstance(node, type):
        for item in fields(node):
            if item.name != "target":
                yield from parts(getattr(node, item.name))


def width(expression: Expression) -> int | None:
    """How many bits the value can have; None when it may be negative."""
    match expression:
        case Constant(value):
            return value.bit_length() if value >= 0 else None
        case FieldValue() | Parameter() | Lookahead() | Saturate():
            return expression.width
        case Valid():
            return 1
        case Unary(op, _):
            return None if op is UnaryOp.COMPLEMENT else 1
        case Conditional(_, then, otherwise):
            return _widest(width(then), width(otherwise))
        case Binary(op, left, right):
            return _width_of_binary(op, width(left), width(right), right)
        case _:
            assert_never(expression)


def _widest(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else max(left, right)


def _width_of_binary(op: BinaryOp, left: int | None, right: int | None, amount: Expression) -> int | None:
    match op:
        case BinaryOp.AND:
            return min((w for w in (left, right) if w is not None), default=None)
        case BinaryOp.OR | BinaryOp.XOR:
            return _widest(left, right)
        case BinaryOp.ADD:
            widest = _widest(left, right)
            return None if widest is None else widest + 1
        case BinaryOp.MUL:
            return None if left is None or right is None else left + right
        case BinaryOp.SUB:
            return None
        case BinaryOp.SHL:
            if left is None or right is None:
                return None
            return left + (amount.value if isinstance(amount, Constant) else (1 << right) - 1)
        case BinaryOp.SHR:
            return max(left - amount.value, 0) if left is not None and isinstance(amount, Constant) else left
        case _:
            return 1
