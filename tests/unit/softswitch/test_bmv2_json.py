"""The loader: what it refuses and how it says so, and that the committed JSON is p4c's."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pentaflow.errors import ConfigurationError, UnsupportedPipelineError
from softswitch.pipeline import load_pipeline
from softswitch.program import ir
from softswitch.program.bmv2_json import read_program
from support.pipelines import NAMES, PROGRAMS, load

P4C = shutil.which("p4c-bm2-ss")


@pytest.mark.parametrize(
    ("program", "construct"),
    [
        ("loop", "a parser loop (through state skip)"),
        ("meter", "the meter I.limit"),
        ("random", "modify_field_rng_uniform"),
        ("recirculate", "recirculate (in action"),
        ("selector", "the action profile of table I.spread"),
        ("stack", "the header stack more"),
    ],
)
def test_a_program_that_cannot_run_is_refused_by_name(program: str, construct: str) -> None:
    text = (PROGRAMS / f"refused/{program}.json").read_bytes()
    with pytest.raises(UnsupportedPipelineError) as caught:
        load_pipeline(text, f"{program}.json")
    assert caught.value.place == f"{program}.json"
    assert construct in caught.value.message
    assert "not supported by the softswitch" in caught.value.message


def _sign_a_field(document: dict[str, Any]) -> None:
    document["header_types"][-1]["fields"][0][2] = True


def _use_a_value_set(document: dict[str, Any]) -> None:
    document["parse_vsets"] = [{"name": "ports"}]


def _use_an_extern(document: dict[str, Any]) -> None:
    document["extern_instances"] = [{"name": "thing"}]


def _hash_otherwise(document: dict[str, Any]) -> None:
    document["calculations"][0]["algo"] = "xxh64"


def _hash_the_payload(document: dict[str, Any]) -> None:
    document["calculations"][0]["input"].append({"type": "payload", "value": None})


def _match_on_validity(document: dict[str, Any]) -> None:
    document["pipelines"][0]["tables"].append(
        {
            "name": "I.odd",
            "type": "simple",
            "direct_meters": None,
            "key": [{"match_type": "valid", "name": "k", "target": ["ipv4", "$valid$"], "mask": None}],
        }
    )


def _work_otherwise(document: dict[str, Any]) -> None:
    document["actions"][0]["primitives"] = [{"op": "truncate", "parameters": []}]


def _divide(document: dict[str, Any]) -> None:
    constant = {"type": "hexstr", "value": "0x01"}
    document["pipelines"][0]["conditionals"][0]["expression"] = {
        "type": "expression",
        "value": {"op": "/", "left": constant, "right": constant},
    }


def _shift_far(document: dict[str, Any]) -> None:
    document["pipelines"][0]["conditionals"][0]["expression"] = {
        "type": "expression",
        "value": {
            "op": "<<",
            "left": {"type": "hexstr", "value": "0x01"},
            "right": {"type": "field", "value": ["standard_metadata", "instance_type"]},
        },
    }


def _loop_in_the_control(document: dict[str, Any]) -> None:
    condition = document["pipelines"][0]["conditionals"][0]
    condition["true_next"] = condition["name"]


def _deparse_with_code(document: dict[str, Any]) -> None:
    document["deparsers"][0]["primitives"] = [{"op": "assign", "parameters": []}]


def _be_another_architecture(document: dict[str, Any]) -> None:
    document["pipelines"][1]["name"] = "main_control"


def _parse_otherwise(document: dict[str, Any]) -> None:
    document["parsers"][0]["parse_states"][0]["parser_ops"][0]["op"] = "shift"


def _be_version_3(document: dict[str, Any]) -> None:
    document["__meta__"]["version"] = [3, 0]


@pytest.mark.parametrize(
    ("change", "construct"),
    [
        (_sign_a_field, "the signed field ipv4.version"),
        (_use_a_value_set, "the parser value set ports"),
        (_use_an_extern, "the extern instance thing"),
        (_hash_otherwise, "the hash algorithm xxh64"),
        (_hash_the_payload, "a payload as the input of a hash or checksum"),
        (_match_on_validity, "the match kind valid in table I.odd"),
        (_work_otherwise, "truncate (in action "),
        (_divide, "the operator /"),
        (_shift_far, "<< by an amount of unknown size"),
        (_loop_in_the_control, "a loop in the ingress pipeline"),
        (_deparse_with_code, "assign in the deparser"),
        (_be_another_architecture, "an architecture with the pipelines ingress, main_control"),
        (_parse_otherwise, "the parser operation shift"),
        (_be_version_3, "version 3.0"),
    ],
)
def test_every_construct_that_is_not_run_is_refused_by_name(
    change: Callable[[dict[str, Any]], None], construct: str
) -> None:
    document = json.loads((PROGRAMS / "router.json").read_text())
    change(document)
    with pytest.raises(UnsupportedPipelineError) as caught:
        load_pipeline(json.dumps(document).encode(), "router.json")
    assert construct in caught.value.message


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"7", b"{}", b'{"__meta__": {"version": [2, 23]}}', b"\xff\xfe"]
)
def test_what_is_not_bmv2_json_is_the_users_mistake(text: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"router\.json: this is not BMv2 JSON as p4c writes it"):
        load_pipeline(text, "router.json")


@pytest.mark.parametrize("section", ["counter_arrays", "register_arrays"])
def test_a_name_that_nothing_has_is_the_users_mistake(section: str) -> None:
    document = json.loads((PROGRAMS / "state.json").read_text())
    document[section] = []
    with pytest.raises(ConfigurationError, match=r"state\.json: this is not BMv2 JSON as p4c writes it"):
        load_pipeline(json.dumps(document).encode(), "state.json")


@pytest.mark.parametrize("size", [0, -1, (1 << 24) + 1, 1 << 70])
@pytest.mark.parametrize(
    ("section", "name"), [("counter_arrays", "counter I.hits"), ("register_arrays", "register I.cells")]
)
def test_an_array_of_absurd_size_is_refused_by_name(section: str, name: str, size: int) -> None:
    document = json.loads((PROGRAMS / "state.json").read_text())
    document[section][0]["size"] = size
    with pytest.raises(UnsupportedPipelineError, match=f"the {name} with {size} cells"):
        load_pipeline(json.dumps(document).encode(), "state.json")


def test_nesting_beyond_python_is_refused() -> None:
    document = json.loads((PROGRAMS / "router.json").read_text())
    one: dict[str, Any] = {"type": "hexstr", "value": "0x01"}
    deep = one
    for _ in range(250):
        deep = {"type": "expression", "value": {"op": "+", "left": deep, "right": one}}
    document["pipelines"][0]["conditionals"][0]["expression"] = deep
    with pytest.raises(UnsupportedPipelineError, match="nested as deeply"):
        load_pipeline(json.dumps(document).encode(), "router.json")


def test_parser_states_come_in_an_order_that_leads_forwards() -> None:
    program = read_program((PROGRAMS / "parsing.json").read_bytes(), "parsing.json")
    order = list(program.states)
    for name, state in program.states.items():
        for transition in state.transitions:
            after = transition.next_state
            assert after is None or order.index(after) > order.index(name)


def test_transition_values_are_split_by_key() -> None:
    program = read_program((PROGRAMS / "parsing.json").read_bytes(), "parsing.json")
    [first, *_] = program.states["parse_kind"].transitions
    assert first.matches == ((1, 0xF), (0x010, 0x0F0))


def test_constant_entries_have_p4runtime_priorities() -> None:
    table = load("matches").tables["I.const_ternary"]
    assert table.is_const
    assert [(entry.params, entry.priority, entry.is_const) for entry in table] == [
        ((21,), 3, True),
        ((22,), 2, True),
        ((23,), 1, True),
    ]


def test_conditions_in_actions_are_nested_again() -> None:
    program = read_program((PROGRAMS / "control_flow.json").read_bytes(), "control_flow.json")
    [only] = program.tables["I.choose"].actions["I.second"].body
    assert isinstance(only, ir.If)
    assert only.then == ()
    assert isinstance(only.otherwise[0], ir.If)


@pytest.mark.skipif(P4C is None, reason="p4c-bm2-ss is not installed")
@pytest.mark.parametrize("name", [*NAMES, *sorted(f"refused/{p.stem}" for p in PROGRAMS.glob("refused/*.json"))])
def test_the_committed_json_is_what_p4c_makes_of_the_program(name: str, tmp_path: Path) -> None:
    assert P4C is not None
    source = PROGRAMS / f"{name}.p4"
    options = ["--p4runtime-files", str(tmp_path / "p4info.txtpb"), "-o", str(tmp_path / "made.json")]
    subprocess.run([P4C, *options, source.name], cwd=source.parent, check=True, capture_output=True)
    assert json.loads((tmp_path / "made.json").read_bytes()) == json.loads((PROGRAMS / f"{name}.json").read_bytes())
    assert (tmp_path / "p4info.txtpb").read_text() == (PROGRAMS / f"{name}.p4info.txtpb").read_text()
