"""A real etcd on loopback."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from support.ports import free_port

WAIT_S = 30.0


class Etcd:
    """One member; may be killed, started again with its data, and paused."""

    def __init__(self, folder: Path, arguments: Sequence[str] = (), *, scheme: str = "http") -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"etcd://{self.address}"
        self._log = folder / "etcd.log"
        peer, client = f"http://127.0.0.1:{free_port()}", f"{scheme}://{self.address}"
        self._health = f"http://127.0.0.1:{free_port()}"
        self._command = [
            "etcd",
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-metrics-urls={self._health}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            *arguments,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it serves."""
        with self._log.open("ab") as output:
            try:
                self._process = subprocess.Popen(self._command, stdout=output, stderr=subprocess.STDOUT)
            except FileNotFoundError:
                pytest.skip("etcd is not installed")
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                if httpx.get(f"{self._health}/health", trust_env=False).json()["health"] == "true":
                    return
            except (httpx.HTTPError, ValueError, KeyError):
                pass
            time.sleep(0.05)
        raise AssertionError(f"etcd does not serve:\n{self._log.read_text()[-2000:]}")

    def pause(self) -> None:
        """It hangs: connections are taken, nothing is answered."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End it without warning."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running_etcd(folder: Path, arguments: Sequence[str] = (), *, scheme: str = "http") -> Iterator[Etcd]:
    """An etcd with its data in `folder`, until the end of the block."""
    etcd = Etcd(folder, arguments, scheme=scheme)
    try:
        etcd.start()
        yield etcd
    finally:
        etcd.kill()
