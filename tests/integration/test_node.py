"""A node between real clients (curl, openssl) and real servers (nginx)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
import pytest_asyncio

from support.nginx import Nginx
from support.tlsnode import RunningNode, node_document, running_node


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Nginx]]:
    """Three nginx."""
    started: list[Nginx] = []
    try:
        for name in ("w1", "w2", "w3"):
            server = Nginx(name, tmp_path / name)
            started.append(server)
            server.start()
        yield started
    finally:
        for server in started:
            server.kill()


@pytest_asyncio.fixture
async def node(tmp_path: Path, servers: list[Nginx]) -> AsyncIterator[RunningNode]:
    """A node in front of them."""
    document = node_document(tmp_path, [(s.name, s.address, s.port) for s in servers])
    async with running_node(document, tmp_path) as running:
        yield running


async def body(node: RunningNode, *arguments: str | Path) -> str:
    result = await node.curl("--fail", *arguments)
    assert result.exit_status == 0, result
    return result.text.strip()


async def until_answer(node: RunningNode, expected: str, *arguments: str | Path) -> None:
    for _ in range(300):
        if (await node.curl(*arguments)).text.strip() == expected:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"no answer {expected!r}")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
async def test_tls_versions(node: RunningNode, version: str) -> None:
    assert await body(node, f"--tlsv{version}", "--tls-max", version, "/") in ("w1", "w2", "w3")


async def test_tls_1_1_is_refused(node: RunningNode) -> None:
    result = await node.curl("--tlsv1.1", "--tls-max", "1.1", "--ciphers", "DEFAULT:@SECLEVEL=0", "/")
    assert result.exit_status == 35, result
    assert "protocol version" in result.stderr.decode()


async def test_each_request_of_a_connection_is_scheduled(node: RunningNode) -> None:
    result = await node.curl("--write-out", "%{num_connects}\n", "/", "/", "/", "/", "/", "/")
    lines = result.text.split()
    assert Counter(lines[0::2]) == {"w1": 2, "w2": 2, "w3": 2}
    assert [int(n) for n in lines[1::2]] == [1, 0, 0, 0, 0, 0]  # one connection for all
    status = await node.vserver_status()
    assert status["requests"] == 6
    assert [server["hits"] for server in status["servers"]] == [2, 2, 2]
    assert [server["open"] for server in status["servers"]] == [0, 0, 0]
    assert all(server["average_response_ms"] is not None for server in status["servers"])


async def test_what_servers_see(node: RunningNode) -> None:
    text = await body(
        node,
        *("--cookie", "a=1; SpServer=junk; b=2"),
        *("--header", "X-Forwarded-For: 6.6.6.6", "--header", "Forwarded: for=6.6.6.6"),
        *("--header", "X-Forwarded-Proto: gopher", "--header", "TE: trailers", "--header", "Connection: TE"),
        "/fields",
    )
    assert dict(line.split("=", 1) for line in text.splitlines()) == {
        "cookie": "a=1; b=2",
        "host": f"127.0.0.1:{node.port}",
        "x_forwarded_for": "127.0.0.1",
        "x_forwarded_proto": "https",
        "x_forwarded_host": f"127.0.0.1:{node.port}",
        "via": "1.1 node1",
        "forwarded": "",
        "x_request_id": "",
        "connection": "",
        "te": "",
    }
    head = (await node.curl("--head", "/")).text
    assert "Via: 1.1 node1\r\n" in head


@pytest.mark.parametrize(
    ("size", "chunked"),
    [
        pytest.param(0, False, id="none"),
        pytest.param(1, False, id="one byte"),
        pytest.param(1, True, id="one byte, chunked"),
        pytest.param(70_000, False, id="70 KB"),
        pytest.param(70_000, True, id="70 KB, chunked"),
        pytest.param(50_000_000, False, id="50 MB"),
        pytest.param(50_000_000, True, id="50 MB, chunked"),
    ],
)
async def test_bodies_both_ways(
    node: RunningNode, servers: list[Nginx], tmp_path: Path, size: int, chunked: bool
) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(os.urandom(1024) * (size // 1024) + os.urandom(size % 1024))
    as_chunked = ("--header", "Transfer-Encoding: chunked") if chunked else ()
    result = await node.curl("--fail", "--upload-file", sent, *as_chunked, "/files/blob")
    assert result.exit_status == 0, result
    stored = [server.files / "blob" for server in servers if (server.files / "blob").exists()]
    assert len(stored) == 1
    digest = hashlib.sha256(sent.read_bytes()).digest()
    assert hashlib.sha256(stored[0].read_bytes()).digest() == digest

    for server in servers:
        (server.files / "blob").write_bytes(sent.read_bytes())
    received = tmp_path / "received"
    compressed = ("--compressed",) if chunked else ()  # nginx does not know the length of what it compresses
    result = await node.curl("--include", "--fail", *compressed, "--output", received, "/files/blob")
    assert result.exit_status == 0, result
    head, _, content = received.read_bytes().partition(b"\r\n\r\n")
    assert hashlib.sha256(content).digest() == digest
    assert (b"Transfer-Encoding: chunked" in head) is chunked


async def test_expect_100_continue(node: RunningNode, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(b"x" * 5000)
    result = await node.curl(
        *("--verbose", "--fail", "--upload-file", sent, "--header", "Expect: 100-continue"),
        *("--expect100-timeout", "50", "/files/blob"),
    )
    assert result.exit_status == 0, result
    assert b"< HTTP/1.1 100 Continue" in result.stderr


async def test_responses_without_a_body(node: RunningNode, servers: list[Nginx]) -> None:
    for server in servers:
        path = server.files / "page"
        path.write_text("hello")
        os.utime(path, (1_700_000_000, 1_700_000_000))  # the same ETag everywhere
    head = await node.curl("--head", "/plain/page", "/plain/page")
    assert head.text.count("Content-Length: 5\r\n") == 2  # the connection went on after the first
    match = re.search(r"ETag: (\S+)", head.text)
    assert match is not None
    fresh = await node.curl("--include", "--header", f"If-None-Match: {match[1]}", "/plain/page", "/empty", "/")
    assert [line.split()[1] for line in fresh.text.split("\r\n") if line.startswith("HTTP/1.1 ")] == [
        "304",
        "204",
        "200",
    ]


async def test_http_1_0(node: RunningNode, servers: list[Nginx]) -> None:
    for server in servers:
        (server.files / "page").write_text("hello" * 1000)
    length = await node.curl("--http1.0", "--include", "/plain/page")
    assert "Content-Length: 5000\r\nConnection: close\r\n" in length.text
    unknown = await node.curl("--http1.0", "--include", "--raw", "--header", "Accept-Encoding: gzip", "/files/page")
    assert unknown.exit_status == 0, unknown
    head, _, content = unknown.stdout.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert content[:2] == b"\x1f\x8b"


async def test_a_session_stays_with_its_server_over_new_connections(node: RunningNode, tmp_path: Path) -> None:
    jar = tmp_path / "jar"
    first = await body(node, "--cookie-jar", jar, "/login")
    assert {await body(node, "--cookie", jar, "/") for _ in range(12)} == {first}
    status = await node.vserver_status()
    assert status["persistence"]["honoured"] == 12
    assert status["persistence"]["cookies_injected"] == 1

    await body(node, "--cookie", jar, "--cookie-jar", jar, "/logout")
    assert "SpServer" not in jar.read_text()
    assert {await body(node, "--cookie", jar, "/") for _ in range(6)} == {"w1", "w2", "w3"}


async def test_the_server_cookie_has_the_attributes_of_the_session_cookie(node: RunningNode) -> None:
    head = (await node.curl("--include", "/login")).text
    (session,) = re.findall(r"Set-Cookie: SESSION=[^;]*(;.*)\r", head)
    ((token, attributes),) = re.findall(r"Set-Cookie: SpServer=([^;]*)(;.*)\r", head)
    assert attributes == session
    assert len(token) == 32


async def test_a_forged_cookie_does_not_choose_a_server(node: RunningNode) -> None:
    (token,) = re.findall(r"SpServer=([^;]*)", (await node.curl("--include", "/login")).text)
    forged = token[:-1] + ("A" if token[-1] != "A" else "B")
    for cookie in (forged, token[:-1], "AAIA" + token[4:]):
        seen = {await body(node, "--cookie", f"SpServer={cookie}", "/") for _ in range(3)}
        assert seen == {"w1", "w2", "w3"}
    persistence = (await node.vserver_status())["persistence"]
    assert (persistence["forged"], persistence["malformed"], persistence["foreign"]) == (3, 3, 3)


async def test_a_killed_server_is_routed_round_and_comes_back(
    node: RunningNode, servers: list[Nginx], tmp_path: Path
) -> None:
    jar = tmp_path / "jar"
    mine = await body(node, "--cookie-jar", jar, "/login")
    (dead,) = [server for server in servers if server.name == mine]
    dead.kill()
    others = {server.name for server in servers} - {mine}
    answers = [await body(node, "--cookie", jar, "/") for _ in range(6)]
    assert set(answers) <= others
    status = await node.vserver_status()
    assert [server["name"] for server in status["servers"] if not server["up"]] == [mine]
    assert status["own_responses"] == {}  # no client saw an error
    assert status["persistence"]["server_down"] > 0

    dead.start()
    await until_answer(node, mine, "--cookie", jar, "/")
    assert all(server["up"] for server in (await node.vserver_status())["servers"])


async def test_no_server_left_is_a_503_that_says_so(node: RunningNode, servers: list[Nginx]) -> None:
    for server in servers:
        server.kill()
    texts = [(await node.curl("--include", "/")).text for _ in range(2)]
    assert all(text.startswith("HTTP/1.1 503 Service Unavailable\r\n") for text in texts)
    assert texts[0].endswith("503 Service Unavailable: no server of pool servers can be reached\n")
    assert texts[1].endswith("503 Service Unavailable: no server of pool servers is up\n")
    head = await node.curl("--head", "/")
    assert head.exit_status == 0
    servers[0].start()
    await until_answer(node, servers[0].name, "/")


async def test_a_hundred_connections_at_once(node: RunningNode, servers: list[Nginx]) -> None:
    for server in servers:
        (server.files / "page").write_bytes(b"0123456789" * 20_000)
    request = f"GET /plain/page HTTP/1.1\r\nHost: 127.0.0.1:{node.port}\r\n\r\n".encode()

    async def client() -> None:
        reader, writer = await node.connect()
        try:
            for _ in range(3):
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 OK\r\n")
                assert await reader.readexactly(200_000) == b"0123456789" * 20_000
        finally:
            writer.transport.abort()

    async with asyncio.timeout(60):
        await asyncio.gather(*(client() for _ in range(100)))
    status = await node.vserver_status()
    assert status["connections"] == 100
    assert status["requests"] == 300
    assert [server["hits"] for server in status["servers"]] == [100, 100, 100]


async def test_resumption_is_counted(node: RunningNode, tmp_path: Path) -> None:
    session = tmp_path / "session"
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{node.port}\r\nConnection: close\r\n\r\n".encode()
    outputs = []
    for argument in ("-sess_out", "-sess_in"):
        outputs.append(await s_client(node, request, argument, str(session), "-ign_eof"))
    assert "\nNew, TLSv1.3" in outputs[0]
    assert "\nReused, TLSv1.3" in outputs[1]
    handshakes = (await node.vserver_status())["tls_handshakes"]
    assert (handshakes["full"], handshakes["resumed"]) == (1, 1)


async def test_renegotiation_is_refused(node: RunningNode) -> None:
    output = await s_client(node, b"R\n", "-tls1_2")
    assert "no renegotiation" in output.lower().replace("_", " ")


async def s_client(node: RunningNode, stdin: bytes, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{node.port}", "-CAfile", str(node.ca), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        output, _ = await process.communicate(stdin)
    return output.decode(errors="replace")


async def test_the_management_address_serves_the_status_and_nothing_else(node: RunningNode) -> None:
    base = f"http://{node.management}"
    status = await node.status()
    assert (status["node"], status["pid"]) == ("node1", node.process.pid)
    assert status["uptime_s"] > 0
    two = await node.curl("--include", "--write-out", "%{num_connects}", f"{base}/status", f"{base}/status?x")
    assert two.text.count("\r\ncontent-type: application/json\r\n") == 2
    metrics = await node.curl(f"{base}/metrics")
    assert 'pentaflow_node_worker_restarts_total{worker="0"} 0.0' in metrics.text
    assert 'pentaflow_node_server_up{pool="servers",server="w1",vserver="web"} 1.0' in metrics.text
    assert two.text.endswith("0")  # over the same connection
    head = await node.curl("--head", f"{base}/status")
    assert head.exit_status == 0, head
    for arguments, line in (
        (
            (f"{base}/",),
            "404 Not Found: there is only /status, /metrics, /sessions/{vserver}, /open-connections, /ticket-keys,"
            " /session-ids and /reload",
        ),
        (("--data", "x", f"{base}/status"), "405 Method Not Allowed: only GET, HEAD"),
        (
            ("--request", "POST", "--data", "x", f"{base}/reload"),
            f"413 {HTTPStatus(413).phrase}: a body of more than 0 bytes",
        ),
    ):
        assert (await node.curl(*arguments)).text == line + "\n"
