"""Reads what `p4c-bm2-ss` writes for v1model: BMv2 JSON (docs/JSON_format.md of p4lang/behavioral-model) → `Program`.

Whatever the softswitch does not run is refused here, by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pentaflow.errors import ConfigurationError, UnsupportedPipelineError
from softswitch.program import ir
from softswitch.program.bmv2_actions import read_actions
from softswitch.program.bmv2_values import Refused, Values, number
from softswitch.program.control_flow import Loop, Tangle, nest, topological_order
from softswitch.tables import Entry, Field, MatchKind, MatchValue

Json = Mapping[str, Any]

_MAJOR_VERSION = 2
_MAX_CELLS = 1 << 24
_EMPTY_SECTIONS = {
    "header_stacks": "the header stack",
    "header_union_types": "the header union",
    "parse_vsets": "the parser value set",
    "meter_arrays": "the meter",
    "extern_instances": "the extern instance",
}
_MATCH_KINDS = {kind.value: kind for kind in (MatchKind.EXACT, MatchKind.LPM, MatchKind.TERNARY, MatchKind.RANGE)}


def read_program(json_text: bytes, place: str) -> ir.Program:
    """The pipeline in p4c's output.

    Args:
        json_text: the BMv2 JSON.
        place: what errors call it, such as the file's name.

    Raises:
        ConfigurationError: it is not BMv2 JSON.
        UnsupportedPipelineError: it uses what the softswitch does not run.
    """
    try:
        document = json.loads(json_text)
        major, minor = document["__meta__"]["version"]
        if major != _MAJOR_VERSION:
            raise UnsupportedPipelineError(
                place, f"BMv2 JSON version {major}.{minor} is not supported, version {_MAJOR_VERSION} is"
            )
        return _read(document)
    except Refused as refusal:
        raise UnsupportedPipelineError(place, f"{refusal} is not supported by the softswitch") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigurationError(place, f"this is not BMv2 JSON as p4c writes it: {what}") from error


def _read(document: Json) -> ir.Program:
    for section, what in _EMPTY_SECTIONS.items():
        for item in document.get(section, ()):
            raise Refused(f"{what} {item['name']}")
    headers = _read_headers(document)
    values = Values(headers)
    calculations = {c["name"]: values.calculation(c) for c in document["calculations"]}
    registers = {
        r["name"]: ir.Register(size=_cells("register", r), width=r["bitwidth"]) for r in document["register_arrays"]
    }
    counters = {c["name"]: _cells("counter", c) for c in document["counter_arrays"] if not c["is_direct"]}
    actions = read_actions(document, values, calculations)
    pipelines = {p["name"]: p for p in document["pipelines"]}
    if set(pipelines) != {"ingress", "egress"}:
        raise Refused(f"an architecture with the pipelines {', '.join(sorted(pipelines))} (not v1model)")
    tables = {t["name"]: _read_table(t, values, actions) for p in pipelines.values() for t in p["tables"]}
    for name, pipeline in pipelines.items():
        _check_clones(name, [tables[t["name"]] for t in pipeline["tables"]])
    errors = dict(document["errors"])
    checksums = [(_read_checksum(c, values, calculations), c) for c in document["checksums"]]
    return ir.Program(
        headers=headers,
        states=_read_states(document, values),
        errors={error: errors[error.value] for error in ir.ParserError},
        verify_checksums=tuple(c for c, raw in checksums if raw["verify"]),
        tables=tables,
        ingress=_read_control(pipelines["ingress"], values),
        egress=_read_control(pipelines["egress"], values),
        update_checksums=tuple(c for c, raw in checksums if raw["update"]),
        deparser=_read_deparser(document),
        counters=counters,
        registers=registers,
    )


def _check_clones(pipeline: str, tables: Sequence[ir.TableDefinition]) -> None:
    for part in ir.parts(tuple(tuple(table.actions.values()) for table in tables)):
        if isinstance(part, ir.Clone) and part.is_of_egress != (pipeline == "egress"):
            raise Refused(f"a clone of {'egress' if part.is_of_egress else 'ingress'} in the {pipeline} pipeline")


def _cells(what: str, array: Json) -> int:
    size: int = array["size"]
    if not 0 < size <= _MAX_CELLS:
        raise Refused(f"the {what} {array['name']} with {size} cells (1 to {_MAX_CELLS} are possible)")
    return size


def _read_headers(document: Json) -> dict[str, ir.Header]:
    types = {t["name"]: t for t in document["header_types"]}
    headers = {}
    for instance in document["headers"]:
        header_type = types[instance["header_type"]]
        fields: dict[str, int] = {}
        varbit = None
        for name, width, *signed in header_type["fields"]:
            if any(signed):
                raise Refused(f"the signed field {instance['name']}.{name}")
            if varbit is not None or (width == "*" and instance["metadata"]):
                raise Refused(
                    f"the varbit field {instance['name']}.{varbit or name}, which is not the last one of a header"
                )
            if width == "*":
                varbit = name
            else:
                fields[name] = width
        headers[instance["name"]] = ir.Header(
            name=instance["name"],
            is_metadata=instance["metadata"],
            fields=fields,
            varbit=varbit,
            max_bytes=header_type.get("max_length") or 0,
        )
    return headers


def _read_deparser(document: Json) -> tuple[str, ...]:
    [deparser] = document["deparsers"]
    for primitive in deparser.get("primitives", ()):
        raise Refused(f"{primitive['op']} in the deparser")
    return tuple(deparser["order"])


# The parser.


def _read_states(document: Json, values: Values) -> dict[str, ir.ParserState]:
    [parser] = document["parsers"]
    states = {state["name"]: state for state in parser["parse_states"]}
    graph = {name: [t["next_state"] for t in state["transitions"]] for name, state in states.items()}
    try:
        order = topological_order(graph, parser["init_state"])
    except Loop as loop:
        raise Refused(f"a parser loop (through state {loop})") from None
    return {name: _read_state(states[name], values) for name in order}


def _read_state(state: Json, values: Values) -> ir.ParserState:
    keys = tuple(values.parser_key(key) for key in state["transition_key"])
    transitions = []
    for transition in state["transitions"]:
        matches: tuple[tuple[int, int], ...] = ()
        if transition["type"] == "hexstr":
            matches = _split_match(keys, number(transition["value"]), transition["mask"])
        elif transition["value"] not in (None, "default"):
            raise Refused(f"a transition on a {transition['type']} in parser state {state['name']}")
        transitions.append(ir.Transition(matches, transition["next_state"]))
    steps = tuple(_read_step(step, values) for step in state["parser_ops"])
    return ir.ParserState(steps, keys, tuple(transitions))


def _split_match(
    keys: Sequence[ir.FieldValue | ir.Valid | ir.Lookahead], value: int, mask: str | None
) -> tuple[tuple[int, int], ...]:
    """Each key's (value, mask) out of the concatenation, in which each takes whole bytes."""
    pairs = []
    mask_left = -1 if mask is None else number(mask)
    for key in reversed(keys):
        width = 1 if isinstance(key, ir.Valid) else key.width
        full = (1 << width) - 1
        pairs.append((value & full, mask_left & full))
        padded = (width + 7) // 8 * 8
        value, mask_left = value >> padded, mask_left >> padded
    return tuple(reversed(pairs))


