"""A topology running in this process's sandbox, and how to drive it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.topo import Topo

import pentaflow_mn
from pentaflow.config import Configuration
from pentaflow.demo.files import Files
from pentaflow.errors import HostError
from pentaflow.files import load_configuration
from topologies.catalogue import TOPOLOGIES
from topologies.model import REST_PORT, Role

POLL_S = 0.1
REST_TIMEOUT_S = 5

T = TypeVar("T")


class NotInTimeError(Exception):
    """A condition that was waited for did not come true; says which, and how things stood last."""


def wait_for(what: str, probe: Callable[[], T | None], *, timeout_s: float) -> T:
    """Wait until `probe` answers something true and return that.

    Raises:
        NotInTimeError: it did not within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        if answer := probe():
            return answer
        if time.monotonic() > deadline:
            raise NotInTimeError(f"{what}: not within {timeout_s:g} s")
        time.sleep(POLL_S)


class Array:
    """A running topology.

    Args:
        topology: its name.
        switch: the P4Runtime target: `softswitch` or `bmv2`.
        folder: for certificates, configuration and logs; absolute.
    """

    def __init__(self, topology: str, switch: str, folder: Path) -> None:
        # Mininet would set sysctls of the whole machine: limits that a topology of this size does not reach.
        Mininet.inited = True
        setLogLevel("warning")
        self.topology = TOPOLOGIES[topology]
        self.files = Files(folder)
        topo: Topo = pentaflow_mn.PentaflowTopo(name=topology, switch=switch, folder=str(folder))
        self._net = Mininet(topo=topo, controller=None, build=False)

    @property
    def configuration(self) -> Configuration:
        """What controller and nodes read."""
        return load_configuration(self.files.configuration)

    def start(self) -> None:
        """Start everything and wait until every service takes connections.

        Raises:
            HostError: one does not.
        """
        self._net.build()
        for node in self._net.values():
            (self.files.hosts / node.name).write_text(f"{node.pid}\n")
        self._net.start()
        for host in self._net.hosts:
            if host.service:
                host.service.wait_listening()

    def stop(self) -> None:
        """Ask every process to end and wait for them; the sandbox takes the rest away."""
        services = self._services()
        for service in services:
            service.terminate()
        for service in services:
            service.stop()

    def _services(self) -> list[pentaflow_mn.Service]:
        return [node.service for node in self._net.values() if getattr(node, "service", None)]

    def service(self, name: str) -> pentaflow_mn.Service:
        """The process that runs on a host or switch."""
        service: pentaflow_mn.Service | None = self._net[name].service
        assert service is not None
        return service

    def popen(self, host: str, argv: Sequence[str]) -> subprocess.Popen[str]:
        """Start a command on a host, with its output on pipes; curl finds the topology's `.curlrc`."""
        process: subprocess.Popen[str] = self._net[host].popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"CURL_HOME": str(self.files.folder)},
        )
        return process

    def output(self, host: str, argv: Sequence[str], *, timeout_s: float) -> str:
        """What a command on a host prints on its standard output.

        Raises:
            HostError: it takes longer than `timeout_s`.
        """
        with self.popen(host, argv) as process:
            try:
                return process.communicate(timeout=timeout_s)[0]
            except subprocess.TimeoutExpired:
                process.kill()
                raise HostError(host, f"took longer than {timeout_s:g} s: {shlex.join(argv)}") from None

    def maybe_rest(self, path: str) -> Any:
        """The controller's answer to `GET path` as decoded JSON; None unless it is 200.

        Raises:
            HostError: the controller does not run.
        """
        controller = self.topology.controller
        self.service(controller.name).check()
        url = f"http://{controller.management.ip}:{REST_PORT}{path}"
        answer = self.output(
            controller.name, ["curl", "-s", "-f", "-m", str(REST_TIMEOUT_S), url], timeout_s=2 * REST_TIMEOUT_S
        )
        return json.loads(answer) if answer else None

    def rest(self, path: str) -> Any:
        """Like `maybe_rest`.

        Raises:
            HostError: the answer is not 200.
        """
        answer = self.maybe_rest(path)
        if answer is None:
            raise HostError(self.topology.controller.name, f"the controller does not answer GET {path} with 200")
        return answer

    def order(self, path: str) -> None:
        """`POST path` to the controller.

        Raises:
            HostError: the answer is no success.
        """
        controller = self.topology.controller
        url = f"http://{controller.management.ip}:{REST_PORT}{path}"
        command = ["curl", "-s", "-f", "-m", str(REST_TIMEOUT_S), "-o", "/dev/null", "-w", "%{http_code}"]
        status = self.output(controller.name, [*command, "-X", "POST", url], timeout_s=2 * REST_TIMEOUT_S)
        if not status.startswith("2"):
            raise HostError(controller.name, f"the controller answers POST {path} with {status}")

    def names(self, role: Role) -> list[str]:
        """The names of the hosts of one role."""
        return [host.name for host in self.topology.of(role)]


@contextmanager
def running(topology: str, switch: str, folder: Path) -> Iterator[Array]:
    """An `Array` that is stopped at the end; it is not started yet."""
    array = Array(topology, switch, folder)
    try:
        yield array
    finally:
        array.stop()
