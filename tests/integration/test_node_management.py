"""Mutual TLS on a node's management address [R3], and the controller's pollers that come over it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from controller.connections import BucketFunction, ConnectionPoller, OpenConnections
from controller.health import Outcome
from controller.status import StatusPoller, maybe_authority
from pentaflow.config import Configuration
from pentaflow.errors import ConfigurationError
from pentaflow.files import read_node_configuration
from pentaflow.hash import HashKeyKind
from support.certificates import Authority
from support.ports import free_port
from support.tlsnode import RunningNode, node_document, running_node
from tlsnodes.node import NodeOptions, run_node
from tlsnodes.supervisor import WorkerOptions

QUESTION = {"vservers": {"web": {"hash": "src_port", "hash_key": "00112233aabbccdd", "buckets": 256}}}


class Identities:
    """Certificates of one authority, in files."""

    def __init__(self, folder: Path) -> None:
        self._authority = Authority("array")
        self._folder = folder
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self._authority.certificate_pem)

    def files(self, name: str, authority: Authority | None = None) -> dict[str, str]:
        folder = self._folder / f"of-{name}"
        folder.mkdir(exist_ok=True)
        certificate, key = (authority or self._authority).issue(name).write(folder)
        return {"ca": str(self.ca), "certificate": str(certificate), "key": str(key)}

    def client(self, files: dict[str, str] | None) -> httpx.AsyncClient:
        context = ssl.create_default_context(cafile=self.ca)
        if files:
            context.load_cert_chain(files["certificate"], files["key"])
        return httpx.AsyncClient(verify=context, trust_env=False)


@asynccontextmanager
async def guarded_node(folder: Path) -> AsyncIterator[tuple[RunningNode, Identities, Configuration]]:
    identities = Identities(folder)
    document = node_document(folder, [("w1", "127.0.0.1", free_port())])
    document["nodes"][0]["management_tls"] = identities.files("node1")
    rule = {"protocol": "https", "interval_ms": 50, **identities.files("controller")}
    document["controller"] = {"health": {"management": rule}}
    async with running_node(document, folder) as node:
        yield node, identities, Configuration.model_validate(document)


async def test_strangers_are_kept_out_and_nodes_may_only_read(tmp_path: Path) -> None:
    async with guarded_node(tmp_path) as (node, identities, _):
        base = f"https://{node.management}"
        for files in (None, identities.files("stranger", Authority("elsewhere"))):
            async with identities.client(files) as stranger:
                with pytest.raises(httpx.TransportError):
                    await stranger.get(f"{base}/status")
        async with identities.client(identities.files("node2")) as other:
            assert (await other.get(f"{base}/status")).json()["node"] == "node1"
            assert (await other.get(f"{base}/metrics")).status_code == 200
            for response in (
                await other.post(f"{base}/reload"),
                await other.post(f"{base}/open-connections", json=QUESTION),
                await other.put(f"{base}/ticket-keys", json={"version": 1, "vservers": {}}),
                await other.put(f"{base}/session-ids", json={"tables": []}),
            ):
                assert response.status_code == 403
                assert "the certificate is that of localhost, node2, not of a controller" in response.text
        async with identities.client(identities.files("controller")) as controller:
            assert (await controller.post(f"{base}/reload")).status_code == 200
            open_ = await controller.post(f"{base}/open-connections", json=QUESTION)
            assert open_.json() == {"web": {"open": 0, "buckets": {}}}
            table = {"vserver": "web", "version": 3, "groups": [{"keys": "0000/1", "servers": [1]}]}
            taken = await controller.put(f"{base}/session-ids", json={"tables": [table]})
            assert (taken.status_code, taken.json()) == (200, {"web": 3})
            assert (await controller.get(f"{base}/status")).json()["session_ids"] == {"web": 3}
            table["groups"] = [{"keys": "zz", "servers": [1]}]
            refused = await controller.put(f"{base}/session-ids", json={"tables": [table]})
            assert refused.status_code == 422
            assert "tables.0.groups.0.keys: Value error, 'zz' is neither a key like 0a17 nor a range" in refused.text
        async with httpx.AsyncClient(trust_env=False) as plain:
            with pytest.raises(httpx.TransportError):
                await plain.get(f"http://{node.management}/status")


async def test_a_reload_takes_a_renewed_certificate(tmp_path: Path) -> None:
    async with guarded_node(tmp_path) as (node, identities, _):
        files = identities.files("controller")

        async def ask(method: str, path: str) -> str:
            """The serial number of the certificate that a new connection is shown."""
            async with (
                identities.client(files) as client,
                client.stream(method, f"https://{node.management}{path}") as response,
            ):
                assert response.status_code == 200
                shown = response.extensions["network_stream"].get_extra_info("ssl_object").getpeercert()
                return str(shown["serialNumber"])

        before = await ask("GET", "/status")
        identities.files("node1")
        assert await ask("POST", "/reload") == before
        assert await ask("GET", "/status") != before


async def test_the_controllers_pollers_show_their_certificate(tmp_path: Path) -> None:
    async with guarded_node(tmp_path) as (_, __, configuration):
        outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
        poller = StatusPoller(configuration, lambda _, outcome: outcomes.put_nowait(outcome))
        failures: asyncio.Queue[str] = asyncio.Queue()
        function = BucketFunction(name="web", kind=HashKeyKind.SRC_PORT, hash_key=1, buckets=256)
        asking = ConnectionPoller(
            {1: configuration.nodes[0]},
            lambda: {1: {1: function}},
            OpenConnections(),
            lambda _, failure: failures.put_nowait(failure),
            tls=maybe_authority(configuration),
            interval_s=0.05,
        )
        tasks = [asyncio.create_task(poller.run()), asyncio.create_task(asking.run())]
        try:
            async with asyncio.timeout(30):
                assert (await outcomes.get()).failure == ""
                assert await failures.get() == ""
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


def test_management_is_open_on_loopback_only_unless_it_is_said_so(tmp_path: Path) -> None:
    document = node_document(tmp_path, [("w1", "127.0.0.1", 1)])
    document["nodes"][0]["management"] = "192.0.2.1:9100"
    configuration = Configuration.model_validate(document)
    options = NodeOptions(workers=WorkerOptions(count=1), holds_vips=False)
    with pytest.raises(ConfigurationError, match="needs management_tls; only loopback may be open to everybody"):
        asyncio.run(run_node(lambda: read_node_configuration(configuration, "node1"), options))
