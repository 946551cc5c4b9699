"""A controller on loopback that allocates session ids, with back ends and nodes that are real."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from controller.app import Given, run_controller
from pentaflow.parsing import parse
from support.backends import Answered, ask, running_backend
from support.ports import free_port
from support.tlsnode import RunningNode, running_node

_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a node is: its management address, and the vserver's port."""

    management: str
    port: int

    @classmethod
    def free(cls) -> Self:
        """Where nothing is yet."""
        return cls(management=f"127.0.0.1:{free_port()}", port=free_port())


def array_document(
    servers: Mapping[str, int], *, rest: int, nodes: Sequence[Place], **session_ids: Any
) -> dict[str, Any]:
    """A vserver of mode passthrough at 127.0.0.1, whose servers' session ids are allocated.

    Args:
        servers: name → port on loopback; ids are in the order of names.
        rest: port of the controller's REST API.
        nodes: the vserver's port is that of the first one.
        session_ids: see `SessionIds`.
    """
    return {
        "controller": {"rest": f"127.0.0.1:{rest}", "health": {"management": {"interval_ms": 100}}},
        "switches": [{"name": "sw", "grpc": "127.0.0.1:1", "ports": [1], "probe_address": "127.0.0.9"}],
        "nodes": [
            {
                "name": f"node{i}",
                "id": i,
                "mac": f"02:00:00:00:00:0{i}",
                "ports": {"sw": 1},
                "management": node.management,
            }
            for i, node in enumerate(nodes, start=1)
        ],
        "vservers": [
            {
                "name": "www",
                "id": 1,
                "mode": "passthrough",
                "vip": "127.0.0.1",
                "port": nodes[0].port,
                "pool": "web",
                "persistence": {"session_ids": session_ids},
            }
        ],
        "pools": [
            {
                "name": "web",
                "servers": [
                    {"name": name, "id": i, "address": f"127.0.0.1:{port}"}
                    for i, (name, port) in enumerate(sorted(servers.items()), start=1)
                ],
            }
        ],
    }


class RangedArray:
    """The controller's REST API."""

    def __init__(self, document: Mapping[str, Any], client: httpx.AsyncClient) -> None:
        self.document = document
        self.url = f"http://{document['controller']['rest']}"
        self._client = client

    async def get(self, path: str) -> Any:
        response = await self._client.get(self.url + path)
        assert response.status_code == httpx.codes.OK, response.text
        return response.json()

    async def change(self, method: str, path: str, document: Any = None, **headers: str) -> httpx.Response:
        return await self._client.request(method, self.url + path, json=document, headers=headers)

    async def configure(self, **session_ids: Any) -> None:
        """Have the vserver's session ids be allocated in another way from the next plan on."""
        vserver = self.document["vservers"][0] | {"persistence": {"session_ids": session_ids}}
        response = await self.change("PUT", "/vservers/www", vserver, **{"If-Match": "*"})
        assert response.status_code == httpx.codes.OK, response.text

    async def replan(self) -> None:
        """Have what is configured."""
        plan = (await self.change("POST", "/session-ids/www/plan")).json()
        response = await self.change("POST", f"/session-ids/www/plans/{plan['id']}/apply")
        assert response.status_code == httpx.codes.OK, response.text

    async def until(self, path: str, holds: Callable[[Any], Any]) -> Any:
        """What is at a path, once it is so."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                found = await self.get(path)
                if holds(found):
                    return found
                await asyncio.sleep(0.05)


@asynccontextmanager
async def running_controller(document: Mapping[str, Any], store: Path) -> AsyncIterator[RangedArray]:
    """A controller of this configuration, whose store is this file."""
    text = json.dumps(document)
    given = Given(configuration=parse(text, "test"), text=text, base=store.parent)
    started = asyncio.Event()
    running = asyncio.create_task(run_controller(given, store_url=f"sqlite:{store}", name="c1", started=started.set))
    waiting = asyncio.create_task(started.wait())
    try:
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=_PATIENCE_S)
        assert started.is_set(), running
        async with httpx.AsyncClient(trust_env=False) as client:
            yield RangedArray(document, client)
    finally:
        waiting.cancel()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


class WholeArray:
    """Back ends, nodes and a controller; each of the back ends can be ended before the others."""

    def __init__(
        self, control: RangedArray, nodes: Sequence[RunningNode], backends: Mapping[str, AsyncExitStack], folder: Path
    ) -> None:
        self.control = control
        self.nodes = nodes
        self.folder = folder
        self._backends = backends

    async def end(self, server: str) -> None:
        """End a back end."""
        await self._backends[server].aclose()

    async def session_of(self, server: str) -> tuple[Path, str]:
        """A new session with this back end, in a file, and its id."""
        file = self.folder / f"session-{server}"
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                answer = await ask(self.nodes[0].port, keep=file)
                if answer.server == server and answer.session_id:
                    return file, answer.session_id

    async def ask_all(self, session: Path) -> list[Answered]:
        """What clients with this session are answered through each node, twice."""
        return [await ask(node.port, session=session) for node in (*self.nodes, *self.nodes)]

    async def counted(self, what: str, outcome: str) -> int:
        """So often in the status documents of all nodes."""
        return sum([(await node.vserver_status())[what][outcome] for node in self.nodes])


@asynccontextmanager
async def whole_array(folder: Path, servers: Sequence[str], **session_ids: Any) -> AsyncIterator[WholeArray]:
    """Two nodes, a controller and these servers, all of which go by the first plan."""
    rest, places = free_port(), (Place.free(), Place.free())
    async with AsyncExitStack() as stack:
        backends, ports = {}, {}
        for name in servers:
            backends[name] = await stack.enter_async_context(AsyncExitStack())
            record = f"http://127.0.0.1:{rest}/session-ids/www/{name}"
            ports[name] = await backends[name].enter_async_context(running_backend(name, record, folder))
        document = array_document(ports, rest=rest, nodes=places, **session_ids)
        nodes = []
        for i, place in enumerate(places, start=1):
            # All are at one address, so each believes that it is the only one, at a port of its own.
            own = array_document(ports, rest=rest, nodes=[place], **session_ids)
            room = folder / f"node{i}"
            room.mkdir()
            nodes.append(
                await stack.enter_async_context(
                    running_node(own, room, ca=folder / f"{servers[0]}.crt", options=("--vips", "external"))
                )
            )
        control = await stack.enter_async_context(running_controller(document, folder / "store"))
        await control.until("/session-ids", lambda found: is_settled(found[0]))
        yield WholeArray(control, nodes, backends, folder)


def is_settled(view: Mapping[str, Any]) -> bool:
    """Whether nothing of an allocation is under way any more."""
    stages = {group["stage"] for group in view["groups"]}
    return "issuing" in stages and stages <= {"issuing", "spare"} and not view["behind"]
