"""A node of several worker processes: their death, reloads and the end, under live TLS load [N4]."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.certificates import make_certificate
from support.node_load import request, steady_load
from support.ports import free_port
from support.tlsnode import RunningNode, node_document, running_node, scripted_server, wait_until
from support.virtual_array import eventually

Document = dict[str, Any]


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that says hello to every request; to `/slow` when it is told to."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /slow "):
            await asyncio.sleep(1)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


class Node:
    """A running node whose configuration file is changed."""

    def __init__(self, running: RunningNode, document: Document, folder: Path) -> None:
        self.running = running
        self.document = document
        self._file = folder / "array.yaml"

    def write(self, document: Document | str) -> None:
        self._file.write_text(document if isinstance(document, str) else json.dumps(document))

    async def reload(self) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            return await client.post(f"http://{self.running.management}/reload")

    async def workers(self) -> list[dict[str, Any]]:
        workers: list[dict[str, Any]] = (await self.running.status())["workers"]
        return workers

    async def certificate(self, port: int | None = None) -> bytes:
        """What a new connection is shown, DER."""
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        _, writer = await asyncio.open_connection("127.0.0.1", port or self.running.port, ssl=trust)
        try:
            shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            return shown
        finally:
            writer.transport.abort()


@asynccontextmanager
async def running(folder: Path, *, workers: int = 2, options: tuple[str, ...] = ()) -> AsyncIterator[Node]:
    async with scripted_server(answer) as port:
        document = node_document(folder, [("w1", "127.0.0.1", port)])
        async with running_node(document, folder, workers=workers, options=options) as node:
            yield Node(node, document, folder)


def der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode())


def process_status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return ""


def exists(pid: int) -> bool:
    status = process_status(pid)
    return bool(status) and "State:\tZ" not in status


async def test_workers_share_the_load_and_the_status_is_the_sum(tmp_path: Path) -> None:
    async with running(tmp_path, workers=3) as node, steady_load(node.running, 60) as load:
        workers = await node.workers()
        assert [worker["number"] for worker in workers] == [0, 1, 2]
        assert len({worker["pid"] for worker in workers}) == 3
        assert all(worker["open_connections"] for worker in workers)
        assert sum(worker["open_connections"] for worker in workers) == 60
        status = await node.running.vserver_status()
        assert (status["connections"], status["open_connections"]) == (60, 60)
        assert status["tls_handshakes"]["full"] == 60
        assert status["servers"][0]["hits"] >= 60
        assert not load.failures


async def test_a_killed_worker_costs_its_own_connections_only_and_is_back(tmp_path: Path) -> None:
    async with running(tmp_path) as node, steady_load(node.running, 40) as load:
        victim, other = await node.workers()
        os.kill(victim["pid"], signal.SIGKILL)
        # The kernel gives half of these to the socket of the dead worker, where they wait for its successor.
        for _ in range(20):
            reader, writer = await node.running.connect()
            assert await request(node.running, reader, writer) == b"hello"
            writer.transport.abort()

        async def is_back() -> bool:
            return len(await node.workers()) == 2

        await eventually(is_back, "the worker is back")
        back, same = await node.workers()
        assert (same["pid"], same["restarts"]) == (other["pid"], 0)
        assert (back["number"], back["restarts"]) == (victim["number"], 1)
        assert back["pid"] != victim["pid"]
        assert len(load.failures) == victim["open_connections"]
    assert "worker ended; it is started again" in node.running.log.read_text()


async def test_a_worker_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        victim, other = await node.workers()
        os.kill(victim["pid"], signal.SIGSTOP)
        # Those that the kernel gives to the one that hangs wait for its successor.
        opening = [asyncio.create_task(node.running.curl("--fail", "/")) for _ in range(20)]

        async def is_back() -> bool:
            return [worker["restarts"] for worker in await node.workers()] == [1, 0]

        await wait_until(lambda: "worker hangs" in node.running.log.read_text(), timeout_s=60)
        await eventually(is_back, "the worker is back")
        assert [(await curl).exit_status for curl in opening] == [0] * 20
        back, same = await node.workers()
        assert back["pid"] != victim["pid"]
        assert same["pid"] == other["pid"]
        assert not exists(victim["pid"])
    log = node.running.log.read_text()
    assert log.count("worker hangs; it is killed") == 1
    assert "worker=0" in log.partition("worker hangs")[2].partition("\n")[0]


async def test_reloads_under_load_fail_nothing_and_show_the_new_certificate(tmp_path: Path) -> None:
    async with running(tmp_path) as node, scripted_server(answer) as other, steady_load(node.running, 30) as load:
        assert await node.certificate() == der(make_certificate().certificate_pem)
        for number, kind in enumerate(("rsa", "ec", "rsa")):
            certificate = make_certificate(f"new-{number}.example.test", kind=kind)
            certificate.write(tmp_path)
            servers = node.document["pools"][0]["servers"]
            if number == 1:
                servers.append({"name": "w2", "id": 2, "address": f"127.0.0.1:{other}"})
            node.write(node.document)
            opening = [asyncio.create_task(node.running.curl("--insecure", "--fail", "/")) for _ in range(5)]
            done = await node.reload()
            assert (done.status_code, done.json()["node"]) == (200, "node1"), done.text
            assert [(await curl).exit_status for curl in opening] == [0] * 5
            assert await node.certificate() == der(certificate.certificate_pem)
        status = await node.running.vserver_status()
        assert not load.failures
        assert load.answered >= 30
        # What was counted goes on, and connections that are open stay.
        assert status["open_connections"] == 30
        assert status["connections"] >= 45
        assert [server["name"] for server in status["servers"]] == ["w1", "w2"]
        assert status["servers"][0]["hits"] >= 45
        assert all(worker["restarts"] == 0 for worker in await node.workers())
    assert not load.failures


async def test_hanging_up_reloads(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        certificate = make_certificate("hup.example.test")
        certificate.write(tmp_path)
        node.running.process.send_signal(signal.SIGHUP)

        async def is_new() -> bool:
            return await node.certificate() == der(certificate.certificate_pem)

        await eventually(is_new, "the new certificate")


async def test_a_worker_that_was_started_again_knows_what_checks_have_found(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        pool = node.document["pools"][0]
        pool["servers"].append({"name": "dead", "id": 2, "address": f"127.0.0.1:{free_port()}"})
        pool["check"] = {"protocol": "tcp", "interval_ms": 100, "timeout_ms": 1000}
        node.write(node.document)
        assert (await node.reload()).status_code == 200

        async def are_judged() -> bool:
            servers = (await node.running.vserver_status())["servers"]
            return [server["up"] for server in servers] == [True, False]

        await eventually(are_judged, "both workers know that one server is dead")
        victim, _ = await node.workers()
        os.kill(victim["pid"], signal.SIGKILL)

        async def is_back() -> bool:
            return [worker["restarts"] for worker in await node.workers()] == [1, 0]

        await eventually(is_back, "the worker is back")
        await eventually(are_judged, "it was told")
        assert (await node.running.vserver_status())["servers"][1]["checks"]["failed"] > 0


def other_key(document: Document, folder: Path) -> None:
    (folder / "server.key").write_bytes(make_certificate("other.test").key_pem)


def unknown_key(document: Document, folder: Path) -> None:
    document["vservers"][0]["prot"] = 1


def gone(document: Document, folder: Path) -> None:
    document["nodes"][0]["name"] = "node7"


def taken_port(document: Document, folder: Path) -> None:
    """The first vserver could be changed; the second one is at the management port."""
    second = document["vservers"][0] | {"name": "second", "id": 2}
    second["port"] = int(document["nodes"][0]["management"].rpartition(":")[2])
    document["vservers"][0]["timeouts"] = {"keepalive_s": 1}
    document["vservers"].append(second)


@pytest.mark.parametrize(
    ("change", "status", "sentence"),
    [
        (other_key, 422, "not the key of the certificate"),
        (unknown_key, 422, "unknown key; did you mean 'port'?"),
        (gone, 422, "there is no node 'node1'; there is node7"),
        (taken_port, 409, "vserver second: cannot listen on 127.0.0.1"),
    ],
)
async def test_a_broken_reload_changes_nothing(
    tmp_path: Path, change: Callable[[Document, Path], None], status: int, sentence: str
) -> None:
    async with running(tmp_path) as node, steady_load(node.running, 4) as load:
        before = await node.certificate()
        document = json.loads(json.dumps(node.document))
        change(document, tmp_path)
        node.write(document)
        refused = await node.reload()
        assert refused.status_code == status
        assert sentence in refused.text
        assert refused.text.endswith("nothing has changed\n")
        assert await node.certificate() == before
        assert [vserver["name"] for vserver in (await node.running.status())["vservers"]] == ["web"]
        make_certificate().write(tmp_path)
        node.write(node.document)
        assert (await node.reload()).status_code == 200
    assert not load.failures
    assert "the old configuration goes on" in node.running.log.read_text()


async def test_vservers_come_and_go(tmp_path: Path) -> None:
    async with running(tmp_path) as node, steady_load(node.running, 10) as load:
        second = node.document["vservers"][0] | {"name": "second", "id": 2, "port": free_port()}
        node.write(node.document | {"vservers": [node.document["vservers"][0], second]})
        assert (await node.reload()).status_code == 200
        trust = ssl.create_default_context(cafile=node.running.ca)
        reader, writer = await asyncio.open_connection("127.0.0.1", second["port"], ssl=trust)
        assert await request(node.running, reader, writer) == b"hello"
        busy_reader, busy_writer = await asyncio.open_connection("127.0.0.1", second["port"], ssl=trust)
        busy_writer.write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(0.2)
        node.write(node.document)
        assert (await node.reload()).status_code == 200
        assert await asyncio.wait_for(reader.read(), 30) == b"", "idle: closed at once"
        whole = await asyncio.wait_for(busy_reader.read(), 30)
        assert whole.endswith(b"hello"), "busy: closed after its response"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", second["port"])
        for each in (writer, busy_writer):
            each.transport.abort()
    assert not load.failures


async def test_the_end_waits_for_responses(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        reader, writer = await node.running.connect()
        writer.write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        pids = [worker["pid"] for worker in await node.workers()]
        await asyncio.sleep(0.2)
        node.running.process.terminate()
        assert (await asyncio.wait_for(reader.read(), 30)).endswith(b"hello")
        writer.transport.abort()
        assert await asyncio.wait_for(node.running.process.wait(), 30) == 0
        assert not any(map(exists, pids))


async def test_told_twice_it_ends_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, options=("--drain", "600")) as node:
        _, writer = await node.running.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        pids = [worker["pid"] for worker in await node.workers()]
        await asyncio.sleep(0.2)
        node.running.process.terminate()

        async def is_draining() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", node.running.port)) != 0

        await eventually(is_draining, "nothing is accepted any more")
        assert node.running.process.returncode is None
        node.running.process.terminate()
        await asyncio.wait_for(node.running.process.wait(), 30)
        assert not any(map(exists, pids))
        writer.transport.abort()


async def test_workers_end_after_their_supervisor_was_killed(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        reader, writer = await node.running.connect()
        writer.write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        pids = [worker["pid"] for worker in await node.workers()]
        node.running.process.kill()
        assert (await asyncio.wait_for(reader.read(), 30)).endswith(b"hello"), "what is open is served still"
        writer.transport.abort()

        async def are_gone() -> bool:
            return not any(map(exists, pids))

        await eventually(are_gone, "the workers are gone")


@pytest.mark.root
async def test_workers_may_be_somebody_without_privileges(tmp_path: Path) -> None:
    async with running(tmp_path, options=("--user", "nobody")) as node:
        assert (await node.running.curl("--fail", "/")).text == "hello"
        for worker in await node.workers():
            status = process_status(worker["pid"])
            assert "Uid:\t65534\t65534\t65534\t65534" in status
            assert "CapEff:\t0000000000000000" in status
            assert "Groups:\t \n" in status
