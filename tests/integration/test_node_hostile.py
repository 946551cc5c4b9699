"""A node between clients that break the rules and servers that lie."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from support.hostile_node import connect_with_little_room, resident_mib, worker_pid
from support.tlsnode import Handler, RunningNode, node_document, running_node, scripted_server, wait_until

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST_REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that says ok to every request without a body."""
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)


def always(response: bytes) -> Handler:
    """A server that gives this for an answer and closes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)

    return handler


async def talk(
    tmp_path: Path, handler: Handler, use: Callable[[RunningNode], Awaitable[None]], **timeouts: float
) -> None:
    """Run a node in front of one scripted server for the time of `use`."""
    async with scripted_server(handler) as port:
        document = node_document(tmp_path, [("liar", "127.0.0.1", port)], timeouts=timeouts)
        async with running_node(document, tmp_path) as node:
            await use(node)


@pytest.mark.parametrize(
    ("status", "request_bytes"),
    [
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET"),
        (400, b"GET / HTTP/1.1\nHost: a\n\n"),
        (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70_000 + b"\r\n\r\n"),
        (501, b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    ],
)
async def test_bad_requests_get_their_status_and_the_connection_closes(
    tmp_path: Path, status: int, request_bytes: bytes
) -> None:
    async def use(node: RunningNode) -> None:
        text = await node.send(request_bytes)
        head, _, body = text.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nConnection: close\r\n" in head
        assert body.startswith(b"%d " % status)
        # Behind a good request the good one is answered first.
        text = await node.send(REQUEST + request_bytes)
        assert text.startswith(b"HTTP/1.1 200 OK\r\n")
        assert text.count(b"HTTP/1.1 %d " % status) == 1
        vserver = await node.vserver_status()
        assert (vserver["bad_requests"], vserver["own_responses"]) == (2, {str(status): 2})

    await talk(tmp_path, answer, use)


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            target = (await reader.readuntil(b"\r\n\r\n")).split()[1]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))

    async def use(node: RunningNode) -> None:
        requests = [b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i for i in range(2000)]
        text = await node.send(b"".join(requests) + LAST_REQUEST)
        bodies = [part.partition(b"HTTP/1.1 ")[0] for part in text.split(b"\r\n\r\n")[1:]]
        assert bodies == [*(b"/%d" % i for i in range(2000)), b"/"]

    await talk(tmp_path, echo, use)


async def test_garbage_and_silence_on_the_tls_port_are_counted(tmp_path: Path) -> None:
    async def use(node: RunningNode) -> None:
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 500, b""):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            writer.write(garbage)
            writer.write_eof()
            with suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 30)
            writer.transport.abort()
        assert (await node.send(LAST_REQUEST)).startswith(b"HTTP/1.1 200")
        failed = (await node.vserver_status())["tls_handshakes"]["failed"]
        assert failed["http request"] == 1
        assert failed["closed during the handshake"] == 1
        assert sum(failed.values()) == 4

    await talk(tmp_path, answer, use)


@pytest.mark.parametrize(
    ("response", "part"),
    [
        (b"", b"closed the connection before"),
        (b"HTTP/1.1 20", b"closed the connection before"),
        (b"SSH-2.0-x\r\n", b"not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", b"not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", b"more than 65536 bytes"),
        (b"HTTP/1.1 103 Hints\r\n\r\n" * 50 + OK, b"interim"),
        (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", b"status 101"),
    ],
)
async def test_a_server_that_does_not_speak_http_is_a_502_that_says_so(
    tmp_path: Path, response: bytes, part: bytes
) -> None:
    async def use(node: RunningNode) -> None:
        text = await node.send(LAST_REQUEST)
        head, _, body = text.rpartition(b"\r\n\r\n")
        assert b"HTTP/1.1 502 Bad Gateway\r\n" in head
        assert body.startswith(b"502 Bad Gateway: server liar: ")
        assert part in body
        assert (await node.vserver_status())["servers"][0]["failed"] == 1

    await talk(tmp_path, always(response), use)


async def test_a_502_leaves_the_clients_connection_usable(tmp_path: Path) -> None:
    connections = 0

    async def first_one_fails(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await (always(b"junk\r\n") if connections == 1 else answer)(reader, writer)

    async def use(node: RunningNode) -> None:
        reader, writer = await node.connect()
        writer.write(REQUEST)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 502 ")
        await reader.readline()
        writer.write(REQUEST)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.transport.abort()

    await talk(tmp_path, first_one_fails, use)


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", id="length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", id="chunked"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nzz", id="bad chunk"),
    ],
)
async def test_a_response_cut_short_is_seen_by_the_client(tmp_path: Path, response: bytes) -> None:
    async def use(node: RunningNode) -> None:
        result = await node.curl("/")
        assert result.exit_status in (18, 35, 52, 56), result  # partial file, reset
        assert (await node.vserver_status())["servers"][0]["failed"] == 1

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head, separator, body = response.partition(b"\r\n\r\n")
        writer.write(head + separator)
        await asyncio.sleep(0.1)  # not what is waited for: it makes two reads of head and body likely
        writer.write(body)

    await talk(tmp_path, slowly, use)


async def test_a_second_answer_is_given_to_nobody(tmp_path: Path) -> None:
    async def two(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")

    async def use(node: RunningNode) -> None:
        text = await node.send(REQUEST + REQUEST + LAST_REQUEST)
        assert text.count(b"HTTP/1.1 200 OK\r\n") == 3
        assert b"evil" not in text

    await talk(tmp_path, two, use)


async def test_a_body_in_response_to_head_is_given_to_nobody(tmp_path: Path) -> None:
    async def with_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)

    async def use(node: RunningNode) -> None:
        text = await node.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" * 3 + LAST_REQUEST)
        heads = text.split(b"\r\n\r\n")
        assert [head.split(b"\r\n")[0] for head in heads[:-1]] == [b"HTTP/1.1 200 OK"] * 4
        assert heads[-1] == b"ok"

    await talk(tmp_path, with_body, use)


async def test_an_idle_connection_that_the_server_closes_under_a_request(tmp_path: Path) -> None:
    """A stale connection: what is safe to repeat is repeated on a new one, the rest is a 502."""

    async def one_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer_once(reader, writer)
        await reader.readuntil(b"\r\n\r\n")

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)

    async def use(node: RunningNode) -> None:
        text = await node.send(REQUEST + REQUEST + LAST_REQUEST)
        assert text.count(b"HTTP/1.1 200 OK\r\n") == 3
        post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        text = await node.send(post)
        assert text.startswith(b"HTTP/1.1 502 "), text
        assert (await node.vserver_status())["own_responses"] == {"502": 1}

    await talk(tmp_path, one_each, use)


async def test_an_answer_before_the_request_is_whole(tmp_path: Path) -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"

    async def use(node: RunningNode) -> None:
        text = await node.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nsome" + b"x" * 5000)
        assert text.startswith(b"HTTP/1.1 413 Too Large\r\n")
        assert b"\r\nConnection: close\r\n" in text

    await talk(tmp_path, always(refusal), use)


async def test_a_response_that_ends_with_the_connection(tmp_path: Path) -> None:
    async def use(node: RunningNode) -> None:
        result = await node.curl("--include", "/")
        assert result.exit_status == 0, result
        assert "Transfer-Encoding: chunked\r\n" in result.text
        assert result.text.endswith("\r\n\r\nall of it")

    await talk(tmp_path, always(b"HTTP/1.0 200 OK\r\n\r\nall of it"), use)


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that takes everything and says nothing."""
    await reader.read()
    await asyncio.sleep(3600)


