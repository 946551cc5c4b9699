"""Polls the management status of nodes (shell): shown to operators, and what finds a process that hangs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from controller.health import Outcome
from pentaflow.config import Node

INTERVAL_S = 1.0
TIMEOUT_S = 1.0
MAX_STATUS_BYTES = 1 << 20

Report = Callable[[int, Outcome], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """What a node last said of itself; `age` is counted from `at_ns` on the monotonic clock."""

    document: dict[str, Any]
    at_ns: int


class StatusPoller:
    """Asks every node for its status, each once in `INTERVAL_S`."""

    def __init__(self, nodes: tuple[Node, ...], report: Report) -> None:
        """`report` is told the node's id and how its poll went."""
        self._nodes = nodes
        self._report = report
        self._statuses: dict[int, NodeStatus] = {}

    def maybe_status(self, node_id: int) -> NodeStatus | None:
        """The last status that a node has given."""
        return self._statuses.get(node_id)

    async def run(self) -> None:
        """Poll until cancelled."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=len(self._nodes))
        async with (
            httpx.AsyncClient(timeout=TIMEOUT_S, limits=limits, trust_env=False) as client,
            asyncio.TaskGroup() as group,
        ):
            for node in self._nodes:
                group.create_task(self._poll(client, node))

    async def _poll(self, client: httpx.AsyncClient, node: Node) -> None:
        while True:
            started_ns = time.monotonic_ns()
            failure = ""
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    document = await _fetch(client, f"http://{node.management}/status")
                self._statuses[node.id] = NodeStatus(document=document, at_ns=time.monotonic_ns())
            except (httpx.HTTPError, TimeoutError, ValueError) as error:
                failure = str(error) or type(error).__name__
            self._report(node.id, Outcome(started_ns=started_ns, failure=failure))
            await asyncio.sleep(max(0.0, INTERVAL_S - (time.monotonic_ns() - started_ns) / 1e9))


async def _fetch(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """The JSON object at a URL; ValueError if it is something else or too long."""
    async with client.stream("GET", url) as response:
        response.raise_for_status()
        body = b""
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_STATUS_BYTES:
                raise ValueError(f"a status of more than {MAX_STATUS_BYTES} bytes")
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("a status that is not a JSON object")
    return document
