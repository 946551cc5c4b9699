"""What clients and servers can do to a vserver of mode passthrough, and what comes of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path

import pytest

from support.hellos import HELLOS
from support.hostile_node import connect_with_little_room, until_status
from support.passthrough import passing_node, passthrough_document, s_client, tls_nginx
from support.tlsnode import RunningNode, scripted_server

HELLO = HELLOS["openssl-tls12"]
QUICK = {"handshake_s": 1, "response_s": 2}


async def ends(reader: asyncio.StreamReader) -> bytes:
    """What comes until the node closes, in order or not."""
    try:
        return await asyncio.wait_for(reader.read(), 60)
    except ConnectionError:
        return b""


async def failed(node: RunningNode) -> dict[str, int]:
    """Why handshakes have failed, and how often."""
    counts = (await node.vserver_status())["tls_handshakes"]["failed"]
    assert isinstance(counts, dict)
    return counts


async def test_what_is_no_hello_gets_an_alert_and_no_server(tmp_path: Path) -> None:
    noise = random.Random(5)
    inputs = {
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n": (10, "HTTP without TLS"),
        bytes.fromhex("802e010301001500000010") + bytes(40): (70, "a hello in the format of SSLv2"),
        bytes((3, *noise.randbytes(2000))): (10, "no TLS"),
        HELLO[:9] + bytes(2) + HELLO[11:]: (70, "a version that is not of TLS"),
        HELLO[:43] + b"\xff" + HELLO[44:]: (50, "a hello that breaks off"),
    }  # fmt: skip
    with tls_nginx(tmp_path, "a") as server:
        document = passthrough_document(tmp_path, {"servers": [("a", server.port)]})
        async with passing_node(tmp_path, document) as node:
            for sent, (alert, reason) in inputs.items():
                reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
                writer.write(sent)
                assert await ends(reader) == bytes((21, 3, 3, 0, 2, 2, alert)), reason
                writer.close()
            assert sorted(await failed(node)) == sorted({reason for _, reason in inputs.values()})
            (status,) = (await node.vserver_status())["servers"]
            assert status["hits"] == 0
            assert (await s_client(node.port)).answer == "a"


async def test_halves_of_hellos_keep_nobody_out_and_are_cut(tmp_path: Path) -> None:
    with tls_nginx(tmp_path, "a") as server:
        document = passthrough_document(tmp_path, {"servers": [("a", server.port)]}, timeouts=QUICK)
        async with passing_node(tmp_path, document) as node:
            halves = [await asyncio.open_connection("127.0.0.1", node.port) for _ in range(300)]
            for i, (_, writer) in enumerate(halves):
                writer.write(HELLO[: i % len(HELLO)])
            assert (await s_client(node.port)).answer == "a"
            assert {await ends(reader) for reader, _ in halves} == {b""}
            assert await failed(node) == {"not finished": 300}
            for _, writer in halves:
                writer.close()
            await until_status(node, lambda vserver: vserver["open_connections"] == 0)


async def test_a_probe_that_connects_and_goes_is_no_failure(tmp_path: Path) -> None:
    with tls_nginx(tmp_path, "a") as server:
        document = passthrough_document(tmp_path, {"servers": [("a", server.port)]})
        async with passing_node(tmp_path, document) as node:
            for _ in range(3):
                _, writer = await asyncio.open_connection("127.0.0.1", node.port)
                writer.close()
            _, writer = await asyncio.open_connection("127.0.0.1", node.port)
            writer.write(HELLO[:20])
            writer.close()
            await until_status(node, lambda vserver: vserver["connections"] == 4 and not vserver["open_connections"])
            assert await failed(node) == {"the client is gone": 1}


async def test_connections_beyond_the_limit_are_closed(tmp_path: Path) -> None:
    with tls_nginx(tmp_path, "a") as server:
        limits = {"max_connections": 3, "max_connections_per_client": 2}
        document = passthrough_document(tmp_path, {"servers": [("a", server.port)]}, limits=limits)
        async with passing_node(tmp_path, document) as node:
            held = [await asyncio.open_connection("127.0.0.1", node.port) for _ in range(2)]
            await until_status(node, lambda vserver: vserver["open_connections"] == 2)
            # Before asyncio has the connection, or after.
            with contextlib.suppress(ConnectionResetError):
                reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
                assert await ends(reader) == b""
                writer.close()
            await until_status(node, lambda vserver: vserver["turned_away"] == 1)
            for _, writer in held:
                writer.close()
            await until_status(node, lambda vserver: vserver["open_connections"] == 0)
            assert (await s_client(node.port)).answer == "a"


async def test_a_client_that_says_nothing_after_its_hello_is_cut(tmp_path: Path) -> None:
    with tls_nginx(tmp_path, "a") as server:
        document = passthrough_document(tmp_path, {"servers": [("a", server.port)]}, timeouts=QUICK)
        async with passing_node(tmp_path, document) as node:
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            writer.write(HELLO)
            assert (await reader.readexactly(1)) == b"\x16"
            await ends(reader)
            assert await failed(node) == {"not finished": 1}
            writer.close()


@pytest.mark.parametrize("answers", [False, True], ids=["silent", "closing"])
async def test_a_server_that_does_not_answer_has_failed(tmp_path: Path, answers: bool) -> None:
    async def take(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(HELLO))
        if not answers:
            await reader.read()

    async with scripted_server(take) as port:
        document = passthrough_document(tmp_path, {"servers": [("a", port)]}, timeouts=QUICK)
        async with passing_node(tmp_path, document) as node:
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            writer.write(HELLO)
            assert await ends(reader) == b""
            writer.close()
            await until_status(node, lambda vserver: vserver["open_connections"] == 0)
            (server,) = (await node.vserver_status())["servers"]
            assert (server["failed"], server["open"], server["connect_failures"]) == (1, 0, 0)


async def test_a_client_that_reads_too_slowly_is_cut(tmp_path: Path) -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        while True:
            writer.write(bytes(100_000))
            await writer.drain()

    async with scripted_server(pour) as port:
        limits = {"min_rate": 100_000, "min_rate_after_s": 1}
        document = passthrough_document(tmp_path, {"servers": [("a", port)]}, limits=limits)
        async with passing_node(tmp_path, document) as node:
            _, writer = await asyncio.open_connection("127.0.0.1", node.port)
            writer.write(HELLO)
            await until_status(node, lambda vserver: vserver["too_slow"] == 1 and not vserver["open_connections"])
            writer.close()


async def test_a_server_that_closes_while_a_slow_reader_takes_its_answer(tmp_path: Path) -> None:
    body = bytes(12_000_000)

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.write(body)

    async with scripted_server(pour) as port:
        document = passthrough_document(tmp_path, {"servers": [("a", port)]})
        async with passing_node(tmp_path, document) as node:

            async def take() -> None:
                reader, writer = await connect_with_little_room(node, tls=False)
                writer.write(HELLO)
                writer.write_eof()
                received = 0
                while data := await reader.read(1 << 16):
                    received += len(data)
                assert received == len(body)
                writer.close()

            async with asyncio.timeout(120):
                for _ in range(5):
                    await asyncio.gather(*(take() for _ in range(4)))