async def test_a_server_that_does_not_answer_is_a_504(tmp_path: Path) -> None:
    async def use(node: RunningNode) -> None:
        text = await node.send(LAST_REQUEST)
        assert text.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
        assert text.endswith(b"504 Gateway Timeout: server liar did not answer in time\n")

    await talk(tmp_path, silence, use, response_s=0.3)


async def test_slow_clients_are_cut(tmp_path: Path) -> None:
    async def use(node: RunningNode) -> None:
        assert (await node.send(b"GET / HTTP/1.1\r\nHo")).startswith(b"HTTP/1.1 408 ")
        assert await node.send(b"") == b""  # closed without a word
        text = await node.send(REQUEST)  # an idle connection after a request, too
        assert text.endswith(b"\r\n\r\nok")
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 30) == b""  # no handshake
        writer.transport.abort()

    times = {"handshake_s": 0.3, "header_s": 0.3, "keepalive_s": 0.3}
    await talk(tmp_path, answer, use, **times)


async def test_a_body_that_does_not_come_is_a_408(tmp_path: Path) -> None:
    async def use(node: RunningNode) -> None:
        text = await node.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        assert text.startswith(b"HTTP/1.1 408 ")
        assert text.endswith(b"the request body took too long\n")

    await talk(tmp_path, silence, use, response_s=0.3)


