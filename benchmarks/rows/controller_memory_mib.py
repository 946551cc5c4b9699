"""Memory of a controller that holds a thousand vservers: the most that a fresh process had."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.figures import Better
from benchmarks.harness import Benchmark, Profile
from benchmarks.held_array import BUCKETS, NODES
from pentaflow.errors import HostError

VSERVERS = 1000
_REPOSITORY = Path(__file__).parents[2]
_TIMEOUT_S = 300.0


def sample(profile: Profile) -> Mapping[str, float]:
    """MiB with the map in the core, and on a switch."""
    vservers = max(1, int(VSERVERS * profile.scale))
    command = [sys.executable, "-m", "benchmarks.held_array", str(vservers)]
    done = subprocess.run(command, cwd=_REPOSITORY, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    if done.returncode:
        raise HostError("bench", f"the array cannot be held: {done.stderr.strip()}")
    return {f"{vservers:,} vservers of {BUCKETS:,} buckets, {NODES} nodes": int(done.stdout) / 1024}


BENCHMARK = Benchmark(name="controller_memory_mib", unit="MiB", better=Better.LESS, sample=sample)
