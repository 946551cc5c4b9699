"""Vservers of mode passthrough [P5]: real TLS servers behind them, found by the name that a client asks for."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import struct
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.hellos import HELLOS
from support.hostile_node import until_status
from support.passthrough import passing_node, passthrough_document, s_client, tls_nginx
from support.ports import free_port
from support.tlsnode import RunningNode, scripted_server, wait_until

ROUTES = [{"names": ["shop.example", "*.shop.example"], "pool": "shop"}]


async def connect(node: RunningNode) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Without TLS."""
    return await asyncio.open_connection("127.0.0.1", node.port)


async def ask(node: RunningNode, name: str, *more: str) -> str:
    """What the server says that a client of that name gets."""
    done = await node.curl("--insecure", "--connect-to", f"::127.0.0.1:{node.port}", f"https://{name}/", *more)
    assert done.exit_status == 0, done.stderr
    return done.text.strip()


async def test_names_lead_to_pools(tmp_path: Path) -> None:
    with ExitStack() as stack:
        a, b, c = (stack.enter_context(tls_nginx(tmp_path, name)) for name in "abc")
        pools = {"servers": [("a", a.port)], "shop": [("b", b.port), ("c", c.port)]}
        async with passing_node(tmp_path, passthrough_document(tmp_path, pools, routes=ROUTES)) as node:
            assert await ask(node, "www.example") == "a"
            assert {await ask(node, "shop.example"), await ask(node, "SHOP.example")} == {"b", "c"}
            assert {await ask(node, "x.shop.example"), await ask(node, "y.shop.example")} == {"b", "c"}
            assert await ask(node, "x.y.shop.example") == "a", "a wildcard is for one label"
            assert await ask(node, "127.0.0.1") == "a", "who asks for no name gets the vserver's own pool"
            status = await node.vserver_status()
            assert (status["pool"], [server["hits"] for server in status["servers"]]) == ("servers", [3])
            (routed,) = status["routed"]
            assert (routed["name"], [server["hits"] for server in routed["servers"]]) == ("shop", [2, 2])
            metrics = (await node.curl(f"http://{node.management}/metrics")).text
            for name, pool in (("a", "servers"), ("b", "shop"), ("c", "shop")):
                assert f'pentaflow_node_server_up{{pool="{pool}",server="{name}",vserver="web"}} 1.0' in metrics


async def test_the_client_sees_the_servers_own_certificate_and_any_version_of_tls(tmp_path: Path) -> None:
    with tls_nginx(tmp_path, "a") as server:
        document = passthrough_document(tmp_path, {"servers": [("a", server.port)]})
        async with passing_node(tmp_path, document) as node:
            for version in ("1.2", "1.3"):
                host = f"a.example:{node.port}"
                verified = ("--resolve", f"{host}:127.0.0.1", "--tls-max", version, "--tlsv1.2")
                done = await node.curl("--fail", *verified, f"https://{host}/")
                assert done.text == "a\n", done.stderr
            said = await s_client(node.port, "-tls1_3", "-servername", "a.example")
            assert (said.version, said.answer) == ("TLSv1.3", "a")


@pytest.mark.parametrize("name", ["openssl-tls13", "openssl-tls12", "curl"])
async def test_a_hello_may_come_octet_by_octet_and_arrives_untouched(tmp_path: Path, name: str) -> None:
    got = bytearray()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.readexactly(len(HELLOS[name]) + 5))
        writer.write(b"hello, too")

    async with scripted_server(take) as port:
        document = passthrough_document(tmp_path, {"servers": [("a", port)]})
        async with passing_node(tmp_path, document) as node:
            reader, writer = await connect(node)
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for octet in HELLOS[name]:
                writer.write(bytes((octet,)))
                await asyncio.sleep(0)
            writer.write(b"early")
            assert await asyncio.wait_for(reader.read(), 30) == b"hello, too"
            writer.close()
    assert bytes(got) == HELLOS[name] + b"early"


async def test_the_same_client_gets_the_same_server_by_its_address(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(tls_nginx(tmp_path, name)) for name in "abc"]
        pools = {"servers": [(server.name, server.port) for server in servers]}
        document = passthrough_document(tmp_path, pools, persistence={"source": True})
        async with passing_node(tmp_path, document) as node:
            first = await ask(node, "www.example")
            assert [await ask(node, "www.example") for _ in range(3)] == [first] * 3
            next(server for server in servers if server.name == first).stop()
            second = await ask(node, "www.example")
            assert second != first
            assert await ask(node, "www.example") == second
            assert (await node.vserver_status())["chosen_by"]["source"] == 7, "one of them twice"


async def test_a_server_that_refuses_is_passed_over(tmp_path: Path) -> None:
    with tls_nginx(tmp_path, "b") as server:
        pools = {"servers": [("a", free_port()), ("b", server.port)]}
        async with passing_node(tmp_path, passthrough_document(tmp_path, pools)) as node:
            assert [await ask(node, "www.example") for _ in range(4)] == ["b"] * 4
            one, other = (await node.vserver_status())["servers"]
            assert (one["connect_failures"] > 0, one["up"], other["hits"]) == (True, False, 4)


async def test_without_a_server_the_client_gets_an_alert(tmp_path: Path) -> None:
    document = passthrough_document(tmp_path, {"servers": [("a", free_port())]})
    async with passing_node(tmp_path, document) as node:
        reader, writer = await connect(node)
        writer.write(HELLOS["openssl-tls13"])
        assert await asyncio.wait_for(reader.read(), 30) == bytes.fromhex("15030300020250")
        writer.close()
        status = await node.vserver_status()
        assert status["tls_handshakes"]["failed"] == {"no server": 1}
        assert "no server of pool servers can be reached" in node.log.read_text()


