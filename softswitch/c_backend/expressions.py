"""Expressions as C.

The program's integers have no size; C's do. An expression is computed modulo 2^64 or 2^128 wherever only its low bits
count, and exactly, in a type that holds the range that it can have, where all of them do: in comparisons, shifts to the
right, saturation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from softswitch.program import ir

_WORD = 64
_MOST_BITS = 128
_MOST_SHIFT = 256
_ARITHMETIC = {
    ir.BinaryOp.ADD: "+",
    ir.BinaryOp.SUB: "-",
    ir.BinaryOp.MUL: "*",
    ir.BinaryOp.AND: "&",
    ir.BinaryOp.OR: "|",
    ir.BinaryOp.XOR: "^",
}
_COMPARISONS = frozenset(op for op in ir.BinaryOp if op.value in ("==", "!=", "<", "<=", ">", ">="))

Range = tuple[int, int]
Name = Callable[[str, str], str]


class NotNativeError(Exception):
    """The program has something that is not compiled to C: one sentence says what."""


def c_type(width: int) -> str:
    """The type of a field's variable.

    Raises:
        NotNativeError: it is wider than 128 bits.
    """
    if width > _MOST_BITS:
        raise NotNativeError(f"values of {width} bits are too wide")
    return "u64" if width <= _WORD else "u128"


def words_of(width: int) -> int:
    """How many 64-bit words hold a value."""
    return 1 if c_type(width) == "u64" else 2


def literal(value: int) -> str:
    """A number of up to 128 bits."""
    value &= (1 << _MOST_BITS) - 1
    if value >> _WORD:
        return f"((u128){value >> _WORD:#x}u << 64 | {value & (1 << _WORD) - 1:#x}u)"
    return f"(u64){value:#x}u" if value > 9 else f"(u64){value}"


def mask(text: str, width: int) -> str:
    """The low `width` bits of a value of the type for that width."""
    return text if width in (_WORD, _MOST_BITS) else f"({text} & {literal((1 << width) - 1)})"


@dataclass(frozen=True, slots=True)
class Expressions:
    """Expressions as C text: `field` and `valid` name variables, `arguments` are the action's parameters."""

    field: Name
    valid: Callable[[str], str]
    arguments: Sequence[str] = ()

    def fitting(self, expression: ir.Expression, width: int) -> str:
        """The expression's low `width` bits, as the type for that width."""
        low, high = value_range(expression) or (-1, 0)
        text = self.low(expression, c_type(width))
        return text if low >= 0 and high < 1 << width else mask(text, width)

    def exact(self, expression: ir.Expression) -> tuple[str, str]:
        """The expression's very value, and its type: u64, u128 or s128.

        Raises:
            NotNativeError: it may not fit.
        """
        limits = value_range(expression)
        kind = _exact_type(limits)
        if kind == "s128":
            return f"(s128)({self.low(expression, 'u128')})", kind
        return self.low(expression, kind), kind

    def natural(self, expression: ir.Expression) -> str:
        """The expression's value as a u64.

        Raises:
            NotNativeError: it may not fit.
        """
        text, kind = self.exact(expression)
        if kind != "u64":
            raise NotNativeError("a number here may be negative or longer than 64 bits")
        return text

    def low(self, expression: ir.Expression, kind: str) -> str:
        """The expression modulo 2^64 or 2^128, by `kind`: u64 or u128."""
        match expression:
            case ir.Constant(value):
                bits = _WORD if kind == "u64" else _MOST_BITS
                return f"({kind}){literal(value & (1 << bits) - 1)}"
            case ir.FieldValue(header, field):
                c_type(expression.width)
                return f"({kind}){self.field(header, field)}"
            case ir.Valid(header):
                return f"({kind}){self.valid(header)}"
            case ir.Parameter(index):
                return f"({kind}){self.arguments[index]}"
            case ir.Saturate(operand, width):
                return f"({kind}){self._saturated(operand, width)}"
            case ir.Conditional(condition, then, otherwise):
                return f"({self.condition(condition)} ? {self.low(then, kind)} : {self.low(otherwise, kind)})"
            case ir.Unary(ir.UnaryOp.COMPLEMENT, operand):
                return f"(~{self.low(operand, kind)})"
            case ir.Unary():
                return f"({kind}){self.condition(expression)}"
            case ir.Binary(op, left, right) if op in _ARITHMETIC:
                return f"({self.low(left, kind)} {_ARITHMETIC[op]} {self.low(right, kind)})"
            case ir.Binary(ir.BinaryOp.SHL, left, right):
                return f"pf_shl{kind[1:]}({self.low(left, kind)}, {self.natural(right)})"
            case ir.Binary(ir.BinaryOp.SHR, left, right):
                text, wide = self.exact(left)
                function = {"u64": "pf_shr64", "u128": "pf_shr128", "s128": "pf_sar128"}[wide]
                return f"({kind}){function}({text}, {self.natural(right)})"
            case ir.Binary():
                return f"({kind}){self.condition(expression)}"
            case _:
                raise NotNativeError(f"{type(expression).__name__} in an expression")

    def condition(self, expression: ir.Expression) -> str:
        """The expression as 1 or 0, in brackets."""
        match expression:
            case ir.Unary(ir.UnaryOp.NOT, operand):
                return f"(!{self.condition(operand)})"
            case ir.Unary(ir.UnaryOp.BOOL_TO_DATA, operand):
                return self.condition(operand)
            case ir.Binary(op, left, right) if op in _COMPARISONS:
                return self._comparison(op, left, right)
            case ir.Binary(ir.BinaryOp.BOOL_AND, left, right):
                return f"({self.condition(left)} && {self.condition(right)})"
            case ir.Binary(ir.BinaryOp.BOOL_OR, left, right):
                return f"({self.condition(left)} || {self.condition(right)})"
            case ir.Conditional(condition, then, otherwise):
                return f"({self.condition(condition)} ? {self.condition(then)} : {self.condition(otherwise)})"
            case ir.Unary(ir.UnaryOp.DATA_TO_BOOL, operand):
                return f"({self.exact(operand)[0]} != 0)"
            case _:
                return f"({self.exact(expression)[0]} != 0)"

    def _comparison(self, op: ir.BinaryOp, left: ir.Expression, right: ir.Expression) -> str:
        (low_left, high_left), (low_right, high_right) = _known(value_range(left)), _known(value_range(right))
        kind = _exact_type((min(low_left, low_right), max(high_left, high_right)))
        wide = "u64" if kind == "u64" else "u128"
        texts = [self.low(side, wide) for side in (left, right)]
        if kind == "s128":
            texts = [f"(s128){text}" for text in texts]
        return f"({texts[0]} {op.value} {texts[1]})"

    def _saturated(self, operand: ir.Expression, width: int) -> str:
        low, high = _known(value_range(operand))
        text, kind = self.exact(operand)
        most = f"({kind}){literal((1 << width) - 1)}"
        if high >= 1 << width:
            text = f"({text} > {most} ? {most} : {text})"
        if low < 0:
            text = f"({self.exact(operand)[0]} < 0 ? 0 : {text})"
        return text


