"""Clients of plain HTTP that end their side of the connection (FIN), and are still there to listen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from support.hostile_node import LAST_REQUEST, OK, REQUEST, answer
from support.ports import free_port
from support.tlsnode import Handler, RunningNode, node_document, running_node, scripted_server, wait_until
from support.virtual_array import eventually

BODY = b"x" * 3_000_000
UPGRADE = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"


@asynccontextmanager
async def plain_node(folder: Path, handler: Handler) -> AsyncIterator[tuple[RunningNode, int]]:
    """A node before one scripted server, and the port of its vserver of plain HTTP; nothing is left at the end."""
    async with scripted_server(handler) as server:
        document = node_document(folder, [("only", "127.0.0.1", server)])
        port = free_port()
        plain = {"name": "plain", "id": 2, "mode": "http", "vip": "127.0.0.1", "port": port, "pool": "servers"}
        document["vservers"].append(plain)
        async with running_node(document, folder) as node:
            yield node, port

            async def is_quiet() -> bool:
                _, vserver = (await node.status())["vservers"]
                return not vserver["open_connections"] and not vserver["servers"][0]["open"]

            await eventually(is_quiet, "nothing is left of the client")
            assert "internal error" not in node.log.read_text()


async def half_close(port: int, data: bytes) -> bytes:
    """Send `data` and a FIN over a new connection; all that comes until the node closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.transport.abort()


async def test_what_was_asked_for_is_answered_however_late(tmp_path: Path) -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(2 if head.startswith(b"POST ") else 0)
            await asyncio.sleep(0.3)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY))

    async with plain_node(tmp_path, late) as (_, port):
        for sent in (REQUEST, LAST_REQUEST, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"):
            text = await half_close(port, sent)
            assert text.startswith(b"HTTP/1.1 200 ")
            assert text.endswith(b"\r\n\r\n" + BODY)


async def test_all_requests_before_the_end_are_answered(tmp_path: Path) -> None:
    async with plain_node(tmp_path, answer) as (_, port):
        text = await half_close(port, REQUEST * 50)
        assert text.count(b"HTTP/1.1 200 ") == 50
        assert text.endswith(b"\r\n\r\nok")


async def test_a_request_that_ends_in_its_body_reaches_the_server_as_broken(tmp_path: Path) -> None:
    """It is never taken for the whole: the server's connection breaks off, and the client is told nothing else."""
    ends: list[str] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await reader.readexactly(100)
        except ConnectionError:
            ends.append("reset")
        except asyncio.IncompleteReadError:
            ends.append("in order")

    async with plain_node(tmp_path, take) as (_, port):
        for framing in (b"Content-Length: 5\r\n\r\nhell", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhell"):
            with suppress(ConnectionResetError):
                assert await half_close(port, b"POST / HTTP/1.1\r\nHost: a\r\n" + framing) == b""
        await wait_until(lambda: len(ends) == 2)
        assert ends == ["reset"] * 2


async def test_half_a_head_and_nothing_are_closed(tmp_path: Path) -> None:
    async with plain_node(tmp_path, answer) as (node, port):
        for sent in (b"", REQUEST[:10], REQUEST[:-2]):
            assert await half_close(port, sent) == b""
        assert (await node.status())["vservers"][1]["requests"] == 0


async def test_a_tunnel_goes_on_in_the_other_direction(tmp_path: Path) -> None:
    async def echo_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED)
        writer.write(await reader.read())

    async with plain_node(tmp_path, echo_at_the_end) as (_, port):
        text = await half_close(port, UPGRADE + BODY)
        assert text.startswith(b"HTTP/1.1 101 ")
        assert text.partition(b"\r\n\r\n")[2] == BODY


async def test_a_server_that_ends_its_side_still_gets_the_rest_of_the_tunnel(tmp_path: Path) -> None:
    came = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED + b"bye")
        writer.write_eof()
        came.set_result(await reader.read())

    async with plain_node(tmp_path, listen) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(UPGRADE)
        assert (await asyncio.wait_for(reader.read(), 30)).endswith(b"\r\n\r\nbye")
        writer.write(BODY)
        writer.write_eof()
        assert await asyncio.wait_for(came, 30) == BODY
        writer.close()


async def test_an_answer_that_ends_with_the_connection_is_whole(tmp_path: Path) -> None:
    async def until_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK.replace(b"Content-Length: 2\r\n", b"") + BODY)
        await writer.drain()

    async with plain_node(tmp_path, until_the_end) as (_, port):
        text = await half_close(port, LAST_REQUEST)
        assert text.count(b"x") == len(BODY)
        assert text.endswith(b"\r\n0\r\n\r\n")
