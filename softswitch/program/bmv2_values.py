"""Values in BMv2 JSON: fields, headers, constants, expressions, and the inputs of calculations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from softswitch.program import ir

Json = Mapping[str, Any]

_VALID_FIELD = "$valid$"
_BINARY_OPS = {op.value: op for op in ir.BinaryOp}
_UNARY_OPS = {op.value: op for op in ir.UnaryOp}
_ALGORITHMS = {algorithm.value: algorithm for algorithm in ir.Algorithm}
_MAX_SHIFT_BITS = 16


class Refused(Exception):
    """A construct that the softswitch does not run; the message names it."""


def number(text: str) -> int:
    """The value of a BMv2 hexadecimal string, which may be negative."""
    return int(text, 16)


class Values:
    """Resolves names against the headers; action parameters against `parameter_widths`."""

    def __init__(self, headers: Mapping[str, ir.Header], parameter_widths: Sequence[int] = ()) -> None:
        self.headers = headers
        self._parameter_widths = parameter_widths

    def within(self, parameter_widths: Sequence[int]) -> Values:
        """The same inside an action with these parameters."""
        return Values(self.headers, parameter_widths)

    def field(self, header: str, field: str) -> ir.FieldValue:
        """A field that can be written."""
        owner = self.headers[header]
        if field == owner.varbit:
            raise Refused(f"use of the varbit field {header}.{field}")
        return ir.FieldValue(header, field, owner.fields[field])

    def target(self, raw: Json) -> ir.FieldValue:
        """What an assignment writes to."""
        if raw["type"] != "field":
            raise Refused(f"assignment to a {raw['type']}")
        return self.field(*raw["value"])

    def header(self, raw: Json) -> str:
        """A header's name."""
        if raw["type"] != "header":
            raise Refused(f"a {raw['type']} where a header is wanted")
        return self.headers[raw["value"]].name

    def match_key(self, target: Sequence[str]) -> ir.FieldValue | ir.Valid:
        """A field that a table or parser state looks at."""
        header, field = target
        if field == _VALID_FIELD:
            return ir.Valid(self.headers[header].name)
        return self.field(header, field)

    def parser_key(self, raw: Json) -> ir.FieldValue | ir.Valid | ir.Lookahead:
        """A part of a parser state's transition key."""
        match raw["type"]:
            case "field":
                return self.match_key(raw["value"])
            case "lookahead":
                return ir.Lookahead(*raw["value"])
            case kind:
                raise Refused(f"a {kind} as a parser's transition key")

    def expression(self, raw: Json) -> ir.Expression:
        """Any right-hand side."""
        value = raw["value"]
        match raw["type"]:
            case "expression":
                return self._operation(value) if "op" in value else self.expression(value)
            case "hexstr":
                return ir.Constant(number(value))
            case "bool":
                return ir.Constant(int(value))
            case "field":
                return self.match_key(value)
            case "local" | "runtime_data":
                return ir.Parameter(value, self._parameter_widths[value])
            case kind:
                raise Refused(f"a {kind} in an expression")

    def _operation(self, raw: Json) -> ir.Expression:
        op = raw["op"]
        if op == "?":
            return ir.Conditional(
                self.expression(raw["cond"]), self.expression(raw["left"]), self.expression(raw["right"])
            )
        if op == "valid":
            return ir.Valid(self.header(raw["right"]))
        if op == "usat_cast":
            return ir.Saturate(self.expression(raw["left"]), number(raw["right"]["value"]))
        if op in _UNARY_OPS:
            return ir.Unary(_UNARY_OPS[op], self.expression(raw["right"]))
        if op not in _BINARY_OPS:
            raise Refused(f"the operator {op}")
        left, right = self.expression(raw["left"]), self.expression(raw["right"])
        if op in ("<<", ">>") and not 0 <= (ir.width(right) or -1) <= _MAX_SHIFT_BITS and right != ir.Constant(0):
            raise Refused(f"{op} by an amount of unknown size")
        return ir.Binary(_BINARY_OPS[op], left, right)

    def calculation(self, raw: Json) -> ir.Calculation:
        """A hash or checksum and its inputs."""
        if raw["algo"] not in _ALGORITHMS:
            raise Refused(f"the hash algorithm {raw['algo']}")
        return ir.Calculation(_ALGORITHMS[raw["algo"]], tuple(map(self._calculation_input, raw["input"])))

    def _calculation_input(self, raw: Json) -> tuple[ir.Constant | ir.FieldValue, int]:
        match raw["type"]:
            case "field":
                field = self.field(*raw["value"])
                return field, field.width
            case "hexstr":
                return ir.Constant(number(raw["value"])), raw["bitwidth"]
            case kind:
                raise Refused(f"a {kind} as the input of a hash or checksum")
