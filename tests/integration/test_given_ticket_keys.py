"""Ticket keys that a controller gives to nodes [P4]: real controllers, nodes and clients."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from controller.key_distribution import read_kept
from controller.repository import Repository
from controller.store.opening import open_store
from pentaflow.config import Configuration
from support.ports import free_port
from support.processes import pentaflow
from support.resumption import VERSIONS, ResumingClient, come_again, resuming_load, s_client
from support.tlsnode import SECRET, node_document, scripted_server

NODES = ("node1", "node2")
"""Each serves an address of its own on this machine, where they would share one."""


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that says hello to every request."""
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


pytestmark = pytest.mark.timeout(300)  # processes start one after the other


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for a condition, on machines that have much else to do."""
    deadline = asyncio.get_running_loop().time() + 90
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, f"waited for {what}"
        await asyncio.sleep(0.05)


class Array:
    """Two nodes that read files, and a controller that keeps keys in a SQLite file."""

    def __init__(self, folder: Path, server_port: int) -> None:
        self.folder = folder
        secret = folder / "wrapping"
        secret.touch(mode=0o600)
        secret.write_text(SECRET.hex())
        self.document = node_document(folder, [("w1", "127.0.0.1", server_port)])
        self.document["nodes"] = [
            self.document["nodes"][0]
            | {"name": name, "id": i, "mac": f"02:00:00:00:00:0{i}", "management": f"127.0.0.1:{free_port()}"}
            for i, name in enumerate(NODES, 1)
        ]
        self.document["controller"] = {
            "rest": f"127.0.0.1:{free_port()}",
            "ticket_keys": {"secret_file": str(secret)},
            "health": {"management": {"interval_ms": 100}, "damping": {"half_life_s": 1}},
        }
        self.ports = {name: free_port() for name in NODES}
        self.rest = httpx.AsyncClient(
            base_url=f"http://{self.document['controller']['rest']}", trust_env=False, timeout=30
        )

    def _write(self, name: str, document: dict[str, Any]) -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(document))
        return path

    @asynccontextmanager
    async def controller(self) -> AsyncIterator[None]:
        path = self._write("controller", self.document)
        store = ("--store", f"sqlite:{self.folder / 'store.sqlite'}")
        async with pentaflow(self.folder / "controller.log", "controller", path, *store):
            yield

    @asynccontextmanager
    async def node(self, name: str) -> AsyncIterator[None]:
        vserver = self.document["vservers"][0] | {"port": self.ports[name]}
        path = self._write(name, self.document | {"vservers": [vserver]})
        log = self.folder / f"{name}.log"
        async with pentaflow(log, "node", path, name, "--workers", "2", "--vips", "external"):
            yield

    async def keys(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.rest.get("/ticket-keys")).json()
        return found

    async def maybe_active(self, *nodes: str) -> str | None:
        """The name of the active key, once these nodes have everything that there is."""
        try:
            found = await self.keys()
        except (httpx.TransportError, ValueError):
            return None
        holders = {row["node"]: row["current"] for row in found.get("nodes", ())}
        states = {key["state"]: key["name"] for ring in found.get("vservers", ()) for key in ring["keys"]}
        return states.get("active") if holders and all(holders[name] for name in nodes or NODES) else None

    async def until_all_have(self, *nodes: str, but: str = "") -> str:
        """Wait until these nodes (default: all) have all keys, and another one than `but` is active."""

        async def condition() -> bool:
            return await self.maybe_active(*nodes) not in (None, but)

        await eventually(condition, f"{nodes or NODES} to have all keys, and another one than {but!r} active")
        active = await self.maybe_active(*nodes)
        assert active
        return active

    async def rotate(self, *nodes: str) -> str:
        """Another key is active."""
        before = await self.until_all_have(*nodes)
        response = await self.rest.post("/ticket-keys/web/rotate")
        assert response.status_code == 202, response.text
        return await self.until_all_have(*nodes, but=before)

    async def secrets(self) -> list[bytes]:
        """All keys that the store has, as who has the wrapping secret sees them."""
        store = open_store(f"sqlite:{self.folder / 'store.sqlite'}", None)
        try:
            configuration = Configuration.model_validate(self.document)
            kept = await read_kept(Repository(store, 0), configuration)
            return [key.secret for ring in kept.rings.values() for key in ring.keys]
        finally:
            await store.close()

    def status(self, name: str) -> str:
        management = next(node["management"] for node in self.document["nodes"] if node["name"] == name)
        return f"http://{management}/status"


@asynccontextmanager
async def running_array(folder: Path, *nodes: str) -> AsyncIterator[tuple[Array, AsyncExitStack]]:
    async with scripted_server(hello) as port, AsyncExitStack() as stack:
        array = Array(folder, port)
        await stack.enter_async_context(array.rest)
        await stack.enter_async_context(array.controller())
        for name in nodes:
            await stack.enter_async_context(array.node(name))
        yield array, stack


def shapes(secret: bytes) -> list[bytes]:
    """What a key may look like in a file; the name that tickets carry is no secret."""
    hidden = secret[16:]
    found = [hidden, hidden[:32], hidden[32:]]
    found += [part.hex().encode() for part in found]
    # Wherever base64 begins, this part of it comes out the same.
    return found + [base64.b64encode(hidden[offset : offset + 30]) for offset in range(3)]


def check_files(folder: Path, secrets: set[bytes]) -> None:
    """No key is in any file there."""
    files = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {"store.sqlite", "controller.log", "node1.log", "node2.log"} <= files.keys()
    for name, content in files.items():
        assert not [secret for secret in secrets for shape in shapes(secret) if shape in content], name


async def test_nodes_resume_each_others_sessions_through_rotations_and_restarts(tmp_path: Path) -> None:
    async with running_array(tmp_path, "node1") as (array, stack):
        second = await stack.enter_async_context(AsyncExitStack())
        await second.enter_async_context(array.node("node2"))
        first_key = await array.until_all_have()
        for version in ("-tls1_2", "-tls1_3"):
            ticket = tmp_path / f"ticket{version}"
            said = await s_client(array.ports["node1"], version, "-sess_out", ticket)
            assert "New, TLSv1" in said, said
            said = await s_client(array.ports["node2"], version, "-sess_in", ticket)
            assert "Reused, TLSv1" in said, said

        seen = await array.secrets()
        async with resuming_load(list(array.ports.values())) as load:
            for _ in range(3):
                await array.rotate()
                seen += await array.secrets()
                await come_again(load, 12)
        assert (load.failures, load.full) == ([], 0)
        assert load.resumed >= 36

        # A node that is away for two rotations has everything before the first client reaches it.
        await second.aclose()
        for _ in range(2):
            await array.rotate("node1")
        clients = [ResumingClient(version) for version in VERSIONS]
        for client in clients:
            assert not await asyncio.to_thread(client.request, array.ports["node1"])
        await stack.enter_async_context(array.node("node2"))
        for client in clients:
            assert await _when_it_serves(client, array.ports["node2"])
        active = await array.until_all_have()
        assert active != first_key
        seen += await array.secrets()
        assert len(set(seen)) > 5
        check_files(tmp_path, set(seen))


async def _when_it_serves(client: ResumingClient, port: int) -> bool:
    async with asyncio.timeout(60):
        while True:
            try:
                return await asyncio.to_thread(client.request, port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)


async def test_a_controller_that_is_started_again_goes_on_with_the_same_keys(tmp_path: Path) -> None:
    async with scripted_server(hello) as port, AsyncExitStack() as stack:
        array = Array(tmp_path, port)
        await stack.enter_async_context(array.rest)
        async with array.controller():
            for name in NODES:
                await stack.enter_async_context(array.node(name))
            before = await array.until_all_have()
            names = [key["name"] for key in (await array.keys())["vservers"][0]["keys"]]
        async with resuming_load(list(array.ports.values())) as load:
            await come_again(load, 4)  # without a controller
            async with array.controller():
                assert await array.until_all_have() == before
                assert [key["name"] for key in (await array.keys())["vservers"][0]["keys"]] == names
                await array.rotate()
                await come_again(load, 12)
                said = (await array.rest.get("/ticket-keys")).text + (await array.rest.get("/metrics")).text
                log = tmp_path / "cli.log"
                async with pentaflow(log, "ticket-keys", "--url", str(array.rest.base_url)) as process:
                    assert await asyncio.wait_for(process.wait(), 60) == 0
                assert f"{before}  retiring" in log.read_text()
                assert 'pentaflow_controller_node_ticket_keys_current{node="node2"} 1.0' in said
                for secret in await array.secrets():
                    assert secret[4:].hex() not in said
        assert (load.failures, load.full) == ([], 0)


async def test_a_node_that_no_controller_gives_keys_serves_without_tickets_until_one_does(tmp_path: Path) -> None:
    async with scripted_server(hello) as port, AsyncExitStack() as stack:
        array = Array(tmp_path, port)
        await stack.enter_async_context(array.rest)
        await stack.enter_async_context(array.node("node1"))
        clients = [ResumingClient(version) for version in VERSIONS]
        for client in clients:
            assert not await _when_it_serves(client, array.ports["node1"])
            assert client.session is None
        await stack.enter_async_context(array.controller())

        async def has_ticket() -> bool:
            await asyncio.to_thread(clients[0].request, array.ports["node1"])
            return clients[0].session is not None

        await eventually(has_ticket, "tickets")
        assert await asyncio.to_thread(clients[0].request, array.ports["node1"])


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ('{"version": 1, "vservers": {"web": {"issues": true, "keys": ["73656372"]}}}', 422, "web.keys.0: "),
        ('{"version": 1, "vservers": {}}', 409, "its configuration says nothing of controller.ticket_keys"),
        ("[]", 422, ""),
    ],
)
async def test_a_node_takes_no_keys_that_are_none_or_not_wanted(
    tmp_path: Path, body: str, status: int, said: str
) -> None:
    async with scripted_server(hello) as port:
        array = Array(tmp_path, port)
        del array.document["controller"]["ticket_keys"]
        async with array.node("node1"), httpx.AsyncClient(trust_env=False) as client:

            async def answers() -> bool:
                try:
                    return (await client.get(array.status("node1"))).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(answers, "the node answers")
            url = array.status("node1").replace("status", "ticket-keys")
            response = await client.put(url, content=body)
            assert response.status_code == status
            assert said in response.text
            assert "73656372" not in response.text
