"""What the benchmarks ran on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

_VERSIONS = {
    "BMv2": ("simple_switch_grpc", "--version"),
    "iperf": ("iperf", "--version"),
    "HAProxy": ("haproxy", "-v"),
    "nginx": ("nginx", "-v"),
    "Redis": ("redis-server", "--version"),
    "OpenSSL": ("openssl", "version"),
    "wrk": ("wrk", "-v"),
}
_GIB = 1 << 30


def describe() -> dict[str, str]:
    """Processor, memory, system, versions, and what else the machine is busy with, in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    distribution = platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": f"{processor(Path('/proc/cpuinfo').read_text())}, {os.cpu_count()} cores",
        "memory": f"{memory:.1f} GiB",
        "system": f"Linux {platform.release().partition('-')[0]}, {distribution}",
        "load average before": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        **{name: _version(command) for name, command in _VERSIONS.items()},
    }


def processor(cpuinfo: str) -> str:
    """The model that a text in the format of /proc/cpuinfo names; the architecture if it names none."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def _version(command: tuple[str, ...]) -> str:
    if shutil.which(command[0]) is None:
        return "not installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().partition("\n")[0]
