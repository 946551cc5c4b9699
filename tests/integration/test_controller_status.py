"""Status polls against real HTTP servers that behave and that do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controller.health import Outcome
from controller.status import MAX_STATUS_BYTES, StatusPoller
from pentaflow.config import Configuration
from support.configurations import small_document
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


async def poll(port: int, *, count: int = 1, **management: Any) -> tuple[list[Outcome], StatusPoller]:
    """The outcomes of the first checks of one node."""
    document = small_document()
    document["controller"] = {"health": {"management": {"interval_ms": 50} | management}}
    document["nodes"] = [document["nodes"][0] | {"management": f"localhost:{port}"}]
    outcomes: list[Outcome] = []
    done = asyncio.Event()

    def report(node_id: int, outcome: Outcome) -> None:
        assert node_id == 1
        outcomes.append(outcome)
        if len(outcomes) >= count:
            done.set()

    poller = StatusPoller(Configuration.model_validate(document), report)
    task = asyncio.create_task(poller.run())
    try:
        await asyncio.wait_for(done.wait(), 10)
        return outcomes[:count], poller
    finally:
        task.cancel()
        await asyncio.wait({task})


async def poll_once(port: int) -> tuple[Outcome, StatusPoller]:
    (outcome,), poller = await poll(port)
    return outcome, poller


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
        (HEAD + b"[" * 100_000, "a status that is nested too deeply"),
        (HEAD + b'{"connections": 1%b}' % (b"0" * 400), "a number of more than 20 digits"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "503"),
        (b"\0\0\0", ""),
        (None, ""),
    ],
    ids=["an array", "no JSON", "no UTF-8", "too long", "too deep", "a huge number", "503", "no HTTP", "silence"],
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


async def test_a_heartbeat_that_stands_still_is_a_failure() -> None:
    async with answering(HEAD + b'{"uptime_s": 7.5}') as port:
        outcomes, _ = await poll(port, count=3)
    assert [outcome.failure for outcome in outcomes] == [
        "",
        *["its heartbeat stands still: uptime_s is 7.5 again"] * 2,
    ]


async def test_a_tcp_check_only_connects() -> None:
    async with answering(b"\0\0\0") as port:
        (outcome,), poller = await poll(port, protocol="tcp")
        assert outcome.failure == ""
        assert poller.maybe_status(1) is None
    (outcome,), _ = await poll(free_port(), protocol="tcp")
    assert "Connect call failed" in outcome.failure


async def test_silence_is_said_with_the_time_that_it_was_given() -> None:
    async with answering(None) as port:
        (outcome,), _ = await poll(port, timeout_ms=80)
    assert outcome.failure == "no answer within 80 ms"


async def test_without_a_check_nobody_is_asked() -> None:
    document = small_document()
    document["controller"] = {"health": {"management": {"protocol": "none"}}}
    poller = StatusPoller(Configuration.model_validate(document), lambda *_: pytest.fail("checked"))
    await asyncio.wait_for(poller.run(), 10)
