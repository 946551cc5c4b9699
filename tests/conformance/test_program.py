"""The committed output of the conformance programs is what p4c makes of their source."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from support.p4rt import PROGRAM


def program_of(path: Path) -> dict[str, Any]:
    """p4c's JSON without the compiler's version."""
    content = cast(dict[str, Any], json.loads(path.read_text()))
    del content["__meta__"]
    return content


@pytest.mark.parametrize("name", ["conformance", "next"])
@pytest.mark.skipif(shutil.which("p4c-bm2-ss") is None, reason="p4c-bm2-ss is not on PATH")
def test_the_output_is_fresh(tmp_path: Path, name: str) -> None:
    output, p4info = tmp_path / f"{name}.json", tmp_path / f"{name}.p4info.txtpb"
    command = ["p4c-bm2-ss", "--std", "p4-16", "--Werror", "-o", str(output), "--p4runtime-files", str(p4info)]
    subprocess.run([*command, f"{name}.p4"], cwd=PROGRAM, check=True)
    assert program_of(output) == program_of(PROGRAM / output.name)
    assert p4info.read_text() == (PROGRAM / p4info.name).read_text()
