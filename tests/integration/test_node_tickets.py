"""Ticket persistence of a running node: who resumes a TLS session reaches the same server."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.tlsnode import Handler, RunningNode, node_document, running_node, scripted_server

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n%b\r\n"


def named(name: str) -> Handler:
    """A server that answers each request with its name."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name.encode()))

    return serve


@asynccontextmanager
async def node_with_tickets(folder: Path, *, policy: str = "round_robin", **ticket: Any) -> AsyncIterator[RunningNode]:
    """With two servers, w1 and w2."""
    async with scripted_server(named("w1")) as first, scripted_server(named("w2")) as second:
        document = node_document(folder, [("w1", "127.0.0.1", first), ("w2", "127.0.0.1", second)], policy=policy)
        document["vservers"][0]["persistence"] = {"ticket": ticket}
        async with running_node(document, folder) as node:
            yield node


class Client:
    """A browser: it keeps the newest session of those it got."""

    def __init__(self, node: RunningNode, version: ssl.TLSVersion) -> None:
        self._node = node
        self._context = ssl.create_default_context(cafile=node.ca)
        self._context.minimum_version = self._context.maximum_version = version
        self.session: ssl.SSLSession | None = None

    async def ask(self, requests: int = 1) -> tuple[list[str], bool]:
        """Requests over a new connection: who answered each, and whether the session was resumed."""
        return await asyncio.to_thread(self._ask, requests)

    def _ask(self, requests: int) -> tuple[list[str], bool]:
        with socket.create_connection(("127.0.0.1", self._node.port), timeout=30) as plain:
            tls = self._context.wrap_socket(plain, server_hostname="localhost", session=self.session)
            with tls:
                names = []
                for _ in range(requests):
                    tls.sendall(REQUEST % b"")
                    names.append(tls.recv(65_536).rpartition(b"\r\n\r\n")[2].decode())
                self.session = tls.session
                return names, bool(tls.session_reused)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_resumed_session_reaches_the_server_of_the_first_request(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    async with node_with_tickets(tmp_path) as node:
        clients = [Client(node, version) for _ in range(4)]
        first = [await client.ask(3) for client in clients]
        assert [names for names, _ in first] == [["w1"] * 3, ["w2"] * 3] * 2
        for _ in range(2):
            for client, (names, _) in reversed(list(zip(clients, first, strict=True))):
                assert await client.ask(2) == (names[:2], True)
        vserver = await node.vserver_status()
        assert vserver["tls_handshakes"]["resumed"] == vserver["tls_tickets"]["resumed"] == 8
        assert vserver["chosen_by"] == {"cookie": 0, "session_id": 0, "ticket": 24, "source": 0, "policy": 4}


async def test_a_response_says_why_if_it_is_to(tmp_path: Path) -> None:
    async with scripted_server(named("w1")) as port:
        document = node_document(tmp_path, [("w1", "127.0.0.1", port)])
        document["vservers"][0]["persistence"] |= {"source": True, "explain_header": "X-Chosen"}
        async with running_node(document, tmp_path) as node:
            seen = await node.curl("--include", "/")
            assert "\r\nX-Chosen: w1; by=source\r\n" in seen.text


async def test_a_client_of_tls_1_3_that_asks_nothing_gets_no_ticket(tmp_path: Path) -> None:
    async with node_with_tickets(tmp_path) as node:
        client = Client(node, ssl.TLSVersion.TLSv1_3)
        await client.ask(0)
        assert (await node.vserver_status())["tls_tickets"]["issued"] == 0
