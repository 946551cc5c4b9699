"""Two controllers as processes, a real etcd and a real softswitch: one leads, and nothing is lost with it [H4]."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import finsy as fy
import grpc
import httpx
import pytest
from finsy.proto import p4r, p4r_grpc

from controller.diff import Operation, Update
from controller.entries import Entry, Key, Kind
from controller.repository import Repository
from controller.store.opening import open_store
from pentaflow.config import Configuration
from pentaflow.files import load_configuration
from softswitch import switch as softswitch
from support.certificates import make_certificate
from support.configurations import small_document
from support.etcd import Etcd, running_etcd
from support.ports import free_port
from support.virtual_array import (
    CODEC,
    WAIT_S,
    VirtualArray,
    eventually,
    read_back,
    running_controller,
    running_switch,
    status_server,
)

LEASE_S = 3
REPOSITORY = Path(__file__).parents[2]


def write_configuration(folder: Path, name: str, document: dict[str, Any]) -> Path:
    """The same array for each controller, but for the address of its REST API."""
    path = folder / f"{name}.yaml"
    rest = {"rest": f"127.0.0.1:{free_port()}"}
    path.write_text(json.dumps(document | {"controller": document["controller"] | rest}))
    return path


def make_document(folder: Path) -> dict[str, Any]:
    document = small_document()
    certificate, key = make_certificate().write(folder)
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_text("00" * 32)
    document["controller"] = {
        "lease_s": LEASE_S,
        "health": {"interval_ms": 100, "timeout_ms": 500, "rise": 2, "fall": 3},
    }
    document["switches"][0]["grpc"] = f"127.0.0.1:{free_port()}"
    management = free_port()
    for node in document["nodes"]:
        node["management"] = f"127.0.0.1:{management}"
    vserver = document["vservers"][0]
    vserver["tls"] = {"certificate": str(certificate), "key": str(key)}
    vserver["persistence"]["cookie"]["secret_file"] = str(secret)
    return document


class Process:
    """`pentaflow controller` and a client of its REST API."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, client: httpx.AsyncClient, log: Path) -> None:
        self.name = name
        self.process = process
        self.client = client
        self._log = log

    async def maybe_health(self) -> dict[str, Any] | None:
        """None: it does not answer."""
        try:
            found: dict[str, Any] = (await self.client.get("/health")).json()
        except httpx.HTTPError:
            return None
        return found

    async def becomes(self, role: str, leader: str) -> None:
        """Wait until it has a role, and, as a leader, has the switch and all nodes."""

        async def condition() -> bool:
            health = await self.maybe_health()
            if health is None or (health["role"], health["leader"]) != (role, leader):
                return False
            return role == "follower" or (health["ready"] and set(health["nodes"].values()) == {"up"})

        try:
            await eventually(condition, f"{self.name} to be {role} of {leader!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._log.read_text()[-3000:]}") from None

    async def events(self, kind: str) -> list[dict[str, Any]]:
        return [event["details"] for event in (await self.client.get("/events")).json() if event["kind"] == kind]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Log lines of an event."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]


class Setting:
    """A switch with virtual nodes, an etcd, and a way to start controllers."""

    def __init__(self, folder: Path, document: dict[str, Any], configuration: Configuration, etcd: Etcd) -> None:
        self.folder = folder
        self.document = document
        self.etcd = etcd
        self.switch = str(configuration.switches[0].grpc)

    @asynccontextmanager
    async def controller(self, name: str) -> AsyncIterator[Process]:
        path = write_configuration(self.folder, name, self.document)
        log = self.folder / f"{name}.log"
        address = json.loads(path.read_text())["controller"]["rest"]
        command = [sys.executable, "-m", "pentaflow", "--log-json", "controller", str(path)]
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command, "--store", self.etcd.url, "--name", name, cwd=REPOSITORY, stdout=output, stderr=output
            )
        try:
            async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=2) as client:
                yield Process(name, process, client, log)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def map(self) -> dict[Key, Entry]:
        """What decides where clients go."""
        found = await read_back(self.switch)
        return {key: entry for key, entry in found.items() if key.kind in (Kind.VSERVER, Kind.BUCKET, Kind.SLOT)}

    async def kept(self) -> tuple[object, ...]:
        """What the store holds besides the lead."""
        store = open_store(self.etcd.url)
        repository = Repository(store, 0)
        found = await repository.current(), await repository.versions(), await repository.hash_keys()
        await store.close()
        return found

    async def has_hash_keys(self) -> None:
        async def condition() -> bool:
            return bool((await self.kept())[2])

        await eventually(condition, "the hash key in the store")


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    with running_etcd(tmp_path) as found:
        yield found


@pytest.fixture
async def setting(tmp_path: Path, etcd: Etcd, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setting]:
    document = make_document(tmp_path)
    configuration = load_configuration(write_configuration(tmp_path, "all", document))
    array = VirtualArray(configuration)
    monkeypatch.setattr(softswitch, "Ports", array.ports)
    setting = Setting(tmp_path, document, configuration, etcd)
    async with status_server(configuration.nodes[0].management), running_switch(setting.switch):
        yield setting


