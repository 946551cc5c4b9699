"""Messages of every shape through a node, with real clients and servers: interim answers, trailers, gigabytes.

BODY_GIGABYTES=10 makes the largest bodies larger.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from support.hostile_node import (
    LAST_REQUEST,
    OK,
    REQUEST,
    connect_with_little_room,
    forget_peak,
    node_before,
    peak_mib,
    read_answer,
    resident_mib,
    until_status,
    worker_pid,
)
from support.nginx import Nginx
from support.tlsnode import RunningNode, node_document, running_node

GIGABYTES = float(os.environ.get("BODY_GIGABYTES", "0.5"))
SIZE = int(GIGABYTES * 1e9)
ROOM_MIB = 16.0
PAUSE_S = 0.02
PART = b"x" * (1 << 18)


async def read_all(reader: asyncio.StreamReader, size: int, *, pauses: int = 0) -> None:
    """So many bytes, kept nowhere; with so many pauses, of a fiftieth of a second."""
    left = size
    for i in range(pauses + 1):
        while left > size * (pauses - i) // (pauses + 1):
            part = await asyncio.wait_for(reader.read(min(left, 1 << 20)), 60)
            assert part, f"{left} bytes are missing"
            left -= len(part)
        await asyncio.sleep(PAUSE_S if pauses else 0)


async def write_all(writer: asyncio.StreamWriter, size: int) -> None:
    """So many bytes, as fast as they are taken."""
    while size:
        part = PART[:size]
        writer.write(part)
        size -= len(part)
        await writer.drain()


async def gigabytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, pauses: int = 0) -> None:
    """A server that takes SIZE bytes by POST, with so many pauses, and gives SIZE bytes by GET."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST "):
            await read_all(reader, SIZE, pauses=pauses)
            writer.write(OK)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
            await write_all(writer, SIZE)


@pytest.mark.timeout(900 if GIGABYTES > 1 else 120)
@pytest.mark.parametrize("pauses", [0, 100], ids=["fast", "slow"])
async def test_gigabytes_both_ways_in_constant_memory(tmp_path: Path, pauses: int) -> None:
    """Also when those who take them, the client and then the server, are slower than those who send."""
    async with node_before(tmp_path, partial(gigabytes, pauses=pauses)) as node:
        pid = await worker_pid(node)
        reader, writer = await node.connect()
        before = resident_mib(pid)
        forget_peak(pid)
        writer.write(REQUEST)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        await read_all(reader, SIZE, pauses=pauses)
        down = peak_mib(pid) - before
        forget_peak(pid)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE)
        await write_all(writer, SIZE)
        assert (await read_answer(reader))[1] == b"ok"
        up = peak_mib(pid) - before
        print(f"{SIZE} bytes, {pauses} pauses: at most {down:.1f} MiB more for them down, {up:.1f} MiB up")
        assert max(up, down) < ROOM_MIB
        writer.transport.abort()


async def test_fifty_clients_that_do_not_read_cost_little_memory(tmp_path: Path) -> None:
    async with node_before(tmp_path, gigabytes) as node:
        pid = await worker_pid(node)
        before = resident_mib(pid)
        held = await asyncio.gather(*(connect_with_little_room(node) for _ in range(50)))
        for _, writer in held:
            writer.write(REQUEST)
        await until_status(node, lambda vserver: vserver["servers"][0]["open"] == 50)
        for reader, _ in held:
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert resident_mib(pid) - before < 50 * 0.5  # what one read brings, encrypted, and TLS itself
        for _, writer in held:
            writer.transport.abort()


