"""Ticket persistence of a running node: who resumes a TLS session reaches the same server."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.tlsnode import Handler, RunningNode, node_document, running_node, scripted_server
from support.virtual_array import eventually

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n%b\r\n"


def named(name: str) -> Handler:
    """A server that answers each request with its name."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            head = b"HTTP/1.1 200 OK\r\nSet-Cookie: SESSION=s\r\nContent-Length: %d\r\n\r\n" % len(name)
            writer.write(head + name.encode())

    return serve


class Servers:
    """w1 and w2, which can be ended."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self._running = {name: AsyncExitStack() for name in ("w1", "w2")}

    async def __aenter__(self) -> Servers:
        for name, stack in self._running.items():
            self.ports[name] = await stack.enter_async_context(scripted_server(named(name)))
        return self

    async def __aexit__(self, *exception: object) -> None:
        for name in self._running:
            await self.end(name)

    async def end(self, name: str) -> None:
        """Nobody listens at its port from now on."""
        await self._running[name].aclose()


@asynccontextmanager
async def node_with_tickets(
    folder: Path, cookie: bool = False, **ticket: Any
) -> AsyncIterator[tuple[RunningNode, Servers]]:
    """With two servers, w1 and w2."""
    async with Servers() as servers:
        document = node_document(folder, [(name, "127.0.0.1", port) for name, port in servers.ports.items()])
        persistence = document["vservers"][0]["persistence"]
        document["vservers"][0]["persistence"] = (persistence if cookie else {}) | {"ticket": ticket}
        async with running_node(document, folder) as node:
            yield node, servers


class Client:
    """A browser: it keeps the newest session of those it got."""

    def __init__(self, node: RunningNode, version: ssl.TLSVersion) -> None:
        self._node = node
        self._context = ssl.create_default_context(cafile=node.ca)
        self._context.minimum_version = self._context.maximum_version = version
        self.session: ssl.SSLSession | None = None

    async def ask(self, requests: int = 1, cookie: bytes = b"", until: str = "") -> tuple[list[str], bool]:
        """Requests over a new connection: who answered each, and whether the session was resumed.

        With `until` there are as many as it takes for that server to answer.
        """
        return await asyncio.to_thread(self._ask, requests, cookie, until)

    def _ask(self, requests: int, cookie: bytes, until: str) -> tuple[list[str], bool]:
        with socket.create_connection(("127.0.0.1", self._node.port), timeout=30) as plain:
            tls = self._context.wrap_socket(plain, server_hostname="localhost", session=self.session)
            with tls:
                names: list[str] = []
                while until not in names if until else len(names) < requests:
                    tls.sendall(REQUEST % cookie)
                    names.append(tls.recv(65_536).rpartition(b"\r\n\r\n")[2].decode())
                self.session = tls.session
                return names, bool(tls.session_reused)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_resumed_session_reaches_the_server_of_the_first_request(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    async with node_with_tickets(tmp_path) as (node, _):
        clients = [Client(node, version) for _ in range(4)]
        first = [await client.ask(3) for client in clients]
        assert [names for names, _ in first] == [["w1"] * 3, ["w2"] * 3] * 2
        for _ in range(2):
            for client, (names, _) in reversed(list(zip(clients, first, strict=True))):
                assert await client.ask(2) == (names[:2], True)
        vserver = await node.vserver_status()
        assert vserver["tls_handshakes"]["resumed"] == vserver["tls_tickets"]["resumed"] == 8
        assert vserver["chosen_by"] == {"cookie": 0, "session_id": 0, "ticket": 24, "source": 0, "policy": 4}


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_server_that_is_gone_costs_a_new_choice_and_a_new_ticket(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    async with node_with_tickets(tmp_path) as (node, servers):
        client = Client(node, version)
        assert await client.ask() == (["w1"], False)
        await servers.end("w1")
        before = client.session
        assert await client.ask(2) == (["w2", "w2"], True)
        for _ in range(2):  # nobody tries w1 now
            assert await client.ask() == (["w2"], True)
        vserver = await node.vserver_status()
        assert [server["connect_failures"] for server in vserver["servers"]] == [1, 0]
        client.session = before  # an old ticket is as good, and leads nowhere else
        assert await client.ask() == (["w2"], True)


async def test_a_server_that_goes_within_a_connection_gives_way_in_the_ticket(tmp_path: Path) -> None:
    async with node_with_tickets(tmp_path) as (node, servers):
        client = Client(node, ssl.TLSVersion.TLSv1_3)
        asking = asyncio.create_task(client.ask(until="w2"))

        async def has_asked() -> bool:
            return bool((await node.vserver_status())["requests"] > 20)

        await eventually(has_asked, "requests")
        await servers.end("w1")
        names, _ = await asking
        assert (set(names[:-1]), names[-1]) == ({"w1"}, "w2")
        assert (await node.vserver_status())["tls_tickets"]["issued"] == 2
        assert await client.ask() == (["w2"], True)


async def test_the_next_server_of_a_ticket_takes_over(tmp_path: Path) -> None:
    async with node_with_tickets(tmp_path, servers=2) as (node, servers):
        client = Client(node, ssl.TLSVersion.TLSv1_2)
        assert await client.ask() == (["w1"], False)
        await servers.end("w1")
        await Client(node, ssl.TLSVersion.TLSv1_2).ask(2)  # meets w1, one way or the other, and finds it gone
        assert await client.ask() == (["w2"], True)
        chosen = (await node.vserver_status())["chosen_by"]
        assert chosen["ticket"] >= 1


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_binding_that_is_not_renewed_ends(tmp_path: Path, version: ssl.TLSVersion) -> None:
    async with node_with_tickets(tmp_path, lifetime_s=2, renew=False) as (node, _):
        client = Client(node, version)
        loop = asyncio.get_running_loop()
        await client.ask()
        begun = loop.time()
        resumed = True
        while resumed:  # each time with the newest ticket
            _, resumed = await client.ask()
            assert loop.time() < begun + 30


async def test_a_ticket_names_the_server_that_the_cookie_chose(tmp_path: Path) -> None:
    async with node_with_tickets(tmp_path, cookie=True) as (node, _):
        seen = await node.curl("--include", "/")
        (cookie,) = re.findall(r"SpServer=[^;\s]+", seen.text)
        first = Client(node, ssl.TLSVersion.TLSv1_3)
        assert await first.ask(2, b"Cookie: %b\r\n" % cookie.encode()) == (["w1", "w1"], False)
        assert await first.ask() == (["w1"], True)  # without the cookie
        other = Client(node, ssl.TLSVersion.TLSv1_3)
        assert await other.ask() == (["w2"], False)
        assert await other.ask(1, b"Cookie: %b\r\n" % cookie.encode()) == (["w1"], True)  # the cookie goes first
        assert await other.ask() == (["w1"], True)


async def test_a_response_says_why_if_it_is_to(tmp_path: Path) -> None:
    async with scripted_server(named("w1")) as port:
        document = node_document(tmp_path, [("w1", "127.0.0.1", port)])
        document["vservers"][0]["persistence"] |= {"source": True, "explain_header": "X-Chosen"}
        async with running_node(document, tmp_path) as node:
            seen = await node.curl("--include", "/")
            assert "\r\nX-Chosen: w1; by=source\r\n" in seen.text


async def test_a_client_of_tls_1_3_that_asks_nothing_gets_no_ticket(tmp_path: Path) -> None:
    async with node_with_tickets(tmp_path) as (node, _):
        client = Client(node, ssl.TLSVersion.TLSv1_3)
        await client.ask(0)
        assert (await node.vserver_status())["tls_tickets"]["issued"] == 0
