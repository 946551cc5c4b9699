"""Open connections per bucket: a real node with real TLS connections, asked directly and by the controller's poller."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from controller.connections import BucketFunction, ConnectionPoller, OpenConnections
from pentaflow.config import HostPort, Node
from pentaflow.hash import HashKeyKind, client_hash
from support.ports import free_port
from support.tlsnode import RunningNode, node_document, running_node

KEY = 0x0011_2233_AABB_CCDD
KINDS = {"src": HashKeyKind.SRC, "src_port": HashKeyKind.SRC_PORT, "5tuple": HashKeyKind.FIVE_TUPLE}
LOOPBACK, LOOPBACK_V6 = IPv4Address("127.0.0.1"), IPv6Address("::1")
FUNCTION = BucketFunction(name="web", kind=HashKeyKind.SRC_PORT, hash_key=KEY, buckets=256)


@pytest_asyncio.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    """A node whose server nobody asks."""
    async with running_node(node_document(tmp_path, [("w1", "127.0.0.1", free_port())]), tmp_path) as running:
        yield running


def question(**changes: object) -> dict[str, Any]:
    return {"vservers": {"web": {"hash": "src_port", "hash_key": f"{KEY:016x}", "buckets": 256, **changes}}}


async def ask(node: RunningNode, asked: dict[str, Any]) -> dict[str, Any]:
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(f"http://{node.management}/open-connections", json=asked)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def until_open(node: RunningNode, count: int) -> None:
    for _ in range(1000):
        if (await ask(node, question()))["web"]["open"] == count:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"never {count} open connections")


def port_of(writer: asyncio.StreamWriter) -> int:
    port: int = writer.get_extra_info("sockname")[1]
    return port


async def test_counts_by_bucket_are_those_of_the_hash(node: RunningNode) -> None:
    async with AsyncExitStack() as opened:
        writers = []
        for number in range(30):
            if number % 5:
                _, writer = await node.connect()
            else:  # a handshake that does not go on
                _, writer = await asyncio.open_connection("127.0.0.1", node.port)
            opened.callback(writer.transport.abort)
            writers.append(writer)
        await until_open(node, len(writers))
        for name, kind in KINDS.items():
            for buckets in (256, 65_536):
                expected = Counter(
                    client_hash(KEY, kind, LOOPBACK, port_of(writer), LOOPBACK, node.port, 6) & (buckets - 1)
                    for writer in writers
                )
                answer = await ask(node, question(hash=name, buckets=buckets))
                assert answer == {"web": {"open": 30, "buckets": {str(b): n for b, n in expected.items()}}}
        for writer in writers[:12]:
            writer.transport.abort()
        await until_open(node, 18)
    await until_open(node, 0)
    assert await ask(node, question()) == {"web": {"open": 0, "buckets": {}}}
    assert f"{KEY:016x}" not in node.log.read_text()


async def test_ipv6_clients_are_counted_and_named(tmp_path: Path) -> None:
    document = node_document(tmp_path, [("w1", "127.0.0.1", free_port())])
    document["vservers"][0]["vip"] = str(LOOPBACK_V6)
    document["switches"][0]["probe_address_v6"] = "2001:db8::fe"
    async with running_node(document, tmp_path) as node, AsyncExitStack() as opened:
        writers = []
        for _ in range(10):
            _, writer = await asyncio.open_connection(str(LOOPBACK_V6), node.port)
            opened.callback(writer.transport.abort)
            writers.append(writer)
        await until_open(node, len(writers))
        expected = Counter(
            client_hash(KEY, HashKeyKind.FIVE_TUPLE, LOOPBACK_V6, port_of(writer), LOOPBACK_V6, node.port, 6) & 255
            for writer in writers
        )
        answer = await ask(node, question(hash="5tuple"))
        assert answer == {"web": {"open": 10, "buckets": {str(b): n for b, n in expected.items()}}}
        assert (await node.vserver_status())["address"] == f"[::1]:{node.port}"


@pytest.mark.parametrize(
    ("method", "body", "answer"),
    [
        ("POST", b"{", "400 Bad Request: not JSON: "),
        (
            "POST",
            json.dumps(question(hash_key=f"{KEY:016x}0")).encode(),
            "422 Unprocessable Entity: vservers.web.hash_key",
        ),
        ("POST", b" " * 300_000, "413 Request Entity Too Large: a body of more than 262144 bytes"),
        ("GET", b"", "405 Method Not Allowed: only POST"),
    ],
    ids=["no JSON", "a key that is too long", "too long", "GET"],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_bad_request_is_answered_and_the_node_goes_on(
    node: RunningNode, method: str, body: bytes, answer: str, chunked: bool
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield body

    async with httpx.AsyncClient(trust_env=False) as client:
        url = f"http://{node.management}/open-connections"
        response = await client.request(method, url, content=parts() if chunked else body)
    assert response.text.startswith(answer)
    assert str(response.status_code) == answer[:3]
    assert (await ask(node, question()))["web"]["open"] == 0
    assert f"{KEY:016x}" not in node.log.read_text()


async def test_the_controller_learns_which_buckets_are_free(node: RunningNode) -> None:
    host, _, management_port = node.management.rpartition(":")
    machine = Node(
        name="node1",
        id=1,
        mac="02:00:00:00:00:01",
        ports={"s1": 1},
        management=HostPort(host=host, port=int(management_port)),
    )
    holder = OpenConnections()
    asked: asyncio.Queue[str] = asyncio.Queue()
    poller = ConnectionPoller(
        {1: machine}, lambda: {1: {7: FUNCTION}}, holder, lambda _, failure: asked.put_nowait(failure), interval_s=0.02
    )

    def known(bucket: int, after_ns: int) -> int | None:
        return holder.maybe_open(7, bucket, 1, asked_after_ns=after_ns, now_ns=time.monotonic_ns())

    async def until_known(bucket: int, count: int) -> None:
        after_ns = time.monotonic_ns()
        assert known(bucket, after_ns) is None
        async with asyncio.timeout(30):
            while known(bucket, after_ns) != count:
                assert await asked.get() == ""

    task = asyncio.create_task(poller.run())
    try:
        _, writer = await node.connect()
        bucket = client_hash(KEY, HashKeyKind.SRC_PORT, LOOPBACK, port_of(writer), LOOPBACK, node.port, 6) & 255
        await until_known(bucket, 1)
        await until_known(bucket ^ 1, 0)
        writer.transport.abort()
        await until_known(bucket, 0)
    finally:
        task.cancel()
        await asyncio.wait({task})
