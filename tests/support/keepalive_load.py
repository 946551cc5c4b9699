"""Connections that stay open from every client of a running array, and what became of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from pentaflow.demo.array import Array, wait_for
from pentaflow.demo.scenario import Scenario
from support import keepalive
from topologies.model import Role

TIMEOUT_S = 60.0
#: Of each client.
CONNECTIONS = 20


class Load:
    """Open connections from every client, and what became of them."""

    def __init__(self) -> None:
        self.result: dict[str, Any] = {}


@contextmanager
def keepalive_load(array: Array, vserver: int = 0) -> Iterator[Load]:
    """Open connections to the vserver at a place of the topology, each making one request after the other."""
    vip = array.topology.vips[vserver]
    argv = [sys.executable, keepalive.__file__, str(vip.vip), str(vip.port), vip.hostname]
    argv += [str(array.files.folder / "ca.pem"), str(CONNECTIONS)]
    processes = [array.popen(client, argv) for client in array.names(Role.CLIENT)]
    load = Load()
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n", _said(process)
        yield load
        wait_until_answered(array, vserver)
        for process in processes:
            process.send_signal(signal.SIGTERM)
        found = [c for process in processes for c in json.loads(process.communicate(timeout=TIMEOUT_S)[0])]
        load.result = {
            "connections": len(found),
            "broken": [connection["failure"] for connection in found if connection["failure"]],
            "idle": sum(not connection["answered"] for connection in found),
            "longest_ms": max(connection["longest_ms"] for connection in found),
        }
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _said(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.read()


def wait_until_answered(array: Array, vserver: int = 0) -> None:
    """Every client gets an answer to a new connection."""
    scenario = Scenario(array, vserver)
    for client in array.names(Role.CLIENT):
        wait_for(f"an answer to {client}", partial(scenario.is_answered, client), timeout_s=TIMEOUT_S)
