"""Actions in BMv2 JSON: primitives, and jumps turned back into conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from softswitch.program import ir
from softswitch.program.bmv2_values import Refused, Values, number

Json = Mapping[str, Any]


def read_actions(document: Json, values: Values, calculations: Mapping[str, ir.Calculation]) -> dict[int, ir.Action]:
    """The actions by id."""
    digests = {d["id"]: d for d in document["learn_lists"]}
    field_lists = {f["id"]: f["elements"] for f in document["field_lists"]}
    actions = {}
    for raw in document["actions"]:
        widths = tuple(parameter["bitwidth"] for parameter in raw["runtime_data"])
        reader = _Body(raw["primitives"], raw["name"], values.within(widths), calculations, digests, field_lists)
        body = reader.statements(0, len(raw["primitives"]))
        actions[raw["id"]] = ir.Action(name=raw["name"], parameter_widths=widths, body=body)
    return actions


@dataclass(frozen=True, slots=True)
class _Body:
    primitives: Sequence[Json]
    action: str
    values: Values
    calculations: Mapping[str, ir.Calculation]
    digests: Mapping[int, Json]
    field_lists: Mapping[int, Sequence[Json]]

    def statements(self, start: int, end: int) -> tuple[ir.Statement, ...]:
        """The primitives from `start` up to `end`.

        p4c makes `if` from `_jump_if_zero` over the first branch, which ends with a `_jump` over the second one when
        there is one. A `return` is a `_jump` to the end of the action; so is what follows an `exit`.
        """
        made: list[ir.Statement] = []
        at = start
        while at < end:
            primitive = self.primitives[at]
            if primitive["op"] == "_jump_if_zero":
                statement, at = self._if(at, end)
                made.append(statement)
                continue
            if primitive["op"] != "_jump":
                made += self._statement(primitive)
            elif self._jump_target(at) != len(self.primitives):
                raise Refused(f"a jump that is no if, return or exit in action {self.action}")
            elif not isinstance(made[-1] if made else None, ir.Exit):
                made.append(ir.Return())
            at += 1
        return tuple(made)

    def _if(self, at: int, end: int) -> tuple[ir.If, int]:
        """The `if` that begins at a jump, and where it ends; all of it lies in front of `end`."""
        second = self._jump_target(at)
        if not at < second <= end:
            raise Refused(f"a jump that is no if, return or exit in action {self.action}")
        first_end = after = second
        last = second - 1
        if last > at and self.primitives[last]["op"] == "_jump" and second <= self._jump_target(last) <= end:
            first_end, after = last, self._jump_target(last)
        condition = self.values.expression(self.primitives[at]["parameters"][0])
        return ir.If(condition, self.statements(at + 1, first_end), self.statements(second, after)), after

    def _jump_target(self, at: int) -> int:
        return number(self.primitives[at]["parameters"][-1]["value"])

    def _statement(self, primitive: Json) -> list[ir.Statement]:
        values, parameters = self.values, primitive["parameters"]
        match primitive["op"]:
            case "assign":
                return [ir.Assign(values.target(parameters[0]), values.expression(parameters[1]))]
            case "add_header":
                return [ir.AddHeader(values.header(parameters[0]))]
            case "remove_header":
                return [ir.RemoveHeader(values.header(parameters[0]))]
            case "assign_header":
                return [ir.CopyHeader(values.header(parameters[0]), values.header(parameters[1]))]
            case "mark_to_drop" | "drop":
                return [ir.MarkToDrop()]
            case "exit":
                return [ir.Exit()]
            case "no_op":
                return []
            case "count":
                return [ir.Count(parameters[0]["value"], values.expression(parameters[1]))]
            case "register_read":
                return [
                    ir.RegisterRead(
                        values.target(parameters[0]), parameters[1]["value"], values.expression(parameters[2])
                    )
                ]
            case "register_write":
                index, value = map(values.expression, parameters[1:])
                return [ir.RegisterWrite(parameters[0]["value"], index, value)]
            case "modify_field_with_hash_based_offset":
                target, base, calculation, size = parameters
                return [
                    ir.Hash(
                        values.target(target),
                        self.calculations[calculation["value"]],
                        values.expression(base),
                        values.expression(size),
                    )
                ]
            case "generate_digest":
                digest = self.digests[number(parameters[1]["value"])]
                return [ir.SendDigest(digest["name"], tuple(map(values.expression, digest["elements"])))]
            case "clone_ingress_pkt_to_egress" | "clone_egress_pkt_to_egress" as op:
                number_of_list = number(parameters[1]["value"])
                preserved = tuple(map(self._preserved, self.field_lists[number_of_list]))
                is_of_egress = op == "clone_egress_pkt_to_egress"
                return [ir.Clone(values.expression(parameters[0]), number_of_list, preserved, is_of_egress)]
            case op:
                raise Refused(f"{op} (in action {self.action})")

    def _preserved(self, element: Json) -> ir.FieldValue:
        """A field that a clone keeps."""
        field = self.values.target(element)
        if not self.values.headers[field.header].is_metadata:
            raise Refused(f"the packet's own field {field.header}.{field.field} in a field list")
        return field
