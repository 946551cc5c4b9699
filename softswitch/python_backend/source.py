"""Writing Python: lines with indentation, names for variables, expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import assert_never

from softswitch.program import ir

_COMPARISONS = frozenset(op for op in ir.BinaryOp if op.value in ("==", "!=", "<", "<=", ">", ">="))
_CONDITIONS = _COMPARISONS | {ir.BinaryOp.BOOL_AND, ir.BinaryOp.BOOL_OR}


class Source:
    """Lines of Python in the making."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0

    def line(self, text: str) -> None:
        """Add a line at the present depth."""
        self._lines.append("    " * self._depth + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Add `head:` and what is added inside, indented; when that is nothing, `pass`, or no `else` at all."""
        self.line(head + ":")
        self._depth += 1
        before = len(self._lines)
        yield
        if len(self._lines) == before:
            if head == "else":
                self._lines.pop()
            else:
                self.line("pass")
        self._depth -= 1

    def text(self) -> str:
        """All lines."""
        return "\n".join(self._lines) + "\n"


class Names:
    """Names of variables, readable and never the same for two things."""

    def __init__(self, reserved: Sequence[str]) -> None:
        self._taken = set(reserved)
        self._names: dict[tuple[str, ...], str] = {}

    def __call__(self, header: str, field: str) -> str:
        """The name of a field's variable."""
        return self._name((header, field), f"{header}_{field}")

    def of(self, kind: str, *thing: str) -> str:
        """The name of something else than a field: `of("valid", "ipv4")`."""
        return self._name(("", kind, *thing), "_".join((kind, *thing)))

    def _name(self, thing: tuple[str, ...], text: str) -> str:
        if thing not in self._names:
            base = name = re.sub(r"[\W_]+", "_", text)
            number = 1
            while name in self._taken:
                number += 1
                name = f"{base}_{number}"
            self._taken.add(name)
            self._names[thing] = name
        return self._names[thing]


class Expressions:
    """Expressions as Python text; `arguments` are the texts of the enclosing action's parameters."""

    def __init__(self, names: Names, arguments: Sequence[str] = ()) -> None:
        self._names = names
        self._arguments = arguments

    def value(self, expression: ir.Expression) -> str:
        """The expression as a number, in brackets where operators around it could tear it apart."""
        match expression:
            case ir.Constant(value):
                return str(value) if -10 < value < 10 else hex(value)
            case ir.FieldValue(header, field):
                return self._names(header, field)
            case ir.Valid(header):
                return self._names.of("valid", header)
            case ir.Parameter(index):
                return self._arguments[index]
            case ir.Lookahead():
                raise AssertionError(expression)
            case ir.Saturate(operand, width):
                return f"min(max({self.value(operand)}, 0), {(1 << width) - 1:#x})"
            case ir.Conditional(condition, then, otherwise):
                return f"({self.value(then)} if {self.condition(condition)} else {self.value(otherwise)})"
            case ir.Unary(ir.UnaryOp.COMPLEMENT, operand):
                return f"(~{self.value(operand)})"
            case ir.Unary(ir.UnaryOp.BOOL_TO_DATA, operand):
                return f"(1 if {self.condition(operand)} else 0)"
            case ir.Unary():
                return f"(1 if {self.condition(expression)} else 0)"
            case ir.Binary(op, left, right):
                if op in _CONDITIONS:
                    return f"(1 if {self.condition(expression)} else 0)"
                if op is ir.BinaryOp.AND and is_redundant_mask(left, right):
                    return self.value(left)
                return f"({self.value(left)} {op.value} {self.value(right)})"
            case _:
                assert_never(expression)

    def condition(self, expression: ir.Expression) -> str:
        """The expression as something that is true or false, in brackets where needed."""
        match expression:
            case ir.Unary(ir.UnaryOp.NOT, operand):
                return f"(not {self.condition(operand)})"
            case ir.Unary(ir.UnaryOp.DATA_TO_BOOL, operand):
                return self.value(operand)
            case ir.Unary(ir.UnaryOp.BOOL_TO_DATA, operand):
                return self.condition(operand)
            case ir.Binary(op, left, right) if op in _COMPARISONS:
                return f"({self.value(left)} {op.value} {self.value(right)})"
            case ir.Binary(op, left, right) if op in _CONDITIONS:
                return f"({self.condition(left)} {op.value} {self.condition(right)})"
            case ir.Conditional(condition, then, otherwise):
                return f"({self.condition(then)} if {self.condition(condition)} else {self.condition(otherwise)})"
            case _:
                return self.value(expression)

    def fitting(self, expression: ir.Expression, width: int) -> str:
        """The expression's low `width` bits."""
        mask = ir.Constant((1 << width) - 1)
        return bare(self.value(ir.Binary(ir.BinaryOp.AND, expression, mask)))


def is_redundant_mask(value: ir.Expression, mask: ir.Expression) -> bool:
    """Whether `value & mask` is `value` for certain."""
    if not isinstance(mask, ir.Constant) or mask.value < 0:
        return False
    width = ir.width(value)
    return width is not None and (1 << width) - 1 & ~mask.value == 0


def bare(text: str) -> str:
    """The text without a pair of brackets around all of it."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for at, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0 and at < len(text) - 1:
            return text
    return text[1:-1]
