"""WebSocket through a node, with a real client and a real server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request, Response

from support.hostile_node import node_before, read_answer, until_quiet
from support.tlsnode import RunningNode, node_document, running_node

LARGE = 20_000_000
UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def converse(connection: ServerConnection) -> None:
    """Echo; "close" has the server close, "vanish" drop the connection."""
    async for message in connection:
        if message == "close":
            await connection.close(4001, "asked to")
        elif message == "vanish":
            connection.transport.abort()
        else:
            await connection.send(message)


def refuse(connection: ServerConnection, request: Request) -> Response | None:
    """What is under /no is not to be had."""
    return connection.respond(403, "not here\n") if request.path == "/no" else None


@asynccontextmanager
async def chat_node(folder: Path, **timeouts: float) -> AsyncIterator[RunningNode]:
    """A node before a WebSocket server; nothing is left behind."""
    async with serve(converse, "127.0.0.1", 0, max_size=None, process_request=refuse) as server:
        (listening,) = server.sockets
        document = node_document(folder, [("chat", "127.0.0.1", listening.getsockname()[1])], timeouts=timeouts)
        async with running_node(document, folder) as node:
            yield node
            await until_quiet(node)
            assert "internal error" not in node.log.read_text()


def websocket(node: RunningNode, path: str = "/chat") -> connect:
    """A client's connection, which trusts the node; not compressed, so that sizes are what they seem."""
    trust = ssl.create_default_context(cafile=node.ca)
    return connect(
        f"wss://127.0.0.1:{node.port}{path}", ssl=trust, max_size=None, compression=None, proxy=None, open_timeout=30
    )


async def received(connection: ClientConnection) -> str | bytes:
    return await asyncio.wait_for(connection.recv(), 60)


async def test_messages_go_both_ways_and_either_side_may_close(tmp_path: Path) -> None:
    async with chat_node(tmp_path) as node:
        async with websocket(node) as connection:
            for message in ("hello", "", b"\x00\xff" * 500):
                await connection.send(message)
                assert await received(connection) == message
            await asyncio.wait_for(await connection.ping(), 30)
            sending = asyncio.create_task(connection.send(b"x" * LARGE))
            assert await received(connection) == b"x" * LARGE
            await sending
            status = await node.vserver_status()
            assert (status["open_connections"], status["servers"][0]["open"]) == (1, 1)
        assert connection.close_code == 1000  # the server's echo of our closing frame came back
        await until_quiet(node)

        async with websocket(node) as connection:
            await connection.send("close")
            with pytest.raises(ConnectionClosed):
                await received(connection)
            assert (connection.close_code, connection.close_reason) == (4001, "asked to")
        await until_quiet(node)


async def test_many_conversations_at_once_do_not_mix(tmp_path: Path) -> None:
    async def talk(node: RunningNode, number: int) -> None:
        async with websocket(node) as connection:
            for turn in range(20):
                message = f"{number}-{turn}-" + "y" * (number * 500)
                await connection.send(message)
                assert await received(connection) == message

    async with chat_node(tmp_path) as node:
        await asyncio.gather(*(talk(node, number) for number in range(40)))


async def test_a_side_that_vanishes_takes_the_other_along(tmp_path: Path) -> None:
    async with chat_node(tmp_path) as node:
        async with websocket(node) as connection:
            await connection.send("vanish")
            with pytest.raises(ConnectionClosed):
                await received(connection)
            assert connection.close_code == 1006
        await until_quiet(node)
        async with websocket(node) as connection:
            await connection.send("hello")
            assert await received(connection) == "hello"
            connection.transport.abort()
        await until_quiet(node)


async def test_a_server_may_refuse_the_upgrade(tmp_path: Path) -> None:
    async with chat_node(tmp_path) as node:
        with pytest.raises(InvalidStatus) as refusal:
            async with websocket(node, "/no"):
                raise AssertionError("not refused")
        assert refusal.value.response.status_code == 403
        assert refusal.value.response.body == b"not here\n"


async def test_what_is_sent_ahead_of_the_switch_arrives_behind_it(tmp_path: Path) -> None:
    """In the order in which it was sent, with what comes after the switch, and with nothing lost at the end."""
    ahead, later = b"a" * 30_000, b"b" * 30_000
    arrived = asyncio.Event()
    switch = asyncio.Event()

    async def slow_switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"\r\nUpgrade: websocket\r\n" in head
        arrived.set()
        await switch.wait()
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
        writer.write(await reader.readexactly(len(ahead + later)))
        await writer.drain()

    async with node_before(tmp_path, slow_switch) as node:
        reader, writer = await node.connect()
        writer.write(UPGRADE + ahead)
        await asyncio.wait_for(arrived.wait(), 30)
        switch.set()
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert head.startswith(b"HTTP/1.1 101 ")
        writer.write(later)
        assert await asyncio.wait_for(reader.read(-1), 30) == b"first" + ahead + later
        writer.close()


async def test_what_is_sent_ahead_of_a_refusal_is_the_next_request(tmp_path: Path) -> None:
    """As the client could not know: it is read as HTTP, never passed on as it came."""
    answers = 0

    async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answers
        while True:
            await reader.readuntil(b"\r\n\r\n")
            answers += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % answers)

    async with node_before(tmp_path, refusing) as node:
        reader, writer = await node.connect()
        writer.write(UPGRADE + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\x81\x05hello\r\n\r\n")
        assert (await read_answer(reader))[1] == b"1"
        assert (await read_answer(reader))[1] == b"2"
        assert (await read_answer(reader))[0].startswith(b"HTTP/1.1 400 ")
        assert answers == 2
        writer.transport.abort()


async def test_a_tunnel_whose_other_side_ended_is_not_kept_for_hours(tmp_path: Path) -> None:
    async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        writer.write_eof()
        await reader.read()

    async with node_before(tmp_path, ends, timeouts={"response_s": 0.5, "tunnel_s": 3600}) as node:
        reader, writer = await node.connect()
        writer.write(UPGRADE)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        await until_quiet(node)  # though this client neither ends nor closes
        writer.transport.abort()