async def test_pipelined_posts_are_answered_in_order_each_with_its_body(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b"content-length: " in head:
                body = await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
            else:
                body = b""
                while size := int(await reader.readline(), 16):
                    body += await reader.readexactly(size)
                    await reader.readline()
                await reader.readline()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with node_before(tmp_path, echo) as node:
        bodies = [b"%d-" % i * (i * 37 % 3000 + 1) for i in range(200)]
        reader, writer = await node.connect()
        for i, body in enumerate(bodies):
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\n")
            if i % 2:
                writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            else:
                half = len(body) // 2 or 1
                parts = [part for part in (body[:half], body[half:]) if part]
                chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
                writer.write(b"Transfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % chunks)
        for body in bodies:
            assert (await read_answer(reader))[1] == body
        writer.transport.abort()


async def test_interim_answers_and_expectations_end_to_end(tmp_path: Path) -> None:
    """The body is not sent before the server has asked for it; other interim answers pass, too."""

    async def asking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"\r\nExpect: 100-continue\r\n" in head
            with suppress(TimeoutError):
                raise AssertionError(await asyncio.wait_for(reader.readexactly(1), 0.2))
            writer.write(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert await reader.readexactly(5) == b"hello"
            writer.write(OK)

    async with node_before(tmp_path, asking) as node:
        result = await node.curl(
            *("--include", "--header", "Expect: 100-continue", "--expect100-timeout", "30", "--data", "hello", "/")
        )
        assert result.exit_status == 0, result
        heads = result.text.split("\r\n\r\n")
        statuses = [head.split()[1] for head in heads[:-1]]
        assert statuses == ["102", "103", "100", "200"]
        assert "Link: </a.css>" in heads[1]
        assert heads[-1] == "ok"


async def test_an_expectation_that_is_refused_costs_no_body(tmp_path: Path) -> None:
    async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with node_before(tmp_path, refusing) as node:
        result = await node.curl(
            *("--header", "Expect: 100-continue", "--expect100-timeout", "30", "--data-binary", "@-"),
            *("--write-out", "%{http_code} %{size_upload}", "/"),
            stdin=b"x" * 2_000_000,
        )
        assert result.text == "403 0"


async def test_trailers_go_both_ways_to_those_who_take_them(tmp_path: Path) -> None:
    came = b""

    async def trailing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal came
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            came = await reader.readuntil(b"\r\n\r\n") if b"chunked" in head else b""
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Checksum\r\n\r\n")
            writer.write(b"2\r\nok\r\n0\r\nChecksum: 17\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\n\r\n")

    async with node_before(tmp_path, trailing) as node:
        sent = b"3\r\nabc\r\n0\r\nDigest: 42\r\nHost: evil\r\nTransfer-Encoding: gzip\r\n\r\n"
        post = (
            b"POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nConnection: TE, close\r\n\r\n"
        )
        text = await node.send(post + sent)
        assert came == b"3\r\nabc\r\n0\r\nDigest: 42\r\n\r\n"
        assert text.endswith(b"\r\n\r\n2\r\nok\r\n0\r\nChecksum: 17\r\n\r\n")
        assert (await node.send(LAST_REQUEST)).endswith(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")  # it did not ask for any


async def test_answers_without_a_body_whatever_their_length_says(tmp_path: Path) -> None:
    """HEAD and 304 name the length that a body would have; the next answer on the connection is not taken for it."""

    async def bodiless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            method, target, _ = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
            match target:
                case b"/204":
                    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                case b"/304":
                    writer.write(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 1000\r\n\r\n")
                case b"/chunked":
                    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                case _:
                    writer.write(OK if method != b"HEAD" else OK[:-2])

    async with node_before(tmp_path, bodiless) as node:
        requests = [(b"HEAD", b"/"), (b"GET", b"/204"), (b"GET", b"/304"), (b"HEAD", b"/chunked"), (b"HEAD", b"/304")]
        lines = [b"%b %b HTTP/1.1\r\nHost: a\r\n\r\n" % request for request in requests]
        text = await node.send(b"".join(lines) + LAST_REQUEST)
        *heads, last = text.split(b"\r\n\r\n")
        assert [head.split()[1] for head in heads] == [b"200", b"204", b"304", b"200", b"304", b"200"]
        assert last == b"ok"


async def test_requests_of_many_clients_share_connections_to_nginx(tmp_path: Path) -> None:
    async def one_after_the_other(node: RunningNode) -> None:
        for _ in range(5):
            result = await node.curl(*["/plain/file"] * 20)
            assert result.text == "content" * 20

    with Nginx("only", tmp_path / "nginx") as nginx:
        (nginx.files / "file").write_text("content")
        document = node_document(tmp_path, [("only", nginx.address, nginx.port)])
        before = nginx.accepted()
        async with running_node(document, tmp_path) as node:
            await asyncio.gather(*(one_after_the_other(node) for _ in range(4)))
        # One for each that may be busy at the same time, and the one that asks.
        assert nginx.accepted() - before <= 4 + 1


async def test_the_server_of_twenty_requests_in_flight_is_killed(tmp_path: Path) -> None:
    """Each gets its 502 at once; what is safe to repeat elsewhere is served by the other server from then on."""
    arrived = 0
    ready = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        await reader.readuntil(b"\r\n\r\n")
        writers.append(writer)
        arrived += 1
        if arrived == 20:
            ready.set()
        await asyncio.sleep(3600)

    async with node_before(tmp_path, hold) as node:
        connections = [await node.connect() for _ in range(20)]
        for _, writer in connections:
            writer.write(REQUEST)
        await asyncio.wait_for(ready.wait(), 30)
        for writer in writers:
            writer.transport.abort()
        for reader, writer in connections:
            head, body = await read_answer(reader)
            assert head.startswith(b"HTTP/1.1 502 ")
            assert body.startswith(b"502 Bad Gateway: server only: ")
            writer.transport.abort()
        assert (await node.vserver_status())["servers"][0]["failed"] == 20