def value_range(expression: ir.Expression) -> Range | None:
    """The least and the greatest value that an expression can have; None when that is beyond reason."""
    match expression:
        case ir.Constant(value):
            return value, value
        case ir.FieldValue() | ir.Parameter() | ir.Lookahead() | ir.Saturate():
            return 0, (1 << expression.width) - 1
        case ir.Unary(ir.UnaryOp.COMPLEMENT, operand):
            limits = value_range(operand)
            return None if limits is None else (~limits[1], ~limits[0])
        case ir.Conditional(_, then, otherwise):
            first, second = value_range(then), value_range(otherwise)
            return None if first is None or second is None else (min(first[0], second[0]), max(first[1], second[1]))
        case ir.Binary(op, left, right):
            first, second = value_range(left), value_range(right)
            if op is ir.BinaryOp.AND:
                return _range_of_and(first, second)
            if op in _COMPARISONS or op in (ir.BinaryOp.BOOL_AND, ir.BinaryOp.BOOL_OR):
                return 0, 1
            return None if first is None or second is None else _range_of_binary(op, first, second)
        case _:
            return 0, 1


def _range_of_and(left: Range | None, right: Range | None) -> Range | None:
    natural = [limits[1] for limits in (left, right) if limits is not None and limits[0] >= 0]
    if natural:
        return 0, min(natural)
    return None if left is None or right is None else _signed(left, right)


def _signed(left: Range, right: Range) -> Range:
    bits = max(abs(limit).bit_length() for limit in (*left, *right))
    return -1 << bits, (1 << bits) - 1


def _range_of_binary(op: ir.BinaryOp, left: Range, right: Range) -> Range | None:
    match op:
        case ir.BinaryOp.ADD:
            return left[0] + right[0], left[1] + right[1]
        case ir.BinaryOp.SUB:
            return left[0] - right[1], left[1] - right[0]
        case ir.BinaryOp.MUL:
            products = [a * b for a in left for b in right]
            return min(products), max(products)
        case ir.BinaryOp.OR | ir.BinaryOp.XOR:
            if left[0] < 0 or right[0] < 0:
                return _signed(left, right)
            return 0, (1 << max(left[1].bit_length(), right[1].bit_length())) - 1
        case ir.BinaryOp.SHL:
            if right[0] < 0 or right[1] > _MOST_SHIFT:
                return None
            shifted = [a << b for a in left for b in right]
            return min(shifted), max(shifted)
        case ir.BinaryOp.SHR:
            return min(left[0], 0), max(left[1], 0)
        case _:
            return None


def _known(limits: Range | None) -> Range:
    if limits is None:
        raise NotNativeError("a shift to the left by an amount without a reasonable limit")
    return limits


def _exact_type(limits: Range | None) -> str:
    low, high = _known(limits)
    if low >= 0 and high < 1 << _MOST_BITS:
        return "u64" if high < 1 << _WORD else "u128"
    if low >= -1 << (_MOST_BITS - 1) and high < 1 << (_MOST_BITS - 1):
        return "s128"
    raise NotNativeError("an intermediate result may need more than 128 bits")
