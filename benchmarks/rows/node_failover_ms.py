"""How long clients see a node's failure: the demo's kill -9 under steady load, in an array of its own each time."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import Better
from benchmarks.harness import Benchmark, Profile
from pentaflow.errors import HostError

DEMO_TIMEOUT_S = 120.0


def sample(_profile: Profile) -> Mapping[str, float]:
    """Milliseconds from kill -9 to the last bad answer."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pentaflow", "demo"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=False, timeout=DEMO_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            raise HostError("bench", f"the demo took longer than {DEMO_TIMEOUT_S:g} s") from None
        document = Path(folder) / "build" / "demo.json"
        if not document.exists():
            raise HostError("bench", f"the demo ended with status {done.returncode}: {' '.join(done.stderr.split())}")
        return {"kill -9, 3 nodes, inline": last_failure_ms(json.loads(document.read_text()))}


def last_failure_ms(report: Any) -> float:
    """What the demo's report says.

    Raises:
        HostError: something in that run did not hold.
    """
    if not report["held"]:
        raise HostError("bench", f"the demo did not hold: {'; '.join(report['problems'])}")
    return float(report["node_failure"]["last_failure_ms"])


BENCHMARK = Benchmark(name="node_failover_ms", unit="ms", better=Better.LESS, sample=sample)
