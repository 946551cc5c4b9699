"""TLS 1.2 sessions without tickets, resumed by id at whatever worker of whatever node."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.certificates import Authority
from support.redis import RedisServer, running_redis
from support.resumption import s_client
from support.tlsnode import RunningNode, node_document, running_node, scripted_server, wait_until

WAIT_S = 60.0
MANY = 60
"""Connections among which each of two workers gets some."""
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def named(name: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    """A server that answers with its name and what it was told of a client's certificate."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            text = name.encode() + (b" certified" if b"\nClient-Cert: :" in head else b"")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))

    return serve


async def eventually(read: Callable[[], Awaitable[dict[str, Any]]], condition: Callable[[dict[str, Any]], Any]) -> None:
    """Wait until what is read is as wanted."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if condition(await read()):
                return
            await asyncio.sleep(0.02)


class Array:
    """Nodes that share a store, and a client's sessions in files."""

    def __init__(self, folder: Path, store: RedisServer) -> None:
        self.folder = folder
        self.store = store
        self.nodes: list[RunningNode] = []

    async def connect(self, node: int, *, session: str = "", save: str = "", name: str = "localhost") -> dict[str, Any]:
        """What `openssl s_client` says of one connection with one request."""
        files = [*(("-sess_in", self.folder / session) if session else ())]
        files += [*(("-sess_out", self.folder / save) if save else ())]
        if (self.folder / "client.pem").exists() and not session:
            files += ["-cert", self.folder / "client.pem", "-key", self.folder / "client.key"]
        port = self.nodes[node].port
        text = await s_client(port, "-tls1_2", "-no_ticket", "-servername", name, *files)
        found = re.search(r"^(New|Reused), TLSv1.2", text, re.MULTILINE)
        session_id = re.search(r"Session-ID: (\w*)", text)
        master_key = re.search(r"Master-Key: (\w*)", text)
        assert found, text
        assert session_id, text
        assert master_key, text
        return {
            "reused": found[1] == "Reused",
            "id": session_id[1],
            "key": master_key[1],
            "server": text.rpartition("\r\n\r\n")[2].partition("closed")[0].strip(),
        }

    async def reused(self, node: int, session: str = "s", **options: str) -> bool:
        result = (await self.connect(node, session=session, **options))["reused"]
        assert isinstance(result, bool)
        return result

    async def counts(self, node: int) -> dict[str, int]:
        counts = (await self.nodes[node].vserver_status())["tls_session_ids"]
        return {name: count for name, count in counts.items() if count}

    async def store_counts(self, node: int) -> dict[str, Any]:
        counts = (await self.nodes[node].status())["store"]
        assert isinstance(counts, dict)
        return counts

    async def shared(self, count: int = 1) -> None:
        """So many records are in the store."""
        await wait_until(lambda: self.store.command("DBSIZE") == b":%d\r\n" % count, timeout_s=WAIT_S)


@asynccontextmanager
async def running_array(
    folder: Path,
    *,
    nodes: int = 2,
    workers: int = 1,
    secrets: tuple[str, ...] = ("11" * 32, "11" * 32),
    store: dict[str, Any] | None = None,
    change: Callable[[dict[str, Any]], None] = lambda vserver: None,
    **settings: Any,
) -> AsyncIterator[Array]:
    """Nodes with servers w1 and w2, of one vserver, with one Redis, unless they have another store."""
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(running_redis(folder))
        array = Array(folder, redis)
        servers = [(name, "127.0.0.1", await stack.enter_async_context(scripted_server(named(name)))) for name in NAMES]
        (folder / "of-all").mkdir()
        first = node_document(folder / "of-all", servers)["vservers"][0]["tls"]
        for number in range(nodes):
            home = folder / f"n{number}"
            home.mkdir()
            document = node_document(home, servers)
            document["nodes"][0]["id"] = number + 1
            secret = home / "sessions.secret"
            secret.touch(mode=0o600)
            secret.write_text(secrets[number])
            vserver = document["vservers"][0]
            vserver["tls"] = dict(first)
            vserver["persistence"] = {"tls_session_ids": {"secret_file": str(secret), **settings}}
            change(vserver)
            document["store"] = store or {"redis": redis.url, "timeout_ms": 5000}
            array.nodes.append(await stack.enter_async_context(running_node(document, home, workers=workers)))
        yield array


