"""How a node reaches its servers: over TLS that is verified, and with the PROXY protocol, to real nginx."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support.certificates import Authority, Certificate
from support.nginx import Nginx
from support.tlsnode import RunningNode, node_document, running_node, scripted_server, wait_until
from support.virtual_array import eventually

AUTHORITY = Authority("servers")
Document = dict[str, Any]


def secure(
    folder: Path, name: str = "w1.example.test", *, authority: Authority = AUTHORITY, options: str = "", more: str = ""
) -> Nginx:
    """An nginx whose certificate is for `name`, localhost and 127.0.0.1; it says so."""
    folder.mkdir()
    certificate, key = authority.issue(name).write(folder, "nginx")
    directives = f"ssl_certificate {certificate}; ssl_certificate_key {key}; {more}"
    return Nginx(name, folder, options=f"ssl {options}", directives=directives)


def document_of(folder: Path, servers: Sequence[Nginx], host: str = "127.0.0.1", **pool: Any) -> Document:
    document = node_document(folder, [(f"w{i}", host, server.port) for i, server in enumerate(servers, 1)])
    document["pools"][0] |= pool
    return document


def authority_file(folder: Path) -> str:
    (folder / "servers.pem").write_bytes(AUTHORITY.certificate_pem)
    return str(folder / "servers.pem")


async def get(node: RunningNode, path: str) -> str:
    done = await node.curl("--fail", path)
    assert done.exit_status == 0, done.stderr
    return done.text


@pytest.mark.parametrize("name", [None, "w1.example.test"])
async def test_servers_are_reached_over_tls(tmp_path: Path, name: str | None) -> None:
    with secure(tmp_path / "nginx") as server:
        tls = {"ca": authority_file(tmp_path)} | ({"server_name": name} if name else {})
        async with running_node(document_of(tmp_path, [server], tls=tls), tmp_path) as node:
            assert await get(node, "/") == "w1.example.test\n"
            _, _, connection, _, asked_for = (await get(node, "/connection")).split(" ")
            assert asked_for == (name or "")  # an IP address is no name to ask for (RFC 6066, 3)
            assert (await get(node, "/connection")).split(" ")[2] == connection
            body = os.urandom(5_000_000)
            (server.files / "blob").write_bytes(body)
            assert (await node.curl("/plain/blob")).stdout == body


async def test_the_name_is_the_hosts_unless_given(tmp_path: Path) -> None:
    with secure(tmp_path / "nginx") as server:
        document = document_of(tmp_path, [server], host="localhost", tls={"ca": authority_file(tmp_path)})
        async with running_node(document, tmp_path) as node:
            assert (await get(node, "/connection")).endswith(" localhost")


async def test_sessions_with_servers_are_resumed(tmp_path: Path) -> None:
    with secure(tmp_path / "nginx", more="keepalive_timeout 0;") as server:
        document = document_of(tmp_path, [server], tls={"ca": authority_file(tmp_path)})
        async with running_node(document, tmp_path) as node:
            reused = [(await get(node, "/connection")).split(" ")[3] for _ in range(4)]
            assert reused == [".", "r", "r", "r"]
            # The vserver is another one then, its pool is the same.
            document["vservers"][0]["timeouts"] = {"response_s": 50}
            (tmp_path / "array.yaml").write_text(json.dumps(document))
            assert (await node.curl("--fail", "--request", "POST", f"http://{node.management}/reload")).exit_status == 0
            assert (await get(node, "/connection")).split(" ")[3] == "r"


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.parametrize(
    ("authority", "name", "reason"),
    [
        (Authority("servers"), None, "certificate signature failure"),
        (AUTHORITY, "other.example.test", "hostname mismatch"),
        (AUTHORITY, "127.0.0.2", "IP address mismatch"),
    ],
)
async def test_a_server_that_is_not_what_it_should_be_gets_no_request(
    tmp_path: Path, authority: Authority, name: str | None, reason: str
) -> None:
    with secure(tmp_path / "nginx", authority=authority) as server:
        tls = {"ca": authority_file(tmp_path)} | ({"server_name": name} if name else {})
        async with running_node(document_of(tmp_path, [server], tls=tls, eject=None), tmp_path) as node:
            worker = (await node.status())["workers"][0]["pid"]
            open_before = descriptors(worker)
            done = await node.curl("--write-out", "%{http_code}", "/")
            assert done.text == "503 Service Unavailable: no server of pool servers can be reached\n503"
            await wait_until(lambda: descriptors(worker) == open_before)
            log = node.log.read_text()
            assert "connect failed" in log
            assert reason in log
        assert (server.folder / "access.log").read_text() == ""


async def test_another_server_is_tried_when_one_shows_the_wrong_certificate(tmp_path: Path) -> None:
    with secure(tmp_path / "wrong", authority=Authority("servers")) as wrong, secure(tmp_path / "right") as right:
        document = document_of(tmp_path, [wrong, right], tls={"ca": authority_file(tmp_path)})
        async with running_node(document, tmp_path) as node:
            for _ in range(4):
                assert await get(node, "/") == "w1.example.test\n"
            failures = [server["connect_failures"] for server in (await node.vserver_status())["servers"]]
            assert failures[0] > 0
            assert failures[1] == 0


async def test_a_server_whose_certificate_is_revoked_gets_no_request_and_fails_its_checks(tmp_path: Path) -> None:
    with secure(tmp_path / "good") as good, secure(tmp_path / "bad", "revoked.example.test") as bad:
        lists = tmp_path / "servers.crl"
        lists.write_bytes(AUTHORITY.revocation_list(certificate_in(bad.folder)))
        tls = {"ca": authority_file(tmp_path), "crl": str(lists)}
        document = document_of(tmp_path, [bad, good], tls=tls, eject=None)
        async with running_node(document, tmp_path) as node:
            for _ in range(4):
                assert await get(node, "/") == "w1.example.test\n"
            assert (await node.vserver_status())["servers"][0]["connect_failures"] > 0
            assert "error='certificate revoked'" in node.log.read_text()
            document["pools"][0]["check"] = {"protocol": "https", "interval_ms": 50, "rise": 1, "fall": 1}
            (tmp_path / "array.yaml").write_text(json.dumps(document))
            assert (await node.curl("--fail", "--request", "POST", f"http://{node.management}/reload")).exit_status == 0

            async def are_judged() -> bool:
                refused, served = (server["checks"] for server in (await node.vserver_status())["servers"])
                return bool(refused["failed"] and not refused["passed"] and served["passed"] and not served["failed"])

            await eventually(are_judged, "one check passes, the other fails")
            assert "certificate revoked" in node.log.read_text().partition("server judged")[2]
            lists.write_bytes(b"none")
            refused = await node.curl("--request", "POST", f"http://{node.management}/reload")
            assert f"pool servers: tls.crl: {lists}: no PEM revocation list in it" in refused.text


def certificate_in(folder: Path) -> Certificate:
    return Certificate(certificate_pem=(folder / "nginx.crt").read_bytes(), key_pem=(folder / "nginx.key").read_bytes())


async def test_a_server_may_ask_for_a_certificate(tmp_path: Path) -> None:
    clients = Authority("nodes")
    (tmp_path / "nodes.pem").write_bytes(clients.certificate_pem)
    certificate, key = clients.issue("node1").write(tmp_path, "node1")
    more = f"ssl_client_certificate {tmp_path}/nodes.pem; ssl_verify_client on;"
    with secure(tmp_path / "nginx", more=more) as server:
        tls = {"ca": authority_file(tmp_path), "certificate": str(certificate), "key": str(key)}
        check = {"protocol": "https", "interval_ms": 50, "rise": 1, "fall": 1, "status": [200]}
        document = document_of(tmp_path, [server], tls=tls, check=check)
        async with running_node(document, tmp_path) as node:
            assert await get(node, "/") == "w1.example.test\n"
            await eventually(lambda: has_passed(node), "a check passes")


async def test_a_server_that_misses_a_certificate_is_a_bad_gateway(tmp_path: Path) -> None:
    certificate, key = AUTHORITY.issue("w1.example.test").write(tmp_path, "w1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority_file(tmp_path))
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED

    async def shake_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while data := await reader.read(65_536):
            incoming.write(data)
            with suppress(ssl.SSLError):  # it wants more, or has said no
                tls.do_handshake()
            writer.write(outgoing.read())

    async with scripted_server(shake_hands) as port:
        document = node_document(tmp_path, [("w1", "127.0.0.1", port)])
        document["pools"][0]["tls"] = {"ca": authority_file(tmp_path)}
        async with running_node(document, tmp_path) as node:
            said = "the server closed the connection before its response was whole: tlsv13 alert certificate required"
            assert (await node.curl("/")).text == f"502 Bad Gateway: server w1: {said}\n"
            assert said in node.log.read_text()


async def has_passed(node: RunningNode) -> bool:
    (server,) = (await node.vserver_status())["servers"]
    return bool(server["checks"]["passed"] > 2 and server["checks"]["failed"] == 0)


@pytest.mark.parametrize("verified", [True, False])
async def test_https_checks_go_by_the_tls_of_the_pool(tmp_path: Path, verified: bool) -> None:
    authority = AUTHORITY if verified else Authority("servers")
    with secure(tmp_path / "nginx", authority=authority) as server:
        check = {"protocol": "https", "interval_ms": 50, "rise": 1, "fall": 1}
        document = document_of(tmp_path, [server], tls={"ca": authority_file(tmp_path)}, check=check)
        async with running_node(document, tmp_path) as node:
            if verified:
                await eventually(lambda: has_passed(node), "a check passes")
            else:

                async def is_down() -> bool:
                    return "server judged" in node.log.read_text()

                await eventually(is_down, "the check fails")
                assert "TLS: " in node.log.read_text()


@pytest.mark.parametrize("over_tls", [False, True])
async def test_the_proxy_protocol_tells_nginx_who_the_client_is(tmp_path: Path, over_tls: bool) -> None:
    check = {"protocol": "https" if over_tls else "http", "interval_ms": 50, "rise": 1, "fall": 1, "path": "/empty"}
    (tmp_path / "nginx").mkdir()
    server = Nginx("plain", tmp_path / "nginx", options="proxy_protocol")
    if over_tls:
        server = secure(tmp_path / "tls", options="proxy_protocol")
    with server:
        tls = {"ca": authority_file(tmp_path)} if over_tls else None
        document = document_of(tmp_path, [server], proxy_protocol=True, check=check, tls=tls)
        async with running_node(document, tmp_path) as node:
            await eventually(lambda: has_passed(node), "a check passes")
            connections = set()
            for address in ("127.0.0.1", "127.0.0.2", "127.0.0.2"):
                told = (await get_from(node, address)).split(" ")
                assert told[:2] == [address, str(node.port)]
                connections.add(told[2])
            assert len(connections) == 3
            # The same for requests over one connection of a client.
            done = await node.curl("--fail", "/connection", "/connection")
            assert done.exit_status == 0
            assert done.text.count(f"127.0.0.1 {node.port} ") == 2


async def get_from(node: RunningNode, address: str) -> str:
    done = await node.curl("--fail", "--interface", address, "/connection")
    assert done.exit_status == 0, done.stderr
    return done.text


async def test_a_pool_learns_to_speak_the_proxy_protocol_while_clients_are_connected(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"GET / ") + await reader.readuntil(b"\r\n\r\n")
            seen.append(head)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    async with scripted_server(answer) as port:
        document = node_document(tmp_path, [("w1", "127.0.0.1", port)])
        async with running_node(document, tmp_path) as node:
            reader, writer = await node.connect()
            request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
            for speaks in (False, False, True, True):
                if speaks and not document["pools"][0].get("proxy_protocol"):
                    document["pools"][0]["proxy_protocol"] = True
                    (tmp_path / "array.yaml").write_text(json.dumps(document))
                    node.process.send_signal(signal.SIGHUP)

                    async def is_reloaded() -> bool:
                        await node.curl("--fail", "/")
                        return seen[-1].startswith(b"\r\n\r\n\0\r\nQUIT\n\x21\x11")

                    await eventually(is_reloaded, "the header is sent")
                writer.write(request)
                assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")
                assert seen[-1].startswith(b"\r\n\r\n\0\r\nQUIT\n") == speaks
            writer.transport.abort()
