"""Clients that go on until they are told to stop: a steady load of real curls, and one that resumes TLS sessions."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from pentaflow.demo.array import Array
from pentaflow.demo.files import CLIENTS_CA
from pentaflow.demo.judge import Sample
from pentaflow.demo.traffic import Resumption, curl_command, parse_request
from topologies.model import Vip

_WITHOUT_END = 1_000_000


class SteadyLoad:
    """Several curls on each client, each starting `rate_per_s` requests a second, from entry to exit.

    Args:
        array: where.
        clients: names of the hosts that curl runs on.
        url: what is asked for.
        curls: how many on each client: one that waits for an answer keeps only itself waiting.
        rate_per_s: of each curl.
    """

    def __init__(self, array: Array, clients: Sequence[str], url: str, *, curls: int, rate_per_s: int) -> None:
        self._array, self._command = array, curl_command(url, count=_WITHOUT_END, rate_per_s=rate_per_s)
        self._hosts = [client for client in clients for _ in range(curls)]
        self._processes: list[subprocess.Popen[str]] = []
        self._threads: list[threading.Thread] = []
        self._samples: list[Sample] = []

    def __enter__(self) -> Self:
        for host in self._hosts:
            process = self._array.popen(host, self._command)
            self._processes.append(process)
            thread = threading.Thread(target=self._collect, args=[process], name=f"curl on {host}")
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            process.communicate()

    def _collect(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            # A line without an end is that of a curl that was killed while it wrote.
            if line.endswith("\n"):
                self._samples.append(Sample(finished_ns=time.monotonic_ns(), request=parse_request(line)))

    def samples(self) -> list[Sample]:
        """All requests that are over, in the order of their ends."""
        return sorted(self._samples, key=lambda sample: sample.finished_ns)


class Resuming:
    """A client that keeps nothing but its TLS session (`pentaflow.demo.resuming`), from entry to exit.

    Args:
        array: where.
        client: name of the host that it runs on.
        vip: what it connects to.
    """

    def __init__(self, array: Array, client: str, vip: Vip) -> None:
        authority = str(array.files.folder / CLIENTS_CA)
        where = [vip.hostname, str(vip.port), str(vip.vip), authority]
        self._process = array.popen(client, [sys.executable, "-m", "pentaflow.demo.resuming", *where])
        self._seen: list[Resumption] = []
        self._thread = threading.Thread(target=self._collect, name=f"TLS client on {client}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._thread.join()
        self._process.communicate()

    def _collect(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):
                self._seen.append(Resumption(**json.loads(line)))

    def seen(self) -> list[Resumption]:
        """All connections that are over, in order."""
        return list(self._seen)