def _read_step(step: Json, values: Values) -> ir.ParserStep:
    parameters = step["parameters"]
    match step["op"]:
        case "extract" | "extract_VL":
            kind, header = parameters[0]["type"], parameters[0]["value"]
            if kind != "regular":
                raise Refused(f"extraction into a {kind}")
            length = values.expression(parameters[1]) if step["op"] == "extract_VL" else None
            return ir.Extract(values.headers[header].name, length)
        case "set":
            target, value = parameters
            is_lookahead = value["type"] == "lookahead"
            source = ir.Lookahead(*value["value"]) if is_lookahead else values.expression(value)
            return ir.Assign(values.target(target), source)
        case "advance":
            return ir.Advance(values.expression(parameters[0]))
        case "verify":
            return ir.Verify(values.expression(parameters[0]), values.expression(parameters[1]))
        case "primitive":
            return _read_parser_primitive(parameters[0], values)
        case op:
            raise Refused(f"the parser operation {op}")


def _read_parser_primitive(primitive: Json, values: Values) -> ir.ParserStep:
    parameters = primitive["parameters"]
    match primitive["op"]:
        case "add_header":
            return ir.AddHeader(values.header(parameters[0]))
        case "remove_header":
            return ir.RemoveHeader(values.header(parameters[0]))
        case "assign_header":
            return ir.CopyHeader(values.header(parameters[0]), values.header(parameters[1]))
        case op:
            raise Refused(f"{op} in the parser")


# Checksums, tables, control flow.


def _read_checksum(raw: Json, values: Values, calculations: Mapping[str, ir.Calculation]) -> ir.Checksum:
    target = values.field(*raw["target"])
    condition = None if raw["if_cond"] is None else values.expression(raw["if_cond"])
    return ir.Checksum(target, calculations[raw["calculation"]], condition)


