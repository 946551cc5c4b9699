"""The switch targets, started and loaded exactly alike."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path

from benchmarks.figures import Better
from benchmarks.harness import Benchmark, Peer, Profile
from benchmarks.network import free_port, stop, wait_until
from benchmarks.p4runtime import Device
from controller.entries import CPU_PORT
from pentaflow.errors import HostError

DEVICE_ID = 1
_BMV2 = "simple_switch_grpc"


class Target(StrEnum):
    """What runs the P4 program."""

    SOFTSWITCH = "softswitch"
    BMV2 = "bmv2"

    @property
    def offloads(self) -> bool:
        """Whether its interfaces keep their offloads: BMv2 knows no virtio headers."""
        return self is Target.SOFTSWITCH

    def command(self, address: str, interfaces: Mapping[int, str]) -> list[str]:
        """Its command line, without a pipeline."""
        if self is Target.BMV2:
            ports = [word for port, name in interfaces.items() for word in ("-i", f"{port}@{name}")]
            own = ["--grpc-server-addr", address, "--cpu-port", str(CPU_PORT)]
            return [_BMV2, "--no-p4", "--device-id", str(DEVICE_ID), *ports, "--", *own]
        ports = [word for port, name in interfaces.items() for word in ("--port", f"{port}={name}")]
        options = ["--grpc", address, "--device-id", str(DEVICE_ID), "--cpu-port", str(CPU_PORT)]
        return [sys.executable, "-m", "pentaflow", "--log-level", "warning", "switch", *options, *ports]


def against_bmv2(
    *, name: str, unit: str, better: Better, sample: Callable[[Target, Profile], Mapping[str, float]]
) -> Benchmark:
    """A row that measures the softswitch, and BMv2 in the same way where it is installed."""
    peer = Peer(name=_BMV2, is_installed=lambda: shutil.which(_BMV2) is not None, sample=partial(sample, Target.BMV2))
    return Benchmark(name=name, unit=unit, better=better, sample=partial(sample, Target.SOFTSWITCH), peers=(peer,))


@contextmanager
def running(target: Target, interfaces: Mapping[int, str]) -> Iterator[Device]:
    """A target with the pipeline committed and no entries; its interfaces are up already.

    Raises:
        HostError: it does not come up; with the end of what it said.
    """
    port = free_port()
    address = f"127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            target.command(address, interfaces),
            cwd=Path(__file__).parents[1],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:

            def listens() -> bool:
                if process.poll() is not None:
                    log.seek(0)
                    said = " ".join(log.read().decode(errors="replace").split()[-40:])
                    raise HostError(target, f"ended with status {process.returncode}: {said}")
                with socket.socket() as client:
                    return client.connect_ex(("127.0.0.1", port)) == 0

            wait_until(f"{target} takes P4Runtime connections", listens)
            with Device(address, DEVICE_ID) as device:
                yield device
        finally:
            stop(process)
