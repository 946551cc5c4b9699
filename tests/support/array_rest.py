"""A virtual array of three nodes, and what its controller says by REST."""

from __future__ import annotations

from typing import Any

import httpx

from pentaflow.config import Configuration
from support.configurations import small_document, with_ipv6
from support.ports import free_port
from support.virtual_array import eventually

SLOTS_PER_NODE = 16


def make_configuration(*, health: dict[str, Any] | None = None, ipv6: bool = False, **vserver: Any) -> Configuration:
    document = small_document()
    document["controller"] = {
        "rest": f"127.0.0.1:{free_port()}",
        "health": {"interval_ms": 50, "timeout_ms": 200, "rise": 2, "fall": 3} | (health or {}),
    }
    document["switches"][0] |= {"grpc": f"127.0.0.1:{free_port()}", "ports": [1, 2, 3, 4]}
    document["nodes"].append({"name": "n3", "id": 3, "mac": "02:00:00:00:01:03", "ports": {"s1": 4}})
    management = free_port()
    for node in document["nodes"]:
        node["management"] = f"127.0.0.1:{management}"
    document["vservers"][0] |= vserver
    return Configuration.model_validate(with_ipv6(document) if ipv6 else document)


def address_of(configuration: Configuration) -> str:
    return str(configuration.switches[0].grpc)


async def get(client: httpx.AsyncClient, path: str) -> Any:
    response = await client.get(path)
    return response.json()


async def events(client: httpx.AsyncClient, kind: str) -> list[dict[str, Any]]:
    return [event["details"] for event in await get(client, "/events") if event["kind"] == kind]


async def all_up(client: httpx.AsyncClient) -> None:
    async def condition() -> bool:
        health = await get(client, "/health")
        return health["ready"] and set(health["nodes"].values()) == {"up"}

    await eventually(condition, "all nodes up")


async def has_event(client: httpx.AsyncClient, kind: str, count: int = 1) -> list[dict[str, Any]]:
    async def condition() -> bool:
        return len(await events(client, kind)) >= count

    await eventually(condition, f"{count} events {kind}")
    return await events(client, kind)


async def serving(client: httpx.AsyncClient) -> list[str]:
    view = await get(client, "/vservers/web/buckets")
    return [view["slot_nodes"][str(slot)] for slot in view["slots"]]
