"""Keep-alive clients of a node in the test's own process: each makes requests until it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from support.tlsnode import RunningNode

PAUSE_S = 0.02
TIMEOUT_S = 60.0


@dataclass(slots=True)
class Load:
    """What the clients saw: `failures` has one sentence a connection that broke."""

    answered: int = 0
    failures: list[str] = field(default_factory=list)
    connected: int = 0


@asynccontextmanager
async def steady_load(node: RunningNode, count: int) -> AsyncIterator[Load]:
    """`count` connections with a request every now and then; all are open when the block begins."""
    load = Load()
    stop = asyncio.Event()
    tasks = [asyncio.create_task(_client(node, load, stop)) for _ in range(count)]
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while load.connected < count:
                assert not load.failures
                await asyncio.sleep(0.01)
        yield load
        stop.set()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _client(node: RunningNode, load: Load, stop: asyncio.Event) -> None:
    try:
        reader, writer = await node.connect()
    except OSError as error:
        load.failures.append(f"not connected: {error!r}")
        return
    try:
        is_new = True
        while not stop.is_set():
            await request(node, reader, writer)
            load.answered += 1
            load.connected += is_new
            is_new = False
            await asyncio.sleep(PAUSE_S)
    except (OSError, EOFError, ValueError) as error:
        load.failures.append(repr(error))
    finally:
        writer.transport.abort()


async def request(
    node: RunningNode, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str = "/"
) -> bytes:
    """One request over a connection: the body of its answer; ValueError when it is not a 200 with a length."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{node.port}\r\n\r\n".encode())
    async with asyncio.timeout(TIMEOUT_S):
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ValueError(head.decode("latin-1"))
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return await reader.readexactly(int(length.partition(b":")[2]))
