"""Ticket keys on real nodes [P4]: rotations cost no resumption, and keys are nowhere but in memory."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from support.resumption import Resumptions, come_again, resuming_load
from support.tlsnode import RunningNode, node_document, running_node, scripted_server


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that says hello to every request."""
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


async def key_names(node: RunningNode, vserver: str = "web") -> list[str]:
    names: list[str] = (await node.status())["ticket_keys"]["names"][vserver]
    return names


async def until_rotated(node: RunningNode, load: Resumptions, times: int) -> None:
    """Wait until so many keys have been active, and clients have come with each."""
    active: list[str] = []
    async with asyncio.timeout(60):
        while len(active) <= times:
            first, *_ = await key_names(node)
            if first not in active:
                active.append(first)
                await come_again(load, 8)
            await asyncio.sleep(0.05)


async def test_a_node_without_a_controller_rotates_keys_of_its_own_and_no_resumption_is_lost(tmp_path: Path) -> None:
    async with scripted_server(hello) as port:
        document = node_document(tmp_path, [("w1", "127.0.0.1", port)])
        document["vservers"][0]["persistence"]["ticket_keys"] = {"rotate_s": 1}
        other: dict[str, Any] = document["vservers"][0] | {"name": "other", "id": 2, "vip": "127.0.0.2"}
        document["vservers"].append(other)
        async with running_node(document, tmp_path, workers=2) as node, resuming_load([node.port]) as load:
            await until_rotated(node, load, 3)
            assert not set(await key_names(node)) & set(await key_names(node, "other"))
    assert load.failures == []
    assert load.full == 0
    assert load.resumed > 30
