"""Watching that a command leaves nothing behind: its processes are known by a mark in their environment."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from pathlib import Path

MARK = "PENTAFLOW_TEST_MARK"
GONE_TIMEOUT_S = 10.0
# Fields 3 and 22 of /proc/PID/stat (proc(5)), counted from after the name. Pid and start time name a process for ever.
_STATE, _START_TIME = 0, 19


class Watch:
    """Knows the processes started with `environment`, and those that shared a network namespace with one of them."""

    def __init__(self) -> None:
        self._value = str(uuid.uuid4())
        self._own_network = _network(Path("/proc/self"))
        self._seen: set[tuple[int, str]] = set()

    @property
    def environment(self) -> dict[str, str]:
        """The environment to start the command with."""
        return dict(os.environ) | {MARK: self._value}

    def look(self) -> int:
        """Note the processes that there are now; how many.

        Some hide their environment (nginx writes its title there): they are known by the company that they keep.
        """
        processes = [p for p in Path("/proc").iterdir() if p.name.isdecimal()]
        marked = [p for p in processes if f"{MARK}={self._value}" in _read(p / "environ")]
        networks = {_network(p) for p in marked} - {self._own_network, ""}
        found = {_identity(p) for p in processes if p in marked or _network(p) in networks}
        self._seen |= {(pid, start) for pid, start in found if start}
        return len(found)

    def assert_nothing_left(self) -> None:
        """All processes are gone, within `GONE_TIMEOUT_S`, and with them their namespaces; so are the interfaces."""
        deadline = time.monotonic() + GONE_TIMEOUT_S
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not left, f"still running: {left}"
        names = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        assert "s1-eth" not in names
        assert "br0" not in names

    def _left(self) -> list[str]:
        self.look()
        self._seen = {(pid, start) for pid, start in self._seen if _identity(Path(f"/proc/{pid}")) == (pid, start)}
        return [f"{pid} {_read(Path(f'/proc/{pid}/cmdline'))}" for pid, _ in self._seen]


def _identity(process: Path) -> tuple[int, str]:
    """Pid and start time; no start time once it is dead, even if its parent has not taken note of that yet."""
    fields = _read(process / "stat").rpartition(")")[2].split()
    return int(process.name), fields[_START_TIME] if fields and fields[_STATE] != "Z" else ""


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _network(process: Path) -> str:
    try:
        return (process / "ns" / "net").readlink().name
    except OSError:
        return ""
