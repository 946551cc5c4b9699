"""Status polls against real HTTP servers that behave and that do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from controller.health import Outcome
from controller.status import MAX_STATUS_BYTES, StatusPoller
from pentaflow.config import HostPort, Node
from support.ports import free_port

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def answering(response: bytes | None) -> AsyncIterator[int]:
    """A server that gives this answer to everything; None: none at all."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if response is not None:
            writer.write(response)
            writer.close()

    port = free_port()
    async with await asyncio.start_server(answer, "127.0.0.1", port):
        yield port


async def poll_once(port: int) -> tuple[Outcome, StatusPoller]:
    first: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    node = Node(
        name="n1", id=1, mac="02:00:00:00:00:01", ports={"s1": 1}, management=HostPort(host="127.0.0.1", port=port)
    )
    poller = StatusPoller((node,), lambda _, outcome: None if first.done() else first.set_result(outcome))
    task = asyncio.create_task(poller.run())
    try:
        return await asyncio.wait_for(first, 10), poller
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_status_is_kept() -> None:
    async with answering(HEAD + b'{"version": "1"}') as port:
        outcome, poller = await poll_once(port)
    assert outcome.failure == ""
    status = poller.maybe_status(1)
    assert status is not None
    assert status.document == {"version": "1"}


@pytest.mark.parametrize(
    ("response", "failure"),
    [
        (HEAD + b"[1]", "a status that is not a JSON object"),
        (HEAD + b"rubbish", "Expecting value"),
        (HEAD + b"\xff\xfe\xfd", "decode"),
        (HEAD + b" " * (MAX_STATUS_BYTES + 1), "a status of more than 1048576 bytes"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "503"),
        (b"\0\0\0", ""),
        (None, ""),
    ],
    ids=["an array", "no JSON", "no UTF-8", "too long", "503", "no HTTP", "silence"],
)
async def test_anything_else_is_a_failure_that_says_why(response: bytes | None, failure: str) -> None:
    async with answering(response) as port:
        outcome, poller = await poll_once(port)
    assert outcome.failure
    assert failure in outcome.failure
    assert poller.maybe_status(1) is None


async def test_nobody_listening_is_a_failure() -> None:
    outcome, _ = await poll_once(free_port())
    assert "connect" in outcome.failure.lower()
