"""Vservers of plain HTTP, and those that send their clients to https [N1]."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from support.nginx import Nginx
from support.ports import free_port
from support.tlsnode import RunningNode, node_document, running_node


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Nginx]:
    with Nginx("w1", tmp_path / "w1") as started:
        yield started


class PlainNode:
    """A node with a vserver of each kind."""

    def __init__(self, running: RunningNode, plain: int, moved: int) -> None:
        self.running = running
        self.plain = plain
        self.moved = moved

    async def exchange(self, port: int, data: bytes) -> bytes:
        """Send `data` over a new connection; all that comes until the node closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(data)
            return await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.transport.abort()


@pytest_asyncio.fixture
async def node(tmp_path: Path, server: Nginx) -> AsyncIterator[PlainNode]:
    document = node_document(tmp_path, [("w1", server.address, server.port)])
    secure = document["vservers"][0]
    plain, moved = free_port(), free_port()
    common = {"mode": "http", "vip": "127.0.0.1", "timeouts": {"keepalive_s": 5}}
    trusted = {"trusted_proxies": ["127.0.0.2/32", "fd00::/8"], "forwarded": True, "request_id": True}
    cookie = {"persistence": secure["persistence"], "pool": "servers", "forwarding": trusted}
    document["vservers"] += [
        common | cookie | {"name": "plain", "id": 2, "port": plain},
        common | {"name": "moved", "id": 3, "port": moved, "redirect": {"to": "https", "port": secure["port"]}},
    ]
    async with running_node(document, tmp_path) as running:
        yield PlainNode(running, plain, moved)


