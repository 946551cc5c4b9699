"""What clients may take of a node, and how slow they may be [N5]."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from support.hostile_node import (
    LAST_REQUEST,
    OK,
    REQUEST,
    answer,
    connect_raw,
    connect_with_little_room,
    node_before,
    read_answer,
    until_status,
    worker_pid,
)
from support.node_load import request, steady_load
from support.tlsnode import RunningNode, wait_until
from support.virtual_array import eventually

BODY = 4_000_000


async def take_bodies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that reads requests with a length or with chunks to their end and says ok to each."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await reader.readexactly(int(line.partition(b":")[2]))
            elif line.startswith(b"transfer-encoding:"):
                await reader.readuntil(b"0\r\n\r\n")
        writer.write(OK)


async def big(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server whose answers are BODY bytes."""
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BODY + b"x" * BODY)


async def silence(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """A server that takes everything and says nothing."""
    await reader.read()
    await asyncio.sleep(3600)


async def closes(reader: asyncio.StreamReader) -> bytes:
    """What comes until the node closes, in order or not."""
    data = b""
    with suppress(ConnectionError, ssl.SSLError):
        async with asyncio.timeout(30):
            while part := await reader.read(1 << 16):
                data += part
    return data


async def test_connections_beyond_the_limit_are_closed_and_others_served(tmp_path: Path) -> None:
    async with node_before(tmp_path, answer, limits={"max_connections": 2}) as node:
        one = await node.connect()
        two = await node.connect()
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await node.connect()
        for reader, writer in (one, two):
            assert await request(node, reader, writer) == b"ok"
        assert (await node.vserver_status())["turned_away"] == 1
        one[1].transport.abort()
        await until_status(node, lambda vserver: vserver["open_connections"] == 1)
        assert (await node.send(LAST_REQUEST)).startswith(b"HTTP/1.1 200 ")
        two[1].transport.abort()


async def test_one_client_cannot_take_the_connections_of_others(tmp_path: Path) -> None:
    async with node_before(tmp_path, answer, limits={"max_connections_per_client": 3}) as node:
        held = [await connect_raw(node, "127.0.0.9") for _ in range(3)]
        beyond, writer = await connect_raw(node, "127.0.0.9")
        assert await closes(beyond) == b""
        writer.transport.abort()
        assert (await node.send(LAST_REQUEST)).startswith(b"HTTP/1.1 200 ")
        assert (await node.vserver_status())["turned_away"] == 1
        for _, writer in held:
            writer.transport.abort()


async def test_requests_beyond_the_limit_get_a_503_that_says_when_to_come_again(tmp_path: Path) -> None:
    release = asyncio.Event()
    arrived = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            arrived.set()
            await release.wait()
            writer.write(OK)

    async with node_before(tmp_path, late, limits={"max_requests": 1}) as node:
        first, first_writer = await node.connect()
        second, second_writer = await node.connect()
        first_writer.write(REQUEST)
        await asyncio.wait_for(arrived.wait(), 30)
        second_writer.write(REQUEST)
        head, body = await read_answer(second)
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in head
        assert body == b"503 Service Unavailable: vserver web has as many requests as it may have\n"
        release.set()
        assert (await read_answer(first))[1] == b"ok"
        second_writer.write(REQUEST)  # on the connection that was refused
        assert (await read_answer(second))[1] == b"ok"
        first_writer.transport.abort()
        second_writer.transport.abort()


async def test_bodies_beyond_the_limit_are_a_413(tmp_path: Path) -> None:
    rows = [
        (200, b"Content-Length: 10\r\n\r\n0123456789"),
        (200, b"Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n"),
        (413, b"Content-Length: 11\r\n\r\n"),
        (413, b"Transfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n5\r\n6789a\r\n0\r\n\r\n"),
        (413, b"Transfer-Encoding: chunked\r\n\r\nffffff\r\n012345678901234"),
    ]
    async with node_before(tmp_path, take_bodies, limits={"max_body_bytes": 10}) as node:
        for status, body in rows:
            text = await node.send(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + body)
            assert text.startswith(b"HTTP/1.1 %d " % status), body
            if status == 413:
                assert text.endswith(b"a body of more than 10 bytes\n")


async def test_heads_beyond_the_limit(tmp_path: Path) -> None:
    limits = {"max_head_bytes": 1024, "max_fields": 8}
    async with node_before(tmp_path, answer, limits=limits) as node:
        within = LAST_REQUEST.replace(b"\r\n\r\n", b"\r\nX: y" * 6 + b"\r\n\r\n")
        assert (await node.send(within)).startswith(b"HTTP/1.1 200 ")
        for beyond in (b"\r\nX: y" * 7, b"\r\nX: " + b"y" * 1024):
            text = await node.send(LAST_REQUEST.replace(b"\r\n\r\n", beyond + b"\r\n\r\n"))
            assert text.startswith(b"HTTP/1.1 431 "), text


async def trickle(writer: asyncio.StreamWriter, data: bytes, pause_s: float) -> None:
    """Send a byte, wait, send the next one, until all is sent or nobody listens."""
    with suppress(ConnectionError):
        for i in range(len(data)):
            writer.write(data[i : i + 1])
            await writer.drain()
            await asyncio.sleep(pause_s)


async def test_a_head_that_trickles_in_is_a_408(tmp_path: Path) -> None:
    async with node_before(tmp_path, answer, timeouts={"header_s": 0.4}) as node:
        reader, writer = await node.connect()
        sending = asyncio.create_task(trickle(writer, REQUEST * 100, 0.05))
        assert (await closes(reader)).startswith(b"HTTP/1.1 408 ")
        sending.cancel()
        writer.transport.abort()


async def test_a_handshake_that_trickles_in_is_cut(tmp_path: Path) -> None:
    async with node_before(tmp_path, answer, timeouts={"handshake_s": 0.4}) as node:
        reader, writer = await connect_raw(node)
        sending = asyncio.create_task(trickle(writer, b"\x16\x03\x01\x40\x00\x01" + b"\x00" * 500, 0.05))
        assert await closes(reader) == b""
        assert (await node.vserver_status())["tls_handshakes"]["failed"] == {"not finished": 1}
        sending.cancel()
        writer.transport.abort()


async def test_a_body_that_trickles_in_is_a_408(tmp_path: Path) -> None:
    """Each byte would start the idle time anew: it is the rate that counts."""
    async with node_before(tmp_path, silence, limits={"min_rate": 1000, "min_rate_after_s": 0.3}) as node:
        for framing in (b"Content-Length: 5000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n1388\r\n"):
            reader, writer = await node.connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing)
            sending = asyncio.create_task(trickle(writer, b"x" * 5000, 0.05))
            text = await closes(reader)
            assert text.startswith(b"HTTP/1.1 408 "), framing
            assert text.endswith(b"the request body came too slowly\n")
            sending.cancel()
            writer.transport.abort()
        assert (await node.vserver_status())["too_slow"] == 2