NAMES = ("w1", "w2")


async def test_a_session_is_resumed_at_every_worker_of_every_node(tmp_path: Path) -> None:
    async with running_array(tmp_path, workers=2) as array:
        first = await array.connect(0, save="s")
        assert not first["reused"]
        assert len(bytes.fromhex(first["id"])) == 32
        await array.shared()
        for _ in range(MANY):
            assert await array.reused(0)
            counts = await array.counts(0)
            if {"resumed", "resumed_of_worker"} <= counts.keys():
                break
        assert {"issued": 1, "resumed": 1, "resumed_of_worker": 1}.keys() == counts.keys()
        again = await array.connect(1, session="s")
        assert (again["reused"], again["id"], again["key"]) == (True, first["id"], first["key"])
        assert await array.counts(1) == {"resumed_of_node": 1}
        # What is in the store tells nobody anything.
        key = array.store.only_key()
        record = array.store.command_bytes(b"HGET", key, b"v")
        assert len(record) > 100
        for secret in (first["id"], first["key"]):
            assert bytes.fromhex(secret) not in key + record


async def test_workers_share_sessions_through_a_file(tmp_path: Path) -> None:
    async with running_array(tmp_path, nodes=1, workers=2, store={"timeout_ms": 5000}) as array:
        await array.connect(0, save="s")
        await eventually(lambda: array.store_counts(0), lambda store: store["answers"])
        for _ in range(MANY):
            assert await array.reused(0)
            counts = await array.counts(0)
            if {"resumed", "resumed_of_worker"} <= counts.keys():
                break
        assert {"issued": 1, "resumed": 1, "resumed_of_worker": 1}.keys() == counts.keys()


async def test_wherever_a_session_is_used_it_lives_on(tmp_path: Path) -> None:
    async with running_array(tmp_path, lifetime_s=3600) as array:
        await array.connect(0, save="s")
        await array.shared()
        for node in (1, 1):  # as a clone of the store's, then as a copy
            array.store.command_bytes(b"PEXPIRE", array.store.only_key(), b"600000")
            assert await array.reused(node)
            await wait_until(
                lambda: int(array.store.command_bytes(b"PTTL", array.store.only_key())[1:]) > 3_000_000,
                timeout_s=WAIT_S,
            )


async def test_an_id_that_is_not_as_it_was_issued_costs_a_full_handshake(tmp_path: Path) -> None:
    async with running_array(tmp_path, nodes=1, lifetime_s=1) as array:
        session_id = bytes.fromhex((await array.connect(0, save="s"))["id"])
        whole = (tmp_path / "s").read_text()
        changed = bytes([session_id[0] ^ 1]) + session_id[1:]
        for name, bad in (("changed", changed), ("cut", session_id[:16]), ("one", b"x")):
            (tmp_path / name).write_text(with_id(whole, session_id, bad))
            assert not await array.reused(0, name)
        assert (await array.counts(0))["forged"] == 3
        await array.shared(0)
        assert not await array.reused(0), "it has expired"
        assert (await array.counts(0))["unknown"] == 1


def with_id(pem: str, before: bytes, after: bytes) -> str:
    """The same session, with another id."""
    begin, *lines, end = pem.split("\n")[:-1]
    der = base64.b64decode("".join(lines))
    assert der[:2] == b"\x30\x82"
    assert der.count(b"\x04\x20" + before) == 1
    content = der[4:].replace(b"\x04\x20" + before, b"\x04" + bytes([len(after)]) + after)
    der = der[:2] + len(content).to_bytes(2, "big") + content
    return "\n".join((begin, base64.encodebytes(der).decode().strip(), end, ""))