async def test_plain_http_from_end_to_end(node: PlainNode, server: Nginx, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{node.plain}"
    result = await node.running.curl("--write-out", "%{num_connects} ", f"{url}/", f"{url}/")
    assert result.text == "w1\n1 w1\n0 "
    fields = (await node.running.curl("--header", "X-Forwarded-Proto: https", f"{url}/fields")).text
    assert "x_forwarded_proto=http\n" in fields
    assert f"host=127.0.0.1:{node.plain}\n" in fields
    sent = tmp_path / "sent"
    sent.write_bytes(bytes(range(256)) * 4096)
    assert (await node.running.curl("--fail", "--upload-file", sent, f"{url}/files/blob")).exit_status == 0
    assert (server.files / "blob").read_bytes() == sent.read_bytes()
    assert (await node.running.curl("--fail", f"{url}/plain/blob")).stdout == sent.read_bytes()
    login = (await node.running.curl("--head", f"{url}/login")).text
    assert "Set-Cookie: SpServer=" in login
    secure, plain, moved = (await node.running.status())["vservers"]
    assert [v["name"] for v in (secure, plain, moved)] == ["web", "plain", "moved"]
    assert (secure["requests"], plain["requests"], moved["requests"]) == (0, 6, 0)
    assert plain["tls_handshakes"] == {"full": 0, "resumed": 0, "failed": {}}
    assert (moved["pool"], moved["servers"]) == ("", [])


async def test_what_a_trusted_proxy_says_is_kept_and_of_others_nothing(node: PlainNode) -> None:
    url = f"http://127.0.0.1:{node.plain}/fields"
    claims = (
        *("--header", "X-Forwarded-For: 192.0.2.9", "--header", "X-Forwarded-Proto: https"),
        *("--header", "X-Forwarded-Host: shop.example", "--header", "Forwarded: for=192.0.2.9"),
        *("--header", "X-Request-ID: abc-1"),
    )
    seen = {}
    for source in ("127.0.0.1", "127.0.0.2"):
        text = (await node.running.curl("--fail", "--interface", source, *claims, url)).text
        seen[source] = dict(line.split("=", 1) for line in text.splitlines())
    ours = f'host="127.0.0.1:{node.plain}";proto=http;by=_node1'
    trusted, other = seen["127.0.0.2"], seen["127.0.0.1"]
    assert trusted["x_forwarded_for"] == "192.0.2.9, 127.0.0.2"
    assert (trusted["x_forwarded_proto"], trusted["x_forwarded_host"]) == ("https", "shop.example")
    assert trusted["forwarded"] == f"for=192.0.2.9, for=127.0.0.2;{ours}"
    assert trusted["x_request_id"] == "abc-1"
    assert other["x_forwarded_for"] == "127.0.0.1"
    assert (other["x_forwarded_proto"], other["x_forwarded_host"]) == ("http", f"127.0.0.1:{node.plain}")
    assert other["forwarded"] == f"for=127.0.0.1;{ours}"
    assert re.fullmatch("[0-9a-f]{32}", other["x_request_id"])
    again = (await node.running.curl("--fail", url, url)).text
    assert len(set(re.findall("x_request_id=(.+)", again)) | {other["x_request_id"]}) == 3


async def test_clients_that_speak_tls_to_plain_http_get_an_answer(node: PlainNode) -> None:
    answer = await node.exchange(node.plain, b"\x16\x03\x01\x00\x04\x01\x00\x00\x00\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_redirect_leads_to_the_same_thing_over_tls(node: PlainNode) -> None:
    url = f"http://127.0.0.1:{node.moved}"
    result = await node.running.curl("--location", "--write-out", "%{num_redirects} %{url_effective}", f"{url}/?a=b")
    assert result.text == f"w1\n1 https://127.0.0.1:{node.running.port}/?a=b"
    posted = await node.running.curl(
        *("--include", "--data", "x" * 10_000, "--write-out", "\n%{http_code} %{redirect_url}", f"{url}/files/x")
    )
    assert posted.exit_status == 0, posted
    assert "Connection: close\r\n" in posted.text  # the body stays unread
    assert posted.text.endswith(f"\n308 https://127.0.0.1:{node.running.port}/files/x")
    status = (await node.running.status())["vservers"][2]
    assert status["requests"] == 2
    assert status["own_responses"] == {"308": 2}
    assert "refused" not in node.running.log.read_text()


async def test_redirects_keep_the_connection_and_answer_head_without_a_body(node: PlainNode) -> None:
    there = b"Location: https://shop.example:%d" % node.running.port
    answer = await node.exchange(
        node.moved,
        b"GET /one HTTP/1.1\r\nHost: shop.example:80\r\n\r\n"
        b"HEAD /two HTTP/1.1\r\nHost: shop.example\r\n\r\n"
        b"GET http://shop.example/three HTTP/1.1\r\nHost: shop.example\r\n\r\n"
        b"GET /four HTTP/1.0\r\nHost: shop.example\r\nConnection: keep-alive\r\n\r\n"
        b"GET /five HTTP/1.0\r\nHost: shop.example\r\n\r\n",
    )
    assert answer.count(b"HTTP/1.1 308 Permanent Redirect\r\n") == 5
    places = [line for line in answer.split(b"\r\n") if line.startswith(b"Location: ")]
    assert places == [there + path for path in (b"/one", b"/two", b"/three", b"/four", b"/five")]
    kept = [line for line in answer.split(b"\r\n") if line.startswith(b"Connection: ")]
    assert kept == [b"Connection: keep-alive"] * 4 + [b"Connection: close"]
    _, two, three = (part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 308")[1:4])
    assert two == b"", "no body to HEAD"
    assert three.startswith(b"308 Permanent Redirect: https://shop.example")


async def test_bad_requests_are_refused_and_not_redirected(node: PlainNode) -> None:
    for request, status in (
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", b"505"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
    ):
        assert (await node.exchange(node.moved, request)).startswith(b"HTTP/1.1 %b " % status)


async def test_a_reload_turns_servers_into_a_redirect_and_back(node: PlainNode, tmp_path: Path) -> None:
    path = tmp_path / "array.yaml"
    before = path.read_text()
    document = json.loads(before)
    plain = document["vservers"][1]
    del plain["pool"], plain["persistence"], plain["forwarding"]
    plain["redirect"] = {"to": "https", "status": 301}
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    for text, old, new in ((json.dumps(document), b"200", b"301"), (before, b"301", b"200")):
        reader, writer = await asyncio.open_connection("127.0.0.1", node.plain)
        writer.write(request)
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 %b " % old)
        path.write_text(text)
        assert (await node.running.curl("--fail", "--data", "", f"http://{node.running.management}/reload")).text
        await asyncio.wait_for(reader.read(), 30)  # to its end: the node has closed it
        writer.transport.abort()
        closing = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        assert (await node.exchange(node.plain, closing)).startswith(b"HTTP/1.1 %b " % new)
