"""IPv4 and IPv6 vservers side by side: the controller, the real softswitch, and nodes that are only virtual."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv6Address

import httpx
import pytest
import yaml
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import Ether

from controller.addresses import probe_mac, vip_mac
from controller.entries import Kind
from pentaflow.config import HostPort, format_mac
from pentaflow.hash import HashKeyKind, client_hash
from softswitch import switch as softswitch
from support.array_rest import address_of, all_up, events, get, has_event, make_configuration
from support.ports import free_port
from support.virtual_array import (
    Behaviour,
    VirtualArray,
    eventually,
    read_back,
    running_controller,
    running_switch,
    status_server,
)

VIP, PROBE = IPv6Address("2001:db8::100"), IPv6Address("2001:db8::fe01")
CLIENT, CLIENT_MAC, CLIENT_PORT = IPv6Address("2001:db8::1"), "02:00:00:00:00:01", 1
HASH_KEY = "0011223344556677"


@asynccontextmanager
async def running(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[VirtualArray, httpx.AsyncClient]]:
    """A whole array with all nodes up."""
    configuration = make_configuration(ipv6=True, hash_key=HASH_KEY, health={"guard": {"share": 1}})
    array = VirtualArray(configuration)
    monkeypatch.setattr(softswitch, "Ports", array.ports)
    async with (
        status_server(configuration.nodes[0].management),
        running_switch(address_of(configuration)),
        running_controller(configuration) as client,
    ):
        await all_up(client)
        yield array, client


def advertised(array: VirtualArray, target: IPv6Address) -> str:
    """The MAC that the switch answers a client's neighbour solicitation for `target` with; empty: none."""
    solicitation = (
        Ether(src=CLIENT_MAC) / IPv6(src=str(CLIENT), dst=str(target), hlim=255) / ICMPv6ND_NS(tgt=str(target))
    )
    array.sent.clear()
    array.inject(CLIENT_PORT, bytes(solicitation))
    for port, frame in array.sent:
        packet = Ether(frame)
        if port == CLIENT_PORT and ICMPv6ND_NA in packet and packet[ICMPv6ND_NA].tgt == str(target):
            return str(packet.lladdr)
    return ""


async def test_a_vip_and_a_probe_address_are_answered_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as (array, client):
        assert advertised(array, VIP) == format_mac(vip_mac(VIP))
        assert advertised(array, PROBE) == format_mac(probe_mac(PROBE))

        async def all_reset() -> bool:
            return all(array.resets.values())

        await eventually(all_reset, "probes of every node that were answered and reset")
        (switch,) = await get(client, "/switches")
        assert switch["active_for"] == ["10.0.0.100", "2001:db8::100"]


async def test_a_vip_is_announced_to_all_nodes_of_the_lan(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as (array, _):

        async def announced() -> bool:
            packets = [Ether(frame) for _, frame in array.sent]
            return any(
                packet.dst == "33:33:00:00:00:01" and packet.src == format_mac(vip_mac(VIP)) and ICMPv6ND_NA in packet
                for packet in packets
            )

        await eventually(announced, "an unsolicited neighbour advertisement")


async def test_a_vip_without_nodes_is_not_answered_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as (array, client):
        array.behaviour = dict.fromkeys(array.behaviour, Behaviour.SILENT)
        assert await has_event(client, "vips_withdrawn") == [{"vips": "10.0.0.100, 2001:db8::100"}]

        async def is_gone() -> bool:
            return not advertised(array, VIP)

        await eventually(is_gone, "solicitations for the VIP unanswered")
        assert advertised(array, PROBE), "nodes still find the way to the probes"
        array.behaviour["n2"] = Behaviour.ANSWERS

        async def is_back() -> bool:
            return bool(advertised(array, VIP))

        await eventually(is_back, "solicitations answered again")


async def test_clients_are_explained_and_the_api_shows_the_vip(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as (_, client):
        why = await get(client, "/explain?vserver=web6&client=[2001:DB8::7]:4711")
        source = IPv6Address("2001:db8::7")
        digest = client_hash(int(HASH_KEY, 16), HashKeyKind.SRC_PORT, source, 4711, VIP, 443, 6)
        assert why["bucket"] == digest & 4095
        assert why["reasons"][0].startswith("the src_port hash of [2001:db8::7]:4711 is bucket ")
        vserver = await get(client, "/vservers/web6")
        assert (vserver["vip"], vserver["active_switch"]) == ("2001:db8::100", "s1")
        for vserver_name, address, vip in (("web6", "10.0.0.7", VIP), ("web", "[2001:db8::7]", "10.0.0.100")):
            refused = await client.get(f"/explain?vserver={vserver_name}&client={address}:1")
            assert refused.status_code == 422
            assert refused.json()["detail"].endswith(f"address, and the VIP is {vip}")
        metrics = (await client.get("/metrics")).text
        assert 'pentaflow_controller_vip_active{switch="s1",vip="2001:db8::100"} 1.0' in metrics
        assert [event["vip"] for event in await events(client, "vip_moved")] == ["10.0.0.100", "2001:db8::100"]


async def test_another_controller_finds_everything_as_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as (array, _):
        before = await read_back(address_of(array.configuration))
        kinds = Counter(key.kind for key in before)
        assert (kinds[Kind.VSERVER], kinds[Kind.VSERVER_V6], kinds[Kind.ARP], kinds[Kind.ND]) == (1, 1, 2, 2)
        rest = HostPort(host="127.0.0.1", port=free_port())
        settings = array.configuration.controller.model_copy(update={"rest": rest})
        second = array.configuration.model_copy(update={"controller": settings})
        async with running_controller(second) as client:
            assert (await has_event(client, "switch_reconciled"))[0]["updates"] == 0
            moved = await has_event(client, "vip_moved", 2)
            assert {(event["vip"], event["reason"]) for event in moved} == {
                ("10.0.0.100", "it held the VIP already"),
                ("2001:db8::100", "it held the VIP already"),
            }
            assert await read_back(address_of(array.configuration)) == before


async def test_a_vserver_is_made_while_the_array_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as (array, client):
        text = (await client.get("/configuration")).text
        other = yaml.safe_load(text)["vservers"][1] | {"name": "mail", "id": 3, "vip": "2001:DB8:0::101"}
        made = await client.put("/vservers/mail", json=other, headers={"If-Match": "*"})
        assert made.status_code == 200, made.text
        target = IPv6Address("2001:db8::101")

        async def is_answered_for() -> bool:
            return advertised(array, target) == format_mac(vip_mac(target))

        await eventually(is_answered_for, "solicitations for the new VIP answered")
        again = await client.put("/vservers/shop", json=other | {"name": "shop", "id": 4}, headers={"If-Match": "*"})
        assert again.status_code == 422
        assert "[2001:db8::101]:443/tcp is used twice" in again.json()["detail"]