async def test_a_client_that_closes_its_side_still_gets_its_answer(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await release.wait()
        writer.write(OK)

    def half_close(node: RunningNode, loop: asyncio.AbstractEventLoop) -> bytes:
        trust = ssl.create_default_context(cafile=node.ca)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trust.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        with socket.create_connection(("127.0.0.1", node.port), timeout=30) as connection:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    connection.sendall(outgoing.read())
                    incoming.write(connection.recv(65536))
            tls.write(REQUEST)
            with suppress(ssl.SSLWantReadError):
                tls.unwrap()
            connection.sendall(outgoing.read())
            connection.shutdown(socket.SHUT_WR)
            loop.call_soon_threadsafe(release.set)
            while data := connection.recv(65536):
                incoming.write(data)
            return tls.read(65536)

    async def use(node: RunningNode) -> None:
        text = await asyncio.to_thread(half_close, node, asyncio.get_running_loop())
        assert text.endswith(b"\r\n\r\nok")

    await talk(tmp_path, late, use)


async def test_a_client_that_goes_away_takes_its_request_along(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            await reader.read()
        finally:
            gone.set()

    async def use(node: RunningNode) -> None:
        reader, writer = await node.connect()
        writer.write(REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        await asyncio.wait_for(gone.wait(), 30)
        assert (await node.vserver_status())["servers"][0]["open"] == 0

    await talk(tmp_path, endless, use)


async def still(value: Callable[[], int]) -> int:
    """The value once it no longer grows."""
    last, unchanged = value(), 0
    while unchanged < 20:
        await asyncio.sleep(0.02)
        now = value()
        last, unchanged = now, unchanged + 1 if now == last else 0
    return last


async def test_a_slow_reader_holds_its_server_back(tmp_path: Path) -> None:
    size = 100_000_000
    sent = 0

    async def big(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async def use(node: RunningNode) -> None:
        reader, writer = await node.connect()
        worker = await worker_pid(node)
        before = resident_mib(worker)
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert await still(lambda: sent) < size / 2  # what sockets and one buffer hold
        received = 0
        while received < size:
            received += len(await reader.read(1 << 20))
        assert received == size
        assert resident_mib(worker) - before < 20
        writer.transport.abort()

    await talk(tmp_path, big, use)


async def test_a_server_that_closes_while_a_slow_reader_takes_its_answer(tmp_path: Path) -> None:
    body = bytes(12_000_000)

    async def use(node: RunningNode) -> None:
        async def take() -> None:
            reader, writer = await connect_with_little_room(node)
            writer.write(REQUEST)
            await reader.readuntil(b"\r\n\r\n")
            received = 0
            while received < len(body) and (data := await reader.read(1 << 16)):
                received += len(data)
            assert received == len(body)
            writer.transport.abort()

        async with asyncio.timeout(120):
            for _ in range(5):
                await asyncio.gather(*(take() for _ in range(4)))

    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    await talk(tmp_path, always(head + body), use)


async def test_a_slow_server_holds_its_client_back(tmp_path: Path) -> None:
    size = 100_000_000
    read_on = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await read_on.wait()
        await reader.readexactly(size)
        writer.write(OK)

    async def use(node: RunningNode) -> None:
        reader, writer = await node.connect()
        worker = await worker_pid(node)
        before = resident_mib(worker)
        sent = 0

        async def send() -> None:
            nonlocal sent
            writer.write(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            while sent < size:
                writer.write(b"x" * 100_000)
                await writer.drain()
                sent += 100_000

        sending = asyncio.create_task(send())
        await wait_until(lambda: sent > 0)
        assert await still(lambda: sent) < size / 2
        read_on.set()
        await sending
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert resident_mib(worker) - before < 20
        writer.transport.abort()

    await talk(tmp_path, slow, use)


async def test_ending_a_node_lets_open_requests_finish(tmp_path: Path) -> None:
    release = asyncio.Event()
    arrived = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await release.wait()
        writer.write(OK)

    async def use(node: RunningNode) -> None:
        idle, idle_writer = await node.connect()
        reader, writer = await node.connect()
        writer.write(REQUEST)
        await arrived.wait()
        node.process.terminate()
        assert await asyncio.wait_for(idle.read(), 30) == b""  # closed in order
        with pytest.raises(ConnectionError):
            await node.connect()
        release.set()
        text = await asyncio.wait_for(reader.read(), 30)
        assert text.endswith(b"\r\n\r\nok")
        assert b"\r\nConnection: close\r\n" in text
        writer.transport.abort()
        idle_writer.transport.abort()
        assert await asyncio.wait_for(node.process.wait(), 30) == 0

    await talk(tmp_path, late, use)