async def test_a_client_that_reads_too_slowly_is_cut(tmp_path: Path) -> None:
    async with node_before(tmp_path, big, limits={"min_rate": 100_000, "min_rate_after_s": 0.3}) as node:
        reader, writer = await connect_with_little_room(node)
        writer.write(REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        await until_status(node, lambda vserver: vserver["too_slow"] == 1)
        assert len(await closes(reader)) < BODY
        writer.transport.abort()


@pytest.mark.parametrize("last", [False, True], ids=["keep-alive", "close"])
async def test_a_client_that_reads_at_the_least_rate_gets_all_of_it(tmp_path: Path, last: bool) -> None:
    """However much the kernel holds for it, and though it takes longer than any timeout."""
    limits = {"min_rate": 100_000, "min_rate_after_s": 0.3}
    times = {"response_s": 0.5, "keepalive_s": 0.5}
    async with node_before(tmp_path, big, limits=limits, timeouts=times) as node:
        reader, writer = await connect_with_little_room(node)
        writer.write(LAST_REQUEST if last else REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        received = 0
        while received < BODY:
            part = await asyncio.wait_for(reader.read(65_536), 30)
            assert part, f"cut after {received} bytes"
            received += len(part)
            await asyncio.sleep(0.04)
        assert (await node.vserver_status())["too_slow"] == 0
        writer.transport.abort()


async def test_two_thousand_silent_connections_do_not_keep_others_from_being_served(tmp_path: Path) -> None:
    async with node_before(tmp_path, answer, timeouts={"handshake_s": 5}) as node, steady_load(node, 5) as load:
        silent = await asyncio.gather(*(connect_raw(node) for _ in range(2000)))
        answered = load.answered
        await wait_until(lambda: load.answered >= answered + 50 or bool(load.failures))
        assert load.failures == []
        ends = await asyncio.gather(*(closes(reader) for reader, _ in silent))
        assert set(ends) == {b""}
        for _, writer in silent:
            writer.transport.abort()
        assert load.failures == []
        assert (await node.vserver_status())["tls_handshakes"]["failed"] == {"not finished": 2000}


async def with_few_descriptors(node: RunningNode, few: int) -> None:
    """Bound the worker as `ulimit -n` would, from now on."""
    resource.prlimit(await worker_pid(node), resource.RLIMIT_NOFILE, (few, few))


async def until_log(node: RunningNode, found: Callable[[str], bool]) -> None:
    """Wait for something in the log."""
    await wait_until(lambda: found(node.log.read_text()))


async def test_running_out_of_file_descriptors_makes_others_wait_and_hurts_nobody_who_is_served(tmp_path: Path) -> None:
    async with node_before(tmp_path, answer, timeouts={"handshake_s": 2}) as node, steady_load(node, 5) as load:
        await with_few_descriptors(node, 60)
        silent = await asyncio.gather(*(connect_raw(node) for _ in range(200)))
        await until_log(node, lambda text: "cannot accept" in text)
        answered = load.answered
        await wait_until(lambda: load.answered >= answered + 50 or bool(load.failures))
        for _, writer in silent:
            writer.transport.abort()
        # Those who come now have to wait for those before them.
        assert (await node.send(LAST_REQUEST)).startswith(b"HTTP/1.1 200 ")
        assert load.failures == []
        assert node.log.read_text().count("cannot accept") < 5


async def test_a_request_without_a_socket_for_its_server_is_a_503_and_the_next_one_is_served(tmp_path: Path) -> None:
    async with node_before(tmp_path, answer) as node:
        pid = await worker_pid(node)
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        reader, writer = await node.connect()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (4, before[1]))
        for _ in range(3):  # the connection stays
            writer.write(REQUEST)
            head, body = await read_answer(reader)
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nRetry-After: 1\r\n" in head
            assert body == b"503 Service Unavailable: this node has no socket left\n"
        (server,) = (await node.vserver_status())["servers"]
        assert (server["failed"], server["connect_failures"]) == (0, 0)  # it can do nothing for it
        assert "cannot connect" in node.log.read_text()
        late = asyncio.create_task(node.send(LAST_REQUEST))
        await until_log(node, lambda text: "cannot accept" in text)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert await request(node, reader, writer) == b"ok"
        assert (await late).endswith(b"\r\n\r\nok")
        writer.transport.abort()


async def test_a_worker_that_may_have_few_descriptors_serves_a_crowd_in_turn(tmp_path: Path) -> None:
    async with node_before(tmp_path, answer) as node:
        resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, (64, 64))
        os.kill(await worker_pid(node), signal.SIGKILL)  # its successor gets by with that

        async def is_back() -> bool:
            return [worker["restarts"] for worker in (await node.status())["workers"]] == [1]

        await eventually(is_back, "the worker is back")
        assert resource.prlimit(await worker_pid(node), resource.RLIMIT_NOFILE) == (64, 64)
        texts = await asyncio.gather(*(node.send(LAST_REQUEST) for _ in range(150)))
        assert all(text.endswith(b"\r\n\r\nok") for text in texts)
        assert (await node.status())["workers"][0]["restarts"] == 1


async def test_a_server_that_stalls_in_its_response_counts_as_failed(tmp_path: Path) -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK[:-1])
        await reader.read()

    async with node_before(tmp_path, stall, timeouts={"response_s": 0.3}) as node:
        reader, writer = await node.connect()
        writer.write(REQUEST)
        assert (await closes(reader)).endswith(b"\r\n\r\no")
        assert (await node.vserver_status())["servers"][0]["failed"] == 1
        assert "did not come in time" in node.log.read_text()
        writer.transport.abort()