async def test_without_the_store_nodes_serve_and_resume_what_they_know(tmp_path: Path) -> None:
    async with running_array(tmp_path) as array:
        await array.connect(0, save="s")
        await array.shared()
        array.store.pause()
        assert not await array.reused(1)
        assert (await array.counts(1))["unknown"] == 1
        assert await array.reused(0)
        array.store.resume()
        array.store.kill()
        assert not await array.reused(1)
        assert await array.reused(0)
        array.store.start()
        await array.connect(0, save="t")
        async with asyncio.timeout(WAIT_S):
            while True:  # the breaker tries again now and then
                await array.connect(0, save="t")
                if await array.reused(1, "t"):
                    break


async def test_a_session_is_resumed_no_more_often_than_allowed(tmp_path: Path) -> None:
    async with running_array(tmp_path, reuse_limit=3) as array:
        await array.connect(0, save="s")
        await array.shared()
        assert [await array.reused(0), await array.reused(0)] == [True, True]
        await uses(array, 2)
        assert await array.reused(1)
        await uses(array, 3)
        assert not await array.reused(1)
        async with asyncio.timeout(WAIT_S):  # the count reaches the others with their next use
            while True:
                if not await array.reused(0):
                    break
        assert (await array.counts(1))["worn"] == 1
        assert (await array.counts(0))["resumed"] <= 3


async def uses(array: Array, count: int) -> None:
    """The store knows of so many."""
    key = array.store.only_key()
    told = b"\n%d\r\n" % count
    await wait_until(lambda: array.store.command_bytes(b"HGET", key, b"u").endswith(told), timeout_s=WAIT_S)


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_fatal_alert_ends_a_session_everywhere(tmp_path: Path, *, hangs: bool) -> None:
    async with running_array(tmp_path) as array:
        first = Client(array.nodes[0])
        assert not await asyncio.to_thread(first.connect)
        await array.shared()
        for node in array.nodes:
            assert await asyncio.to_thread(Client(node, first.session).connect), "all have copies now"
        if hangs:
            array.store.pause()
        await asyncio.to_thread(Client(array.nodes[1], first.session).connect, garbage=True)
        await eventually(lambda: array.counts(1), lambda counts: counts.get("failed") == 1)
        assert not await asyncio.to_thread(Client(array.nodes[1], first.session).connect)
        array.store.resume()
        async with asyncio.timeout(WAIT_S):
            while True:  # as soon as it is told
                if not await asyncio.to_thread(Client(array.nodes[0], first.session).connect):
                    break
        assert (await array.counts(0))["revoked"] >= 1


class Client:
    """Python's TLS 1.2 without tickets."""

    def __init__(self, node: RunningNode, session: ssl.SSLSession | None = None) -> None:
        self._port = node.port
        if session is None:
            Client.context = ssl.create_default_context(cafile=node.ca)
            Client.context.maximum_version = ssl.TLSVersion.TLSv1_2
            Client.context.options |= ssl.OP_NO_TICKET
        self.session = session

    context: ssl.SSLContext

    def connect(self, *, garbage: bool = False) -> bool:
        """Whether the session was resumed; with `garbage` the node must send a fatal alert."""
        ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = Client.context.wrap_bio(theirs, ours, server_hostname="localhost", session=self.session)
        with socket.create_connection(("127.0.0.1", self._port), timeout=WAIT_S) as sock:
            self._pump(sock, tls.do_handshake, ours, theirs)
            self.session = tls.session
            if garbage:
                sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
                while sock.recv(4096):
                    pass
            else:
                tls.write(REQUEST)
                self._pump(sock, lambda: tls.read(4096), ours, theirs)
        return bool(tls.session_reused)

    def _pump(
        self, sock: socket.socket, work: Callable[[], object], ours: ssl.MemoryBIO, theirs: ssl.MemoryBIO
    ) -> None:
        while True:
            try:
                work()
            except ssl.SSLWantReadError:
                sock.sendall(ours.read())
                theirs.write(sock.recv(65_536))
            else:
                sock.sendall(ours.read())
                return