async def test_a_killed_leader_is_replaced_and_nothing_moves(setting: Setting) -> None:
    async with setting.controller("a") as a:
        await a.becomes("leader", "a")
        await setting.has_hash_keys()
        async with setting.controller("b") as b:
            await b.becomes("follower", "a")
            read = await b.client.get("/vservers/web?x=1")
            assert (read.status_code, read.headers["location"]) == (307, f"{a.client.base_url}/vservers/web?x=1")
            assert (await b.client.get("/vservers/web", follow_redirects=True)).json()["name"] == "web"
            written = await b.client.post("/plans")
            assert (written.status_code, written.headers["content-type"]) == (503, "application/problem+json")
            assert "a leads" in written.json()["detail"]

            before, kept = await setting.map(), await setting.kept()
            a.process.kill()
            await b.becomes("leader", "b")
            assert await b.events("buckets_moved") == await b.events("slots_moved") == []
            assert await setting.map() == before
            assert await setting.kept() == kept
            led, followed = await b.events("controller_leads"), await b.events("controller_follows")
            assert led[-1]["epoch"] > followed[-1]["epoch"]


async def test_a_leader_that_ends_hands_over(setting: Setting) -> None:
    async with setting.controller("a") as a:
        await a.becomes("leader", "a")
        before = await setting.map()
        async with setting.controller("b") as b:
            await b.becomes("follower", "a")
            a.process.terminate()
            assert await a.process.wait() == 0
            await b.becomes("leader", "b")
            assert await setting.map() == before


async def test_a_leader_that_slept_is_fenced_and_follows(setting: Setting) -> None:
    async with setting.controller("a") as a, setting.controller("b") as b:
        await one_leads(a, b)
        health = await a.maybe_health()
        assert health
        old, new = (a, b) if health["role"] == "leader" else (b, a)
        await new.becomes("follower", old.name)
        await old.becomes("leader", old.name)
        await setting.has_hash_keys()
        before, kept = await setting.map(), await setting.kept()
        *_, led = await old.events("controller_leads")
        election_id = await primary_of(setting.switch)
        assert election_id >> 64 == led["epoch"]
        old.process.send_signal(signal.SIGSTOP)
        await new.becomes("leader", new.name)

        assert await primary_of(setting.switch) >> 64 > led["epoch"]
        code = await write(
            setting.switch, election_id, CODEC.encode_update(Update(Operation.DELETE, next(iter(before)), None))
        )
        assert code is grpc.StatusCode.PERMISSION_DENIED
        highest = (led["epoch"] + 1 << 64) - 1
        async with fy.Switch("s1", setting.switch, fy.SwitchOptions(initial_election_id=highest)) as ghost:
            assert not ghost.is_primary, "no session of the old epoch may write"

        old.process.send_signal(signal.SIGCONT)
        await old.becomes("follower", new.name)
        assert old.logged("controller_leads")[-1]["epoch"] == led["epoch"], "it has not led again"
        await new.becomes("leader", new.name)
        assert await setting.map() == before
        assert await setting.kept() == kept


async def primary_of(address: str) -> int:
    """The election id that the switch takes writes from."""
    async with fy.Switch("s1", address, fy.SwitchOptions(initial_election_id=1)) as backup:
        return backup.primary_id


async def write(address: str, election_id: int, update: p4r.Update) -> grpc.StatusCode:
    """What a Write gets."""
    request = p4r.WriteRequest(
        device_id=1,
        election_id=p4r.Uint128(high=election_id >> 64, low=election_id & (1 << 64) - 1),
        updates=[update],
    )
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            await p4r_grpc.P4RuntimeStub(channel).Write(request, timeout=WAIT_S)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def one_leads(a: Process, b: Process) -> None:
    async def condition() -> bool:
        roles = [health["role"] for process in (a, b) if (health := await process.maybe_health())]
        return sorted(roles) == ["follower", "leader"]

    await eventually(condition, "a leader and a follower")


async def test_without_the_store_nobody_leads_and_the_switch_goes_on(setting: Setting) -> None:
    async with setting.controller("a") as a:
        await a.becomes("leader", "a")
        before = await setting.map()
        setting.etcd.kill()
        await a.becomes("follower", "")
        assert (await a.client.get("/health")).status_code == 503
        refused = await a.client.get("/nodes")
        assert (refused.status_code, refused.json()["detail"]) == (503, "no controller leads yet")
        assert await setting.map() == before
        setting.etcd.start()
        await a.becomes("leader", "a")
        assert (await a.events("switch_reconciled"))[-1]["updates"] == 0
        assert await setting.map() == before


async def test_an_empty_switch_gets_the_hash_key_that_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = load_configuration(write_configuration(tmp_path, "all", make_document(tmp_path)))
    monkeypatch.setattr(softswitch, "Ports", VirtualArray(configuration).ports)
    address, url = str(configuration.switches[0].grpc), f"sqlite:{tmp_path / 'store'}"
    keys = []
    for _ in range(2):
        async with running_switch(address), running_controller(configuration, store_url=url) as client:

            async def is_kept(client: httpx.AsyncClient = client) -> bool:
                store = open_store(url)
                found = await Repository(store, 0).hash_keys()
                await store.close()
                return bool(found) and bool((await client.get("/health")).json()["switches"]["s1"] == "ready")

            await eventually(is_kept, "the hash key in the store")
            (vserver,) = [e for key, e in (await read_back(address)).items() if key.kind is Kind.VSERVER]
            keys.append(vserver.params[3])
    assert keys[0] == keys[1]
