"""The access log of a node [N8]: what each request left in it, and rotation."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from support.nginx import Nginx
from support.node_load import steady_load
from support.tlsnode import RunningNode, node_document, running_node, scripted_server, wait_until
from support.virtual_array import eventually

Line = dict[str, Any]


def lines(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def next_lines(path: Path, count: int) -> list[Line]:
    """The lines of a log that will have `count`; each is written within a moment."""
    await wait_until(lambda: len(lines(path)) >= count)
    found = lines(path)
    assert len(found) == count, found
    return found


@asynccontextmanager
async def logging_node(
    folder: Path, servers: Sequence[tuple[str, str, int]], *, workers: int = 1, **vserver: Any
) -> AsyncIterator[tuple[RunningNode, Path]]:
    document = node_document(folder, servers)
    document["vservers"][0] |= {"access_log": True} | vserver
    log = folder / "access.log"
    async with running_node(document, folder, workers=workers, options=("--access-log", str(log))) as node:
        yield node, log


async def send(node: RunningNode, data: bytes) -> bytes:
    """Send `data` over a new connection; all that comes until the node closes or cuts it."""
    reader, writer = await node.connect()
    writer.write(data)
    answer = b""
    with suppress(ConnectionResetError):
        while part := await asyncio.wait_for(reader.read(65_536), 30):
            answer += part
    writer.transport.abort()
    return answer


async def test_each_request_has_a_line_with_what_client_and_server_saw(tmp_path: Path) -> None:
    with Nginx("w1", tmp_path / "w1") as server:
        async with logging_node(tmp_path, [("w1", server.address, server.port)], forwarding={"request_id": True}) as (
            node,
            log,
        ):
            seen = await node.curl("--tlsv1.3", "--include", "/fields?a=%22")
            await node.curl("--tls-max", "1.2", "--upload-file", "-", "/files/blob", stdin=b"x" * 5000)
            first, second = await next_lines(log, 2)
            for line in (first, second):
                assert line["client"].startswith("127.0.0.1:")
                assert line["duration_ms"] >= line["first_byte_ms"] >= 0
            whole = {
                "vserver": "web",
                "tls": "TLSv1.3",
                "method": "GET",
                "host": f"127.0.0.1:{node.port}",
                "target": "/fields?a=%22",
                "status": 200,
                "server": "w1",
                "chosen_by": "policy",
                "bytes_in": 0,
                "bytes_out": len(seen.stdout),
                "retries": 0,
                "refused": "",
            }
            assert first | whole == first
            assert f"x_request_id={first['request_id']}\n" in seen.text
            stored = {"tls": "TLSv1.2", "method": "PUT", "status": 201, "bytes_in": 5000, "server": "w1", "refused": ""}
            assert second | stored == second


async def test_what_is_refused_or_cut_has_a_line_that_says_why(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/short" in head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        elif b"/junk" in head:
            writer.write(b"what?\r\n\r\n")
        else:
            await reader.read()

    async with (
        scripted_server(serve) as port,
        logging_node(
            tmp_path,
            [("w1", "127.0.0.1", port)],
            limits={"max_body_bytes": 10},
            timeouts={"header_s": 1},
        ) as (node, log),
    ):
        count = 0
        host = b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        for data, expected in (
            (b"GET /\x01 HTTP/1.1\r\n\r\n", (400, "", "", "not HTTP/1.1: ")),
            (b"GET / HTTP/1.1\r\nHost:", (408, "", "", "the request header took too long")),
            (b"POST /big" + host + b"Content-Length: 11\r\n\r\n", (413, "/big", "", "a body of more than 10 bytes")),
            (b"GET /junk" + host + b"\r\n", (502, "/junk", "w1", "server w1: ")),
            (b"GET /short" + host + b"\r\n", (200, "/short", "w1", "cut")),
        ):
            answer = await send(node, data)
            count += 1
            line = (await next_lines(log, count))[-1]
            assert (line["status"], line["target"], line["server"]) == expected[:3]
            assert line["refused"].startswith(expected[3])
            assert answer.startswith(b"HTTP/1.1 %d " % line["status"])
            assert line["bytes_out"] == len(answer)
        waited = lines(log)[1]
        assert waited["duration_ms"] >= 1000

        for data, target, server in ((b"GET /gone" + host + b"\r\n", "/gone", "w1"), (b"GET / HT", "", "")):
            _, writer = await node.connect()
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0.1)  # so that it is read before the end is: both leave the same line
            writer.transport.abort()
            count += 1
            line = (await next_lines(log, count))[-1]
            assert (line["status"], line["target"], line["server"]) == (0, target, server)
            assert (line["refused"], line["first_byte_ms"]) == ("the client is gone", None)
        assert "refused" not in node.log.read_text(), "the access log has them"


async def test_a_renamed_log_is_followed_by_a_new_one_and_nothing_is_lost(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    async with (
        scripted_server(serve) as port,
        logging_node(tmp_path, [("w1", "127.0.0.1", port)], workers=2) as (node, log),
    ):
        old = tmp_path / "access.log.1"
        async with steady_load(node, 20) as load:
            await wait_until(lambda: len(lines(log)) > 20)
            log.rename(old)
            node.process.send_signal(signal.SIGHUP)
            await wait_until(lambda: len(lines(log)) > 40)
        assert not load.failures
        await wait_until(lambda: len(lines(old)) + len(lines(log)) == load.answered)
        clients = {line["client"] for line in lines(log)}
        assert clients == {line["client"] for line in lines(old)}, "both workers write to the new one"
        assert len(clients) == 20
        workers = (await node.status())["workers"]
        assert [worker["access_log_lost"] for worker in workers] == [0, 0]

        # A configuration that is refused does not keep the log from being rotated.
        (tmp_path / "array.yaml").write_text("nothing")
        log.rename(tmp_path / "access.log.2")
        node.process.send_signal(signal.SIGHUP)
        await wait_until(log.exists)
        await node.curl("/last")
        await wait_until(lambda: [line["target"] for line in lines(log)][-1:] == ["/last"])


async def test_a_worker_that_is_started_again_writes_to_the_log(tmp_path: Path) -> None:
    with Nginx("w1", tmp_path / "w1") as server:
        async with logging_node(tmp_path, [("w1", server.address, server.port)]) as (node, log):
            first = (await node.status())["workers"][0]["pid"]
            os.kill(first, signal.SIGKILL)

            async def is_back() -> bool:
                return [w for w in (await node.status())["workers"] if w["pid"] != first] != []

            await eventually(is_back, "the worker is back")
            await node.curl("/")
            (line,) = await next_lines(log, 1)
            assert line["server"] == "w1"


async def test_a_vserver_whose_log_has_no_file_is_refused(tmp_path: Path) -> None:
    document = node_document(tmp_path, [("w1", "127.0.0.1", 9)])
    async with running_node(document, tmp_path) as node:
        document["vservers"][0]["access_log"] = True
        (tmp_path / "array.yaml").write_text(json.dumps(document))
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.post(f"http://{node.management}/reload")
        assert answer.status_code == 422
        assert "vserver web: access_log: this node has no file for it: start it with --access-log FILE" in answer.text


async def test_without_an_access_log_refusals_are_logged_but_not_without_end(tmp_path: Path) -> None:
    document = node_document(tmp_path, [("w1", "127.0.0.1", 9)])
    async with running_node(document, tmp_path) as node:
        for _ in range(4):
            await asyncio.gather(*(node.send(b"GET /\x01 HTTP/1.1\r\n\r\n") for _ in range(50)))
        await wait_until(lambda: "more than can be logged" in node.log.read_text())
        status = await node.vserver_status()
        assert status["own_responses"] == {"400": 200}
        assert 10 <= node.log.read_text().count(" refused ") < 200