@pytest.mark.parametrize("size", [40_000_000])
async def test_a_large_body_is_held_back_by_a_slow_client(tmp_path: Path, size: int) -> None:
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.read(1)
        for _ in range(size // 100_000):
            writer.write(bytes(100_000))
            await writer.drain()
            sent += 100_000

    async with scripted_server(pour) as port:
        document = passthrough_document(tmp_path, {"servers": [("a", port)]})
        async with passing_node(tmp_path, document) as node:
            reader, writer = await connect(node)
            writer.write(HELLOS["curl"])
            assert await reader.readexactly(1) == b"\0"
            before = -1
            while sent != before:  # nobody reads: it comes to a stop
                before = sent
                await asyncio.sleep(0.3)
            assert sent < size / 2
            got = 1
            while data := await asyncio.wait_for(reader.read(1 << 18), 30):
                got += len(data)
            assert got == size
            writer.close()


async def test_each_side_may_end_before_the_other(tmp_path: Path) -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"ready")
        got = await reader.read()  # up to the client's end
        writer.write(b" %d" % len(got))

    async with scripted_server(count) as port:
        document = passthrough_document(tmp_path, {"servers": [("a", port)]})
        async with passing_node(tmp_path, document) as node:
            reader, writer = await connect(node)
            hello = HELLOS["openssl-tls12"]
            writer.write(hello)
            assert await reader.readexactly(5) == b"ready"
            writer.write(bytes(3_000_000))
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 30) == b" %d" % (len(hello) + 3_000_000)
            writer.close()
            await until_status(node, lambda vserver: vserver["open_connections"] == 0)
            (server,) = (await node.vserver_status())["servers"]
            assert (server["open"], server["failed"]) == (0, 0)


async def test_a_server_that_breaks_off_breaks_off_its_client(tmp_path: Path) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"half")
        await reader.readexactly(len(HELLOS["curl"]))
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with scripted_server(reset) as port:
        document = passthrough_document(tmp_path, {"servers": [("a", port)]})
        async with passing_node(tmp_path, document) as node:
            reader, writer = await connect(node)
            writer.write(HELLOS["curl"])
            assert await reader.readexactly(4) == b"half"
            writer.write(b"1")
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 30)
            await until_status(node, lambda vserver: vserver["open_connections"] == 0)


async def test_servers_are_told_the_client_by_the_proxy_protocol(tmp_path: Path) -> None:
    with tls_nginx(tmp_path, "a", options="proxy_protocol") as server:
        document = passthrough_document(tmp_path, {"servers": [("a", server.port)]})
        document["pools"][0]["proxy_protocol"] = True
        async with passing_node(tmp_path, document) as node:
            done = await node.curl("--insecure", "/connection")
            assert done.text.split(" ")[:2] == ["127.0.0.1", str(node.port)]


async def test_the_access_log_has_a_line_for_each_connection_that_has_said_hello(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with tls_nginx(tmp_path, "a") as server:
        pools = {"servers": [("a", server.port)], "gone": [("b", free_port())]}
        routes = [{"names": ["www.example.com"], "pool": "gone"}]
        document = passthrough_document(tmp_path, pools, routes=routes, access_log=True)
        async with passing_node(tmp_path, document, options=("--access-log", str(log))) as node:
            assert await ask(node, "www.example") == "a"
            for sent in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", HELLOS["openssl-tls12"]):
                reader, writer = await connect(node)
                writer.write(sent)
                assert len(await asyncio.wait_for(reader.read(), 30)) == 7
                writer.close()
            await wait_until(lambda: len(log.read_text().splitlines()) == 2)
    one, other = map(json.loads, log.read_text().splitlines())
    assert (one["host"], one["server"], one["refused"], one["status"]) == ("www.example", "a", "", 0)
    assert one["chosen_by"] == "policy"
    assert one["bytes_in"] > 300
    assert one["bytes_out"] > 800
    assert one["first_byte_ms"] is not None
    assert (other["host"], other["server"], other["retries"]) == ("www.example.com", "", 1)
    assert other["refused"] == "no server of pool gone can be reached"


async def test_open_connections_outlive_a_new_configuration_and_new_ones_follow_it(tmp_path: Path) -> None:
    with tls_nginx(tmp_path, "a") as a, tls_nginx(tmp_path, "b") as b:
        document = passthrough_document(tmp_path, {"servers": [("a", a.port)]})
        async with passing_node(tmp_path, document, workers=2) as node:
            old = await connect(node)
            old[1].write(HELLOS["openssl-tls12"])
            assert (await old[0].readexactly(1)) == b"\x16"
            late = await connect(node)
            late[1].write(HELLOS["openssl-tls12"][:50])
            await until_status(node, lambda vserver: vserver["open_connections"] == 2)
            document["pools"].append(
                {"name": "shop", "servers": [{"name": "b", "id": 1, "address": f"127.0.0.1:{b.port}"}]}
            )
            document["vservers"][0]["routes"] = [{"names": ["www.example", "www.example.com"], "pool": "shop"}]
            (tmp_path / "array.yaml").write_text(json.dumps(document))
            node.process.send_signal(signal.SIGHUP)
            await wait_until(lambda: "reloaded" in node.log.read_text())
            assert await ask(node, "www.example") == "b"
            late[1].write(HELLOS["openssl-tls12"][50:])
            assert (await asyncio.wait_for(late[0].readexactly(1), 30)) == b"\x16"
            status = await node.vserver_status()
            assert [server["open"] for server in status["servers"]] == [1]
            assert [server["open"] for server in status["routed"][0]["servers"]] == [1]
            old[1].close()
            late[1].close()
            await until_status(node, lambda vserver: vserver["open_connections"] == 0)
