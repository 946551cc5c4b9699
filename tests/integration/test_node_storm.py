"""Thousands of clients, well-behaved or not, and of servers: nothing is left of them, and nobody gets another's answer.

STORM_CLIENTS=100000 makes it a long one.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.hostile_node import answer, node_before, resident_mib, until_quiet, worker_pid
from support.passthrough import AUTHORITY, passing_node, passthrough_document
from support.storm import storm, tell
from support.tlsnode import RunningNode, scripted_server

CLIENTS = int(os.environ.get("STORM_CLIENTS", "600"))
MARKS = (CLIENTS // 10, CLIENTS // 2, CLIENTS)
LONG_S = 7200 if CLIENTS > 10_000 else 120
SEED = 5
GROWTH_MIB = 8.0
LIMITS = {"max_connections_per_client": 10_000}  # so that clients are counted


@pytest.mark.timeout(LONG_S)
async def test_tls_connections_that_come_and_go_leave_no_memory_behind(tmp_path: Path) -> None:
    """Each a full handshake of OpenSSL's own client, with a request."""

    async def connect_until(node: RunningNode, mark: int) -> None:
        command = ("openssl", "s_time", "-connect", f"127.0.0.1:{node.port}", "-CAfile", str(node.ca), "-new")
        clients = [
            await asyncio.create_subprocess_exec(*command, "-www", "/", "-time", str(LONG_S), stdout=DEVNULL)
            for _ in range(2)
        ]
        try:
            while (await node.vserver_status())["tls_handshakes"]["full"] < mark:
                assert all(client.returncode is None for client in clients)
                await asyncio.sleep(0.2)
        finally:
            for client in clients:
                client.kill()
                await client.wait()

    async with node_before(tmp_path, answer) as node:
        pid = await worker_pid(node)
        resident: dict[int, float] = {}
        for mark in MARKS:
            await connect_until(node, mark)
            await until_quiet(node)
            resident[(await node.vserver_status())["tls_handshakes"]["full"]] = round(resident_mib(pid), 1)
        print("resident after so many connections, MiB:", resident)
        assert max(resident.values()) - min(resident.values()) < GROWTH_MIB


@asynccontextmanager
async def passing_node_before_tell(folder: Path) -> AsyncIterator[RunningNode]:
    """A node that passes TLS on, to a server of `tell` that has TLS."""
    certificate, key = AUTHORITY.issue("a.example").write(folder, "server")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    async with scripted_server(tell, tls) as port:
        document = passthrough_document(folder, {"servers": [("a", port)]}, limits=LIMITS)
        async with passing_node(folder, document) as node:
            yield node
            await until_quiet(node)
            assert "internal error" not in node.log.read_text()


@pytest.mark.timeout(LONG_S)
@pytest.mark.parametrize("mode", ["https", "passthrough"])
async def test_a_storm_leaves_nothing_and_mixes_nothing(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONMALLOC", "debug")  # what is used after it was freed is a crash, not luck
    passed = mode == "passthrough"
    async with passing_node_before_tell(tmp_path) if passed else node_before(tmp_path, tell, limits=LIMITS) as node:
        pid = await worker_pid(node)
        resident: dict[int, float] = {}
        done = answers = 0
        for mark in MARKS:
            seen = await storm(node, seed=SEED, clients=mark - done, first=done, passed=passed)
            await until_quiet(node)
            done = mark
            answers += seen.answers
            resident[mark] = round(resident_mib(pid), 1)
            assert seen.wrong == [], await node.vserver_status()
        print("resident after so many clients, MiB:", resident)
        assert len(seen.behaved) == (9 if passed else 10)
        assert answers > CLIENTS // 2
        assert resident[CLIENTS] - resident[CLIENTS // 10] < GROWTH_MIB
        assert await worker_pid(node) == pid  # it was not started again
