"""Checks nodes' management addresses [H1] (shell): the status document is shown to operators, and finds what hangs.

The status document is the node's heartbeat, too: its `uptime_s` must grow from one to the next, or something answers in
the node's place, such as a cache, or the process has stopped counting.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from controller.health import Outcome
from pentaflow.config import Configuration, HostPort, ManagementProtocol, MutualTls
from pentaflow.credentials import check_certificates
from pentaflow.files import read_file
from pentaflow.modes import NodeKind
from pentaflow.mutual import client_context

HEARTBEAT = "uptime_s"
MAX_STATUS_BYTES = 1 << 20
MAX_DIGITS = 20  # of an integer: what counts bytes for a century has fewer

Report = Callable[[int, Outcome], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """What a node last said of itself; `age` is counted from `at_ns` on the monotonic clock."""

    document: dict[str, Any]
    at_ns: int


def maybe_authority(configuration: Configuration) -> ssl.SSLContext | None:
    """What management addresses are checked by, and what they are shown; None: they are not asked over TLS.

    Raises:
        ConfigurationError: the certificate authority, or the controller's certificate or key, is not usable.
    """
    rule = configuration.controller.health.management
    if rule.ca is None:
        return None
    place = "controller.health.management"
    if rule.certificate is not None and rule.key is not None:
        return client_context(MutualTls(ca=rule.ca, certificate=rule.certificate, key=rule.key), place)
    authority = read_file(rule.ca, f"{place}.ca")
    check_certificates(authority, f"{place}.ca")
    return ssl.create_default_context(cadata=authority.decode())


class StatusPoller:
    """Checks every management address, each once an interval: a direct server's only takes TCP connections."""

    def __init__(self, configuration: Configuration, report: Report) -> None:
        """
        Args:
            configuration: the whole array.
            report: is told the node's id and how its check went.

        Raises:
            ConfigurationError: the certificate authority cannot be read.
        """
        self._rule = configuration.controller.health.management
        self._targets = [
            (node.id, node.management, self._rule.protocol if node.kind is NodeKind.TLS else ManagementProtocol.TCP)
            for node in configuration.nodes
            if node.management is not None
        ]
        self._interval_s = self._rule.interval_ms / 1000
        self._timeout_s = self._rule.timeout_ms / 1000
        self._report = report
        self._statuses: dict[int, NodeStatus] = {}
        self._tls = maybe_authority(configuration)

    def succeeded_by(self, configuration: Configuration) -> StatusPoller:
        """A poller for another configuration; it knows what this one was told.

        Raises:
            ConfigurationError: as `__init__`.
        """
        successor = StatusPoller(configuration, self._report)
        nodes = {node.id for node in configuration.nodes}
        successor._statuses = {node_id: status for node_id, status in self._statuses.items() if node_id in nodes}
        return successor

    def maybe_status(self, node_id: int) -> NodeStatus | None:
        """The last status that a node has given."""
        return self._statuses.get(node_id)

    async def run(self) -> None:
        """Check until cancelled."""
        if self._rule.protocol is ManagementProtocol.NONE:
            return
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=len(self._targets))
        async with (
            httpx.AsyncClient(
                timeout=self._timeout_s, limits=limits, trust_env=False, verify=self._tls or False
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            for i, (node_id, address, protocol) in enumerate(self._targets):
                delay_s = self._interval_s * i / len(self._targets)
                group.create_task(self._poll(client, node_id, address, protocol, delay_s))

    async def _poll(
        self, client: httpx.AsyncClient, node_id: int, address: HostPort, protocol: ManagementProtocol, delay_s: float
    ) -> None:
        await asyncio.sleep(delay_s)  # evenly spread over the interval
        while True:
            started_ns = time.monotonic_ns()
            failure = ""
            try:
                async with asyncio.timeout(self._timeout_s):
                    if protocol is ManagementProtocol.TCP:
                        await _connect(address)
                    else:
                        self._keep(node_id, await _fetch(client, f"{protocol}://{address}/status"))
            except TimeoutError:
                failure = f"no answer within {self._rule.timeout_ms} ms"
            except (httpx.HTTPError, OSError, ValueError) as error:
                failure = str(error) or type(error).__name__
            self._report(node_id, Outcome(started_ns=started_ns, failure=failure))
            await asyncio.sleep(max(0.0, self._interval_s - (time.monotonic_ns() - started_ns) / 1e9))

    def _keep(self, node_id: int, document: dict[str, Any]) -> None:
        """ValueError: the heartbeat stands still."""
        before = self._statuses.get(node_id)
        self._statuses[node_id] = NodeStatus(document=document, at_ns=time.monotonic_ns())
        beat = document.get(HEARTBEAT)
        if beat is not None and before is not None and beat == before.document.get(HEARTBEAT):
            raise ValueError(f"its heartbeat stands still: {HEARTBEAT} is {beat} again")


async def _connect(address: HostPort) -> None:
    _, writer = await asyncio.open_connection(address.host, address.port)
    writer.transport.abort()


async def _fetch(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """The JSON object at a URL; ValueError if it is something else, too long or too deep."""
    async with client.stream("GET", url) as response:
        response.raise_for_status()
        body = b""
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_STATUS_BYTES:
                raise ValueError(f"a status of more than {MAX_STATUS_BYTES} bytes")
    try:
        document = json.loads(body, parse_int=_integer)
    except RecursionError:
        raise ValueError("a status that is nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError("a status that is not a JSON object")
    return document


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of more than {MAX_DIGITS} digits")
    return int(text)
