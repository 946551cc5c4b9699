"""Worker processes of several nodes without their supervisors: tests decide what each has, and where clients land."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pentaflow.files import read_node_configuration
from pentaflow.node_configuration import NodeConfiguration
from pentaflow.parsing import parse
from pentaflow.session_ids import SessionIdTables
from pentaflow.ticket_keys import TicketKeySet, VserverKeys
from tlsnodes.channel import Caller
from tlsnodes.listeners import Address

_CALL_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """One worker.

    Attributes:
        caller: what does as a supervisor would.
        node: the name of its node.
        number: its own, among all of them.
        ports: vserver → its own port, on 127.0.0.1.
    """

    caller: Caller
    node: str
    number: int
    ports: dict[str, int]

    async def run(self, document: dict[str, Any], keys: Sequence[bytes]) -> None:
        """Serve this configuration, with these ticket keys for every vserver."""
        configuration = _configuration(document, self.node)
        vservers = {vserver.name: VserverKeys(issues=True, keys=tuple(keys)) for vserver in configuration.vservers}
        await self.caller.call(
            "prepare",
            timeout_s=_CALL_S,
            configuration=configuration.model_dump_json(),
            number=self.number,
            workers=1,
            session_ids=SessionIdTables(tables=()).model_dump_json(),
            store_file="",
            ticket_keys=TicketKeySet(version=1, vservers=vservers).model_dump_json(),
        )
        await self.caller.call("commit", timeout_s=_CALL_S)


@asynccontextmanager
async def worker_array(document: dict[str, Any], nodes: Sequence[str]) -> AsyncIterator[list[WorkerProcess]]:
    """A worker for each of these nodes, of which one may be named several times; they serve nothing yet."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(_worker(document, *node)) for node in enumerate(nodes)]


@asynccontextmanager
async def _worker(document: dict[str, Any], number: int, node: str) -> AsyncIterator[WorkerProcess]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "tlsnodes.worker", str(theirs.fileno()), "1", "info", "0", "-1", ""),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
        )
    caller = Caller(ours, lambda: None)
    try:
        listeners = {}
        for vserver in _configuration(document, node).vservers:
            listeners[vserver.name] = (Address.of(vserver), socket.create_server(("127.0.0.1", 0), backlog=100))
        await caller.call(
            "sockets",
            timeout_s=_CALL_S,
            addresses=[address for address, _ in listeners.values()],
            descriptors=[listener.fileno() for _, listener in listeners.values()],
        )
        ports = {name: listener.getsockname()[1] for name, (_, listener) in listeners.items()}
        for _, listener in listeners.values():
            listener.close()
        yield WorkerProcess(caller=caller, node=node, number=number, ports=ports)
    finally:
        caller.close()  # it ends by itself then
        try:
            await asyncio.wait_for(process.wait(), 15)
        except TimeoutError:
            process.kill()
            await process.wait()


def _configuration(document: dict[str, Any], node: str) -> NodeConfiguration:
    return read_node_configuration(parse(json.dumps(document), "array.yaml"), node)
