"""The committed output of p4c is that of the committed sources, and numbers mean the same on both sides."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from finsy.proto import p4i
from google.protobuf import text_format
from pydantic import TypeAdapter, ValidationError

import controller.entries
import topologies.model
from pentaflow import cli
from pentaflow.config import Port
from pentaflow.hash import HashKeyKind
from softswitch.switch import SwitchOptions

P4 = Path(__file__).parents[2] / "p4"
OUTPUTS = ("build/pentaflow.json", "build/pentaflow.p4info.txtpb")


def source_texts() -> dict[str, str]:
    """The P4 sources by file name, without comments."""
    return {path.name: re.sub(r"//[^\n]*", "", path.read_text()) for path in sorted(P4.glob("*.p4"))}


def constants(text: str) -> dict[str, int]:
    """`const bit<N> NAME = VALUE;` → {NAME: VALUE}."""
    return {name: int(value, 0) for name, value in re.findall(r"const\s+bit<\d+>\s+(\w+)\s*=\s*(\w+);", text)}


def test_digests_cover_the_sources_and_the_outputs_and_match() -> None:
    listed = {}
    for line in (P4 / "build/SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    actual = {name: hashlib.sha256((P4 / name).read_bytes()).hexdigest() for name in (*source_texts(), *OUTPUTS)}
    assert listed == actual, "p4/build is out of date: run `make p4` and commit what it writes"


def without_places(node: Any) -> Any:
    """BMv2 JSON without what depends on where p4c ran, not on what it compiled: `source_info`, the program's path."""
    if isinstance(node, dict):
        return {key: without_places(value) for key, value in node.items() if key not in ("source_info", "program")}
    return [without_places(value) for value in node] if isinstance(node, list) else node


@pytest.mark.skipif(not shutil.which("p4c-bm2-ss"), reason="p4c-bm2-ss is not on PATH")
def test_p4c_compiles_the_sources_to_the_committed_output_without_warnings(tmp_path: Path) -> None:
    program, info = tmp_path / "pentaflow.json", tmp_path / "pentaflow.p4info.txtpb"
    done = subprocess.run(
        ["p4c-bm2-ss", "--p4runtime-files", str(info), "-o", str(program), str(P4 / "pentaflow.p4")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    committed_program, committed_info = (P4 / name for name in OUTPUTS)
    assert info.read_text() == committed_info.read_text()
    assert without_places(json.loads(program.read_text())) == without_places(json.loads(committed_program.read_text()))


def test_explicit_ids_are_unique() -> None:
    ids = [int(text, 0) for source in source_texts().values() for text in re.findall(r"@id\((\w+)\)", source)]
    assert ids
    assert len(ids) == len(set(ids))


def test_every_table_action_and_counter_has_an_explicit_id() -> None:
    declaration = re.compile(r"(@id\(\w+\)\s*)?\b(?:action|table|counter|direct_counter)\b\s*(?:\([^)]*\)\s*)?(\w+)")
    internal = {"round", "absorb", "drop"}  # called by actions, not by the control plane
    without = {
        name
        for source in source_texts().values()
        for explicit, name in declaration.findall(source)
        if not explicit and name not in internal
    }
    assert without == set()


def test_drop_reasons_are_contiguous_and_fit_the_counter() -> None:
    sources = source_texts()
    reasons = sorted(value for name, value in constants(sources["ids.p4"]).items() if name.startswith("DROP_"))
    size = re.search(r"#define DROP_REASONS (\d+)", sources["sizes.p4"])
    assert size
    assert reasons == list(range(len(reasons)))
    assert len(reasons) <= int(size[1])


def test_hash_key_kinds_are_those_of_the_p4_program() -> None:
    body = re.search(r"enum bit<2> hash_key_kind_t \{([^}]*)\}", source_texts()["ids.p4"])
    assert body
    in_p4 = {name: int(value) for name, value in re.findall(r"(\w+)\s*=\s*(\d+)", body[1])}
    assert in_p4 == {kind.name: kind.value for kind in HashKeyKind}


def test_ports_and_groups_of_python_are_those_of_the_p4_program() -> None:
    in_p4 = constants(source_texts()["ids.p4"])
    cpu_ports = {
        "controller": controller.entries.CPU_PORT,
        "topologies": topologies.model.CPU_PORT,
        "softswitch": SwitchOptions(grpc_address="", ports={}).cpu_port,
        "command line": inspect.signature(cli.switch).parameters["cpu_port"].default,
    }
    assert set(cpu_ports.values()) == {in_p4["CPU_PORT"]}, cpu_ports
    assert in_p4["DEFAULT_FLOOD_GROUP"] == controller.entries.DEFAULT_FLOOD_GROUP


def test_no_configured_port_is_the_cpu_port() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 509"):
        TypeAdapter(Port).validate_python(constants(source_texts()["ids.p4"])["CPU_PORT"])


def test_the_documentation_has_the_tables_and_drop_reasons_of_the_program() -> None:
    sections = (P4.parent / "docs/pipeline.md").read_text().split("\n## ")
    tables = next(section for section in sections if section.startswith("Tables"))
    sizes = dict(re.findall(r"^\| `(\w+)` \|.*?\| ([\d,]+) \|", tables, re.MULTILINE))
    info = text_format.Parse((P4 / OUTPUTS[1]).read_text(), p4i.P4Info())
    assert sizes == {table.preamble.alias: f"{table.size:,}" for table in info.tables}

    reasons = next(section for section in sections if section.startswith("Drop reasons"))
    documented = {f"DROP_{name}": int(index) for index, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", reasons, re.M)}
    in_p4 = constants(source_texts()["ids.p4"])
    assert documented == {name: value for name, value in in_p4.items() if name.startswith("DROP_")}
