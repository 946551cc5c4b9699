"""ARP for VIPs is answered in the data plane, in the VLANs that have an entry, and no other ARP is."""

from __future__ import annotations

import pytest
from scapy.layers.l2 import ARP

from support.control import Entity
from support.packets import (
    BROADCAST,
    CLIENT,
    LAYER_2,
    NODE1,
    SERVER,
    VIP,
    Row,
    admitted,
    answers_arp,
    arp_reply,
    arp_request,
    ethernet,
    flooded,
    station,
)
from support.targets import CPU_PORT, Target

pytestmark = pytest.mark.root

ACTIVE = (*LAYER_2, admitted(), answers_arp())


def answered(sentence: str, request: bytes, reply: bytes, *extra: Entity) -> Row:
    return Row(sentence=sentence, state=(*ACTIVE, *extra), frame=request, out={CLIENT.port: reply})


def bridged(sentence: str, frame: bytes, *, state: tuple[Entity, ...] = ACTIVE) -> Row:
    return Row(sentence=sentence, state=state, frame=frame, out=flooded(frame))


VIP_REPLY = arp_reply(VIP.mac, VIP.address, CLIENT)
WHO_HAS_VIP = arp_request(CLIENT, VIP.address)

ROWS = [
    answered("a request for the VIP is answered to who asked", arp_request(CLIENT, VIP.address), VIP_REPLY),
    answered(
        "a unicast one, too (cache refresh)",
        arp_request(CLIENT, VIP.address, dst=VIP.mac),
        VIP_REPLY,
    ),
    answered(
        "in a VLAN the answer carries the tag, with its priority",
        arp_request(CLIENT, VIP.address, vlan=20),
        arp_reply(VIP.mac, VIP.address, CLIENT, vlan=20),
        answers_arp(vlan=20),
    ),
    answered(
        "a probe for the VIP is answered: the address is taken (RFC 5227)",
        arp_request(CLIENT, VIP.address, sender="0.0.0.0"),
        arp_reply(VIP.mac, VIP.address, CLIENT, sender="0.0.0.0"),
    ),
    answered(
        "an announcement of the VIP by somebody else is answered in the same way",
        arp_request(CLIENT, VIP.address, sender=VIP.address),
        arp_reply(VIP.mac, VIP.address, CLIENT, sender=VIP.address),
    ),
    answered(
        "padding behind the request stays behind the answer",
        arp_request(CLIENT, VIP.address) + bytes(18),
        VIP_REPLY + bytes(18),
    ),
    answered(
        "several addresses are answered, each with its own MAC",
        arp_request(CLIENT, "10.0.0.101"),
        arp_reply("02:50:0a:00:00:65", "10.0.0.101", CLIENT),
        answers_arp(address="10.0.0.101", mac="02:50:0a:00:00:65"),
    ),
    bridged("a request in a VLAN without the entry is flooded", arp_request(CLIENT, VIP.address, vlan=21)),
    bridged(
        "a switch that is not active floods it",
        arp_request(CLIENT, VIP.address),
        state=(*LAYER_2, admitted()),
    ),
    bridged("a request for somebody else is flooded", arp_request(CLIENT, SERVER.address)),
    bridged("a gratuitous request is flooded", arp_request(CLIENT, CLIENT.address)),
    bridged(
        "a broadcast reply is flooded, even one about the VIP",
        bytes(ethernet(CLIENT.mac, BROADCAST) / ARP(op="is-at", hwsrc=CLIENT.mac, psrc=VIP.address, pdst=VIP.address)),
    ),
    Row(
        sentence="a reply to a station goes to it",
        state=(*ACTIVE, station(NODE1)),
        frame=arp_reply(CLIENT.mac, CLIENT.address, NODE1),
        out={NODE1.port: arp_reply(CLIENT.mac, CLIENT.address, NODE1)},
    ),
    Row(
        sentence="a reply to the VIP's own MAC is no client's packet",
        state=ACTIVE,
        frame=arp_reply(CLIENT.mac, CLIENT.address, VIP),
        dropped="NOT_TCP_OR_UDP",
    ),
    bridged("a request cut short is flooded unharmed", arp_request(CLIENT, VIP.address)[:30]),
    bridged("a request of another hardware type is flooded", WHO_HAS_VIP[:14] + b"\x00\x06" + WHO_HAS_VIP[16:]),
    bridged("a request for another protocol's address is flooded", WHO_HAS_VIP[:16] + b"\x86\xdd" + WHO_HAS_VIP[18:]),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.sentence)
def test_row(target: Target, row: Row) -> None:
    assert row.run(target) == row.expected()


def test_the_answer_to_the_controllers_own_request_is_a_packet_in(target: Target) -> None:
    target.set_state(*ACTIVE)
    outcome = target.run(CPU_PORT, arp_request(CLIENT, VIP.address))
    assert outcome.frames == {}
    assert [packet.payload for packet in outcome.packet_ins] == [VIP_REPLY]
