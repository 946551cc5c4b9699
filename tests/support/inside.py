"""Running a function of a test against a running array, in a sandbox."""

from __future__ import annotations

import inspect
import json
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pentaflow import sandbox
from pentaflow.demo.array import Array, running
from support.processes import assert_no_crash


def inside(function: Callable[[Array], dict[str, Any]], folder: Path, *, topology: str = "inline") -> dict[str, Any]:
    """What `function` returns, as it comes out of JSON; it is called in a sandbox with an array that is not started.

    The switch target is that of the environment variable SWITCH.
    """
    result = folder / "result.json"
    command = ["env", f"PYTHONPATH={os.pathsep.join(sys.path)}", sys.executable, "-m", "support.inside"]
    status = sandbox.run(
        [*command, inspect.getfile(function), function.__name__, topology, str(folder), str(result)],
        started=lambda _pid: None,
    )
    assert status == 0, f"{function.__name__} ended with status {status}; the logs are in {folder}"
    for log in folder.rglob("*.log"):
        assert_no_crash(log)
    document: dict[str, Any] = json.loads(result.read_text())
    return document


def main() -> None:
    """The other half, inside."""
    path, name, topology, folder, result = sys.argv[1:]
    sandbox.stop_when_abandoned()
    function = runpy.run_path(path)[name]
    with running(topology, os.environ.get("SWITCH", "softswitch"), Path(folder)) as array:
        Path(result).write_text(json.dumps(function(array)))


if __name__ == "__main__":
    main()
