"""Mass failure, withdrawal and flapping: the controller, the real softswitch, and nodes that are only virtual."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from typing import Any

import httpx
import pytest

from controller.addresses import vip_mac
from softswitch import switch as softswitch
from support.array_rest import address_of, all_up, events, get, has_event, make_configuration, serving
from support.virtual_array import (
    Behaviour,
    VirtualArray,
    eventually,
    running_controller,
    running_switch,
    status_server,
)

VIP = IPv4Address("10.0.0.100")
CLIENT_PORT = 1
CLIENT_MAC = bytes.fromhex("020000000001")
CLIENT = IPv4Address("10.0.0.1")


@asynccontextmanager
async def running(
    monkeypatch: pytest.MonkeyPatch, **health: Any
) -> AsyncIterator[tuple[VirtualArray, httpx.AsyncClient]]:
    """A whole array with all nodes up."""
    configuration = make_configuration(health=health)
    array = VirtualArray(configuration)
    monkeypatch.setattr(softswitch, "Ports", array.ports)
    async with (
        status_server(configuration.nodes[0].management),
        running_switch(address_of(configuration)),
        running_controller(configuration) as client,
    ):
        await all_up(client)
        yield array, client


def everybody(array: VirtualArray, how: Behaviour) -> None:
    array.behaviour = dict.fromkeys(array.behaviour, how)


def answers_arp(array: VirtualArray) -> bool:
    """Whether the switch answers a client's ARP request for the VIP (RFC 826)."""
    request = b"\x00\x01\x08\x00\x06\x04\x00\x01" + CLIENT_MAC + CLIENT.packed + bytes(6) + VIP.packed
    mac = vip_mac(VIP).to_bytes(6, "big")
    reply = b"\x00\x01\x08\x00\x06\x04\x00\x02" + mac + VIP.packed + CLIENT_MAC + CLIENT.packed
    array.sent.clear()
    array.inject(CLIENT_PORT, b"\xff" * 6 + CLIENT_MAC + b"\x08\x06" + request + bytes(18))
    return any(port == CLIENT_PORT and frame[14:42] == reply for port, frame in array.sent)


async def test_a_mass_failure_keeps_the_map_until_nodes_return(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, guard={"hold_s": None}) as (array, client):
        before = await serving(client)
        everybody(array, Behaviour.SILENT)
        await has_event(client, "node_down", 3)
        (held,) = await has_event(client, "failover_held")
        assert "nodes failed within 2 s" in held["reason"]
        assert "mass_failure" in [alarm["alarm"] for alarm in await events(client, "alarm_raised")]

        async def is_as_before() -> bool:
            return await serving(client) == before

        await eventually(is_as_before, "the map as it was")
        assert answers_arp(array), "the guard withdraws no VIP"
        array.behaviour["n1"] = array.behaviour["n2"] = Behaviour.ANSWERS
        (released,) = await has_event(client, "failover_released")
        assert released["reason"] == "nodes are back"

        async def is_without_n3() -> bool:
            return set(await serving(client)) == {"n1", "n2"}

        await eventually(is_without_n3, "the one that is lost failed over")
        assert "mass_failure" in [alarm["alarm"] for alarm in await events(client, "alarm_cleared")]


async def test_a_loss_that_lasts_is_failed_over_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, guard={"hold_s": 0.5}) as (array, client):
        array.behaviour |= {"n1": Behaviour.REFUSES, "n2": Behaviour.SILENT}
        (released,) = await has_event(client, "failover_released")
        assert released["reason"] == "held for 0.5 s"

        async def is_on_n3() -> bool:
            return set(await serving(client)) == {"n3"}

        await eventually(is_on_n3, "the survivor serving everything")


async def test_a_vip_without_nodes_is_not_answered_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, guard={"share": 1}) as (array, client):
        assert answers_arp(array)
        everybody(array, Behaviour.SILENT)
        assert await has_event(client, "vips_withdrawn") == [{"vips": str(VIP)}]

        async def is_gone() -> bool:
            return not answers_arp(array)

        await eventually(is_gone, "ARP for the VIP unanswered")
        array.behaviour["n2"] = Behaviour.ANSWERS
        await has_event(client, "vips_announced")

        async def is_back() -> bool:
            return answers_arp(array)

        await eventually(is_back, "ARP for the VIP answered again")
        assert set(await serving(client)) == {"n2"}


async def test_a_flapping_node_is_held_down(monkeypatch: pytest.MonkeyPatch) -> None:
    damping = {"suppress": 1.5, "reuse": 1.0, "half_life_s": 4}
    async with running(monkeypatch, damping=damping, guard={"share": 1}) as (array, client):
        for count in (1, 2):
            array.behaviour["n1"] = Behaviour.REFUSES
            await has_event(client, "node_down", count)
            array.behaviour["n1"] = Behaviour.ANSWERS
            await has_event(client, "node_up" if count == 1 else "node_held_down", 4 if count == 1 else 1)
        node = await get(client, "/nodes/n1")
        assert (node["health"], node["reason"]) == ("down", "answers, but is held down for flapping")
        assert "n1" not in await serving(client)
        await has_event(client, "node_up", 5)
