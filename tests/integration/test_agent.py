"""A node that a controller configures [N9]: a real controller process, a real node, mutual TLS between them."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from support.certificates import Authority, make_certificate
from support.node_load import steady_load
from support.ports import free_port
from support.resumption import come_again, resuming_load
from support.tlsnode import RunningNode, node_document, scripted_server
from support.virtual_array import eventually

ROOT = Path(__file__).parents[2]
YAML = {"Content-Type": "application/yaml", "If-Match": "*"}


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that says hello to every request."""
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


class Arena:
    """A folder with the authority's files, the array's configuration and the processes' logs."""

    def __init__(self, folder: Path, server_port: int) -> None:
        self.folder = folder
        self._authority = Authority("array")
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self._authority.certificate_pem)
        self.document = node_document(folder, [("w1", "127.0.0.1", server_port)])
        self.rest = f"127.0.0.1:{free_port()}"
        certificate, key = self.identity("controller")
        management = {"protocol": "https", "ca": str(self.ca), "certificate": str(certificate), "key": str(key)}
        self.document["controller"] = {
            "rest": self.rest,
            "tls": {"certificate": str(certificate), "key": str(key)},
            "agents_ca": str(self.ca),
            "health": {"management": management},
        }
        self.configuration = folder / "controller.yaml"
        self.configuration.write_text(json.dumps(self.document))

    def identity(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of somebody."""
        folder = self.folder / f"of-{name}"
        folder.mkdir(exist_ok=True)
        return self._authority.issue(name).write(folder)

    def client(self, name: str | None = None) -> httpx.AsyncClient:
        """Of the REST API; with the certificate of somebody."""
        context = ssl.create_default_context(cafile=self.ca)
        if name:
            context.load_cert_chain(*self.identity(name))
        return httpx.AsyncClient(base_url=f"https://{self.rest}", verify=context, trust_env=False, timeout=30)

    def node(self, process: asyncio.subprocess.Process) -> RunningNode:
        """What its clients need to know of the node."""
        vserver = self.document["vservers"][0]
        return RunningNode(
            process=process,
            port=vserver["port"],
            management=self.document["nodes"][0]["management"],
            ca=Path(vserver["tls"]["certificate"]),
            log=self.folder / "node.log",
        )

    @asynccontextmanager
    async def process(self, log: str, *arguments: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
        """`pentaflow …`, ended at the end."""
        with (self.folder / log).open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", "from pentaflow.cli import main; main()", *map(str, arguments)),
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), 30)
                except TimeoutError:
                    process.kill()
                    await process.wait()

    def agent(self, *more: str, urls: Sequence[str] = ()) -> list[str | Path]:
        """The command line of the node."""
        certificate, key = self.identity("node1")
        given = [part for url in urls or [f"https://{self.rest}"] for part in ("--controller", url)]
        tls: list[str | Path] = ["--ca", self.ca, "--cert", certificate, "--key", key]
        return ["node", *given, "--name", "node1", *tls, "--workers", "2", *more]


@asynccontextmanager
async def arena(folder: Path) -> AsyncIterator[Arena]:
    async with scripted_server(answer) as port:
        yield Arena(folder, port)


async def row(client: httpx.AsyncClient) -> dict[str, Any]:
    rows: list[dict[str, Any]] = (await client.get("/tables/nodes")).json()
    return rows[0]


async def until_version(client: httpx.AsyncClient, version: int, error: str = "") -> None:
    async def condition() -> bool:
        try:
            response = await client.get("/tables/nodes")
        except httpx.TransportError:
            return False
        if response.status_code != httpx.codes.OK:  # it does not lead yet
            return False
        found = response.json()[0]
        said = found["configuration_error"]
        return bool(found["configuration_version"] == version and (error in said if error else not said))

    async with asyncio.timeout(90):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.05)


async def push(client: httpx.AsyncClient, document: dict[str, Any]) -> int:
    response = await client.put("/configuration", content=json.dumps(document), headers=YAML)
    assert response.status_code == 200, response.text
    version: int = response.json()["version"]
    return version


async def test_pushed_configurations_reach_the_node_and_broken_ones_leave_it_as_it_is(tmp_path: Path) -> None:
    async with arena(tmp_path) as field, AsyncExitStack() as stack:
        await stack.enter_async_context(field.process("controller.log", "controller", field.configuration))
        node = field.node(await stack.enter_async_context(field.process("node.log", *field.agent())))
        client = await stack.enter_async_context(field.client())
        await until_version(client, 1)
        assert (await node.curl("--fail", "/")).text == "hello"

        load = await stack.enter_async_context(steady_load(node, 8))
        # Another certificate: the node serves it, and drops nobody.
        folder = tmp_path / "renewed"
        folder.mkdir()
        certificate, key = make_certificate("renewed.example.test").write(folder)
        changed = json.loads(json.dumps(field.document))
        changed["vservers"][0]["tls"] = {"certificate": str(certificate), "key": str(key)}
        version = await push(client, changed)
        await until_version(client, version)
        context = ssl.create_default_context(cafile=certificate)
        _, writer = await asyncio.open_connection("127.0.0.1", node.port, ssl=context)
        writer.transport.abort()

        # A key that is not the certificate's: the controller does not look into it, the node refuses it.
        broken = json.loads(json.dumps(changed))
        broken["vservers"][0]["tls"]["key"] = field.document["vservers"][0]["tls"]["key"]
        refused = await push(client, broken)
        await until_version(client, version, "not the key of the certificate")
        assert refused == version + 1
        _, writer = await asyncio.open_connection("127.0.0.1", node.port, ssl=context)
        writer.transport.abort()

        assert (await client.post("/configuration/rollback", json={})).status_code == 200
        await until_version(client, version)
        assert (await row(client))["configuration_error"] == ""
        assert not load.failures
        assert load.answered >= 8
    for log in ("node.log", "controller.log"):
        assert "PRIVATE KEY" not in (tmp_path / log).read_text()


async def test_a_push_waits_for_the_nodes_or_says_which_do_not_run_it(tmp_path: Path) -> None:
    async with arena(tmp_path) as field, AsyncExitStack() as stack:
        await stack.enter_async_context(field.process("controller.log", "controller", field.configuration))
        await stack.enter_async_context(field.process("node.log", *field.agent()))
        client = await stack.enter_async_context(field.client())
        await until_version(client, 1)

        async def pentaflow(log: str, *arguments: str | Path) -> tuple[int | None, str]:
            where = ("--url", f"https://{field.rest}", "--ca", field.ca)
            async with field.process(log, *arguments, *where) as process:
                status = await asyncio.wait_for(process.wait(), 60)
            return status, (tmp_path / log).read_text()

        field.document["vservers"][0]["timeouts"] = {"keepalive_s": 7}
        pushed = field.configuration
        pushed.write_text(json.dumps(field.document))
        status, said = await pentaflow("good.log", "push", pushed, "--wait", "60", "--json")
        assert (status, json.loads(said)["version"]) == (0, 2)
        assert (await row(client))["configuration_version"] == 2

        other = tmp_path / "other"
        other.mkdir()
        field.document["vservers"][0]["tls"]["key"] = str(make_certificate("other.example.test").write(other)[1])
        pushed.write_text(json.dumps(field.document))
        status, said = await pentaflow("broken.log", "push", pushed, "--wait", "2")
        assert status == 1
        assert "in force: version 3" in said
        assert "version 3 is in force, but not on all nodes after 2 s: node1 " in said
        assert "not the key of the certificate" in said
        status, said = await pentaflow("back.log", "rollback", "--wait", "60", "--json")
        assert (status, json.loads(said)["version"]) == (0, 2)


async def test_the_node_serves_on_without_its_controller_and_finds_the_next_one(tmp_path: Path) -> None:
    async with arena(tmp_path) as field, AsyncExitStack() as stack:
        nobody = f"https://127.0.0.1:{free_port()}"
        agent = field.agent(urls=[nobody, f"https://{field.rest}"])
        node = field.node(await stack.enter_async_context(field.process("node.log", *agent)))
        client = await stack.enter_async_context(field.client())
        async with field.process("controller.log", "controller", field.configuration):
            await until_version(client, 1)
        assert (await node.curl("--fail", "/")).text == "hello"
        field.document["vservers"][0]["timeouts"] = {"keepalive_s": 7}
        field.configuration.write_text(json.dumps(field.document))
        async with field.process("controller.log", "controller", field.configuration):
            await until_version(client, 1)
            assert (await node.curl("--fail", "/")).text == "hello"
            certificate, key = field.identity("controller")
            status = await node.curl(
                *("--insecure", "--cert", certificate, "--key", key, f"https://{node.management}/status")
            )
            assert json.loads(status.text)["configuration_version"] == 1


async def test_only_the_nodes_own_certificate_gets_its_configuration(tmp_path: Path) -> None:
    async with arena(tmp_path) as field, field.process("controller.log", "controller", field.configuration):
        path = "/agents/node1/configuration"
        async with field.client() as nobody:

            async def answers() -> bool:
                try:
                    return (await nobody.get("/health")).status_code in (200, 503)
                except httpx.TransportError:
                    return False

            await eventually(answers, "the controller answers")
            assert (await nobody.get(path)).status_code == 401
        async with field.client("node2") as other:
            refused = await other.get(path)
            assert refused.status_code == 403
            assert "not of node node1" in refused.json()["detail"]
            assert (await other.get("/agents/node2/configuration")).status_code == 404
            assert (await other.put("/agents/node1/report", json={"version": 9})).status_code == 403
        async with field.client("node1") as own:
            given = await own.get(path)
            assert given.status_code == 200
            assert given.json()["version"] == 1
            assert given.json()["vservers"][0]["hash_key"] is None
            tag = {"If-None-Match": given.headers["ETag"]}
            assert (await own.get(path, headers=tag, params={"wait_s": 0.1})).status_code == 304
            assert (await own.put("/agents/node1/report", json={"version": -1})).status_code == 422
            assert (await own.put("/agents/node1/report", json={"version": 1})).status_code == 204
            assert (await row(own))["configuration_version"] == 1


async def test_a_node_with_an_agent_and_one_with_a_file_resume_each_others_sessions(tmp_path: Path) -> None:
    async with arena(tmp_path) as field, AsyncExitStack() as stack:
        certificate, key = field.identity("node2")
        second = {
            "name": "node2",
            "id": 2,
            "mac": "02:00:00:00:00:02",
            "management": f"127.0.0.1:{free_port()}",
            "management_tls": {"ca": str(field.ca), "certificate": str(certificate), "key": str(key)},
        }
        (vserver,) = field.document["vservers"]
        field.document["nodes"].append(field.document["nodes"][0] | second)
        field.document["controller"]["ticket_keys"] = {}
        field.configuration.write_text(json.dumps(field.document))
        other = field.document | {"vservers": [vserver | {"port": free_port()}]}
        file = tmp_path / "node2.yaml"
        file.write_text(json.dumps(other))
        await stack.enter_async_context(field.process("controller.log", "controller", field.configuration))
        await stack.enter_async_context(field.process("node1.log", *field.agent()))
        await stack.enter_async_context(field.process("node2.log", "node", file, "node2", "--vips", "external"))
        client = await stack.enter_async_context(field.client("controller"))
        await until_version(client, 1)

        async def until_all_have(but: str) -> str:
            async with asyncio.timeout(90):
                while True:
                    found = (await client.get("/ticket-keys")).json()
                    states = {key["state"]: key["name"] for ring in found["vservers"] for key in ring["keys"]}
                    active: str | None = states.get("active")
                    if active not in (None, but) and all(node["current"] for node in found["nodes"]):
                        assert active
                        return active
                    await asyncio.sleep(0.05)

        active = await until_all_have("")
        async with resuming_load([vserver["port"], other["vservers"][0]["port"]]) as load:
            for _ in range(2):
                assert (await client.post("/ticket-keys/web/rotate")).status_code == 202
                active = await until_all_have(active)
                await come_again(load, 20)
        assert (load.failures, load.full) == ([], 0)
        for node in field.document["nodes"]:
            status = (await client.get(f"https://{node['management']}/status")).json()
            assert status["ticket_keys"]["names"]["web"][0] == active
