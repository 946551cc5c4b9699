"""`pentaflow demo`: a declared topology in Mininet, proved with real traffic (shell).

`run` is the outer half: it checks the machine, then runs `pentaflow.demo.inside` in a sandbox.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pentaflow import sandbox
from pentaflow.demo.files import Files
from pentaflow.errors import HostError

TOPOLOGY = "inline"
TOOLS = ("bash", "curl", "ethtool", "ifconfig", "ip", "mnexec", "nginx", "nsenter")
SWITCH_TOOLS = {"softswitch": (), "bmv2": ("simple_switch_grpc",)}
_PLACE = "demo"


def run(*, switch: str, stay: bool, build: Path = Path("build")) -> int:
    """Run the demo and clean up, whatever happens.

    Args:
        switch: `softswitch` or `bmv2`.
        stay: leave the array up afterwards, until Ctrl-C.
        build: gets `demo.json` and the folder `demo` with configuration, logs and the script `on`.

    Returns:
        Exit status: 0 if everything that the demo has to show holds, 1 if not, 128 + the signal that stopped it.

    Raises:
        HostError: not root, a program is missing, or another demo runs in `build`.
    """
    sandbox.check(_PLACE, (*TOOLS, *SWITCH_TOOLS[switch]))
    if importlib.util.find_spec("mininet") is None or importlib.util.find_spec("mininet.net") is None:
        raise HostError(_PLACE, "not installed: the Python package mininet")
    folder = (build / "demo").resolve()
    document = folder.with_suffix(".json")
    with _locked(folder):
        document.unlink(missing_ok=True)
        script = folder / sandbox.ENTER_SCRIPT
        command = [sys.executable, "-m", "pentaflow.demo.inside", "--topology", TOPOLOGY, "--switch", switch]
        command += ["--folder", str(folder), "--document", str(document), *(["--stay"] if stay else [])]

        def write_script(pid: int) -> None:
            script.write_text(sandbox.enter_script(pid, Files(folder).hosts, f"CURL_HOME={folder}"))
            script.chmod(0o755)

        try:
            return sandbox.run(command, started=write_script)
        finally:
            script.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise HostError(_PLACE, f"another demo is running in {folder}") from None
    finally:
        os.close(descriptor)