async def test_a_handshake_that_fails_is_nothing_to_the_store(tmp_path: Path) -> None:
    async with running_array(tmp_path, nodes=1) as array:
        ca = Authority("another").certificate_pem
        (tmp_path / "another.pem").write_bytes(ca)
        check = ("-verify_return_error", "-CAfile", tmp_path / "another.pem")
        assert "verify error" in await s_client(array.nodes[0].port, "-tls1_2", "-no_ticket", *check)
        await eventually(array.nodes[0].vserver_status, lambda status: status["tls_handshakes"]["failed"])
        assert await array.counts(0) == {}
        store = await array.store_counts(0)
        assert (store["pending"], store["answers"]) == (0, 0)


async def test_a_client_certificate_travels_with_its_session(tmp_path: Path) -> None:
    authority = Authority("clients")
    (tmp_path / "clients-ca.pem").write_bytes(authority.certificate_pem)
    issued = authority.issue("somebody")
    (tmp_path / "client.pem").write_bytes(issued.certificate_pem)
    (tmp_path / "client.key").write_bytes(issued.key_pem)

    def certified(vserver: dict[str, Any]) -> None:
        vserver["tls"]["clients"] = {"ca": str(tmp_path / "clients-ca.pem"), "required": True}

    async with running_array(tmp_path, change=certified) as array:
        first = await array.connect(0, save="s")
        assert first["server"].endswith("certified")
        await array.shared()
        again = await array.connect(1, session="s")  # it shows none
        assert again["reused"]
        assert again["server"].endswith("certified")


async def test_with_tickets_that_bind_a_session_reaches_its_server(tmp_path: Path) -> None:
    def bound(vserver: dict[str, Any]) -> None:
        vserver["persistence"]["ticket"] = {}

    async with running_array(tmp_path, change=bound) as array:
        servers = {}
        for i in range(4):
            servers[f"s{i}"] = (await array.connect(0, save=f"s{i}"))["server"]
        await array.shared(4)
        assert set(servers.values()) == set(NAMES)
        for session, server in servers.items():
            for node in (1, 0, 1):
                again = await array.connect(node, session=session)
                assert (again["reused"], again["server"]) == (True, server)
        assert (await array.nodes[1].vserver_status())["chosen_by"]["ticket"] == 8


async def test_another_name_makes_a_session_of_its_own(tmp_path: Path) -> None:
    async with running_array(tmp_path, nodes=1) as array:
        await array.connect(0, save="s")
        assert not await array.reused(0, name="other.example.test")
        assert (await array.counts(0))["foreign_name"] == 1
        assert await array.reused(0)


async def test_an_id_that_nobody_has_issued_asks_no_store(tmp_path: Path) -> None:
    async with running_array(tmp_path, secrets=("11" * 32, "22" * 32)) as array:
        await array.connect(0, save="s")
        await array.shared()
        assert not await array.reused(1)
        assert await array.counts(1) == {"issued": 1, "forged": 1}
        store = await array.store_counts(1)
        assert (store["found"], store["missed"]) == (0, 0)
        # Clients of TLS 1.3 send such ids all the time: they count for nothing.
        assert (await array.nodes[1].curl("/", "--tlsv1.3")).text in NAMES
        assert await array.counts(1) == {"issued": 1, "forged": 1}


async def test_who_speaks_while_he_waits_is_cut_and_nobody_else(tmp_path: Path) -> None:
    async with running_array(tmp_path) as array:
        first = Client(array.nodes[0])
        await asyncio.to_thread(first.connect)
        await array.shared()
        array.store.pause()
        ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = Client.context.wrap_bio(theirs, ours, server_hostname="localhost", session=first.session)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = ours.read()
        for data in (hello, hello + hello):  # one that leaves while it waits, one that says more
            reader, writer = await asyncio.open_connection("127.0.0.1", array.nodes[1].port)
            writer.write(data)
            if data is not hello:
                assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
            writer.close()
        array.store.resume()
        expected = {"closed during the handshake": 1, "more than a ClientHello before it was answered": 1}
        await eventually(array.nodes[1].vserver_status, lambda status: status["tls_handshakes"]["failed"] == expected)
        assert await asyncio.to_thread(Client(array.nodes[1], first.session).connect)
        assert [worker["restarts"] for worker in (await array.nodes[1].status())["workers"]] == [0]