def _read_table(raw: Json, values: Values, actions: Mapping[int, ir.Action]) -> ir.TableDefinition:
    name = raw["name"]
    if raw["type"] != "simple":
        raise Refused(f"the action profile of table {name}")
    if raw["direct_meters"] is not None:
        raise Refused(f"the direct meter of table {name}")
    fields, keys = [], []
    for key in raw["key"]:
        if key["match_type"] not in _MATCH_KINDS:
            raise Refused(f"the match kind {key['match_type']} in table {name}")
        value = values.match_key(key["target"])
        width = 1 if isinstance(value, ir.Valid) else value.width
        fields.append(Field(name=key["name"], width=width, kind=_MATCH_KINDS[key["match_type"]]))
        mask = key["mask"]
        keys.append(value if mask is None else ir.Binary(ir.BinaryOp.AND, value, ir.Constant(number(mask))))
    own_actions = {actions[i].name: actions[i] for i in raw["action_ids"]}
    default = raw["default_entry"]
    return ir.TableDefinition(
        name=name,
        fields=tuple(fields),
        keys=tuple(keys),
        actions=own_actions,
        size=raw["max_size"],
        has_counter=raw["with_counters"],
        supports_idle_timeout=raw["support_timeout"],
        default_action=actions[default["action_id"]].name,
        default_params=tuple(map(number, default["action_data"])),
        default_is_const=default["action_const"] and default["action_entry_const"],
        const_entries=_read_entries(raw["entries"], actions) if "entries" in raw else None,
    )


def _read_entries(raw: Sequence[Json], actions: Mapping[int, ir.Action]) -> tuple[Entry, ...]:
    """The entries of the program. In BMv2 the smaller priority wins, in P4Runtime the greater one."""
    least = 1 + max((entry["priority"] for entry in raw), default=0)
    return tuple(
        Entry(
            match=tuple(_read_match_value(key) for key in entry["match_key"]),
            priority=least - entry["priority"],
            action=actions[entry["action_entry"]["action_id"]].name,
            params=tuple(map(number, entry["action_entry"]["action_data"])),
            is_const=True,
        )
        for entry in raw
    )


def _read_match_value(key: Json) -> MatchValue:
    match MatchKind(key["match_type"]):
        case MatchKind.LPM:
            return number(key["key"]), key["prefix_length"]
        case MatchKind.TERNARY:
            return number(key["key"]), number(key["mask"])
        case MatchKind.RANGE:
            return number(key["start"]), number(key["end"])
        case MatchKind.EXACT | MatchKind.OPTIONAL:
            return number(key["key"])


def _read_control(pipeline: Json, values: Values) -> ir.Block:
    for section in ("action_profiles", "action_calls"):
        for item in pipeline.get(section, ()):
            raise Refused(f"the {section.replace('_', ' ')[:-1]} {item['name']}")
    tables = {table["name"]: table for table in pipeline["tables"]}
    conditions = {c["name"]: values.expression(c["expression"]) for c in pipeline["conditionals"]}
    graph: dict[str, list[str | None]] = {
        c["name"]: [c["true_next"], c["false_next"]] for c in pipeline["conditionals"]
    }
    labels = {name: _next_nodes(table) for name, table in tables.items()}
    graph.update((name, list(after.values())) for name, after in labels.items())

    def make(node: str, blocks: list[ir.Block]) -> ir.Apply | ir.Branch:
        if node in conditions:
            return ir.Branch(conditions[node], *blocks)
        by_label = dict(zip(labels[node], blocks, strict=True))
        if "__HIT__" in by_label:
            return ir.Apply(node, (), by_label["__HIT__"], by_label["__MISS__"])
        groups: dict[str | None, tuple[set[str], ir.Block]] = {}
        for action, block in by_label.items():
            if block:
                groups.setdefault(labels[node][action], (set(), block))[0].add(action)
        return ir.Apply(node, tuple((frozenset(names), block) for names, block in groups.values()))

    try:
        return nest(graph, pipeline["init_table"], make)
    except Loop as loop:
        raise Refused(f"a loop in the {pipeline['name']} pipeline (through {loop})") from None
    except Tangle as tangle:
        raise Refused(f"unstructured control flow in the {pipeline['name']} pipeline (at {tangle})") from None


def _next_nodes(table: Json) -> dict[str, str | None]:
    after = table["next_tables"]
    if "__HIT__" in after or "__MISS__" in after:
        return {label: after.get(label, table["base_default_next"]) for label in ("__HIT__", "__MISS__")}
    return {action: after[action] for action in table["actions"]}
