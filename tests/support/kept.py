"""Connections that every client of an array keeps open, and what operators do meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from pentaflow.demo.array import Array, wait_for
from support.keep_alive import Kept
from topologies.model import REST_PORT, Role

TIMEOUT_S = 120.0
CONTROLLER = "c0"


@contextmanager
def kept_connections(array: Array, on_each_client: int) -> Iterator[Callable[[], dict[str, list[Kept]]]]:
    """Connections that are open; calling what it gives closes them and says, by client, what became of them."""
    vip = array.topology.vips[0]
    arguments = [str(vip.vip), str(vip.port), vip.hostname, str(array.files.folder / "ca.pem"), str(on_each_client)]
    processes = {
        client: array.popen(client, [sys.executable, "-m", "support.keep_alive", *arguments])
        for client in array.names(Role.CLIENT)
    }

    def close() -> dict[str, list[Kept]]:
        for process in processes.values():
            process.terminate()
        return {client: _result(process) for client, process in processes.items()}

    try:
        for process in processes.values():
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n", _said(process)
        yield close
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def _result(process: subprocess.Popen[str]) -> list[Kept]:
    output, errors = process.communicate(timeout=TIMEOUT_S)
    assert output, errors
    return [Kept(**found) for found in json.loads(output)]


def _said(process: subprocess.Popen[str]) -> str:
    process.kill()
    return process.communicate(timeout=TIMEOUT_S)[1]


def configure(array: Array, change: Callable[[dict[str, Any]], None]) -> None:
    """Write another configuration file; who is started later reads it."""
    document = yaml.safe_load(array.files.configuration.read_text())
    change(document)
    array.files.configuration.write_text(yaml.safe_dump(document))


def push(array: Array, change: Callable[[dict[str, Any]], None]) -> None:
    """Put another configuration in force while the array runs."""
    configure(array, change)
    version = _ask(
        array,
        "PUT",
        "/configuration",
        *("-H", "If-Match: *", "-H", "Content-Type: application/yaml"),
        *("--data-binary", f"@{array.files.configuration}"),
    )
    assert version["version"] > 1


def drain(array: Array, node: str, deadline_s: float | None = None) -> None:
    """Send a node nothing new."""
    intent = json.dumps({"state": "draining", "deadline_s": deadline_s})
    _ask(array, "PUT", f"/nodes/{node}/intent", "-H", "Content-Type: application/json", "-d", intent)


def cancel_drain(array: Array, node: str) -> None:
    """Back to what the configuration says."""
    _ask(array, "DELETE", f"/nodes/{node}/intent")


def _ask(array: Array, method: str, path: str, *options: str) -> Any:
    url = f"http://{array.topology.controller.management.ip}:{REST_PORT}{path}"
    answer = array.output(CONTROLLER, ["curl", "-sS", "-f", "-X", method, *options, url], timeout_s=TIMEOUT_S)
    return json.loads(answer)


def shares(array: Array) -> dict[str, int]:
    """Node → buckets, of those that have any."""
    found: dict[str, int] = array.rest("/vservers/web/buckets")["node_buckets"]
    return {node: count for node, count in found.items() if count}


def events(array: Array, kind: str) -> list[dict[str, Any]]:
    """The details of all events of a kind."""
    return [event["details"] for event in array.rest("/events") if event["kind"] == kind]


def wait_event(array: Array, kind: str, **details: Any) -> None:
    """Wait for an event with these details."""
    wait_for(
        f"{kind} {details}",
        lambda: any(details.items() <= found.items() for found in events(array, kind)),
        timeout_s=TIMEOUT_S,
    )
