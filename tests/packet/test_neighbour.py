"""Neighbour solicitations for IPv6 VIPs are answered in the data plane, and no other neighbour discovery is."""

from __future__ import annotations

import pytest
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.packet import Packet, Raw

from support.control import Entity
from support.packets import (
    CLIENT,
    LAYER_2,
    SERVER,
    VIP,
    Row,
    admitted,
    answers_nd,
    ethernet,
    flooded,
)
from support.targets import CPU_PORT, Target

pytestmark = pytest.mark.root

ACTIVE = (*LAYER_2, admitted(), answers_nd())
SOLICITED_NODE, SOLICITED_NODE_MAC = "ff02::1:ff00:64", "33:33:ff:00:00:64"
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"
NONCE = Raw(bytes.fromhex("0e01 123456789abc"))
LINK_ADDRESS = ICMPv6NDOptSrcLLAddr(lladdr=CLIENT.mac)


def solicitation(
    *,
    target: str = VIP.address_v6,
    src: str = CLIENT.address_v6,
    dst: str = SOLICITED_NODE,
    dst_mac: str = SOLICITED_NODE_MAC,
    hop_limit: int = 255,
    options: Packet | None = LINK_ADDRESS,
    vlan: int | None = None,
    code: int = 0,
) -> bytes:
    message = ICMPv6ND_NS(tgt=target, code=code)
    layers = IPv6(src=src, dst=dst, hlim=hop_limit) / (message / options if options else message)
    return bytes(ethernet(CLIENT.mac, dst_mac, vlan=vlan) / layers)


def advertisement(
    *,
    dst: str = CLIENT.address_v6,
    dst_mac: str = CLIENT.mac,
    solicited: int = 1,
    address: str = VIP.address_v6,
    mac: str = VIP.mac,
    vlan: int | None = None,
) -> bytes:
    """As RFC 4861, section 4.4, with the checksum that scapy computes."""
    message = ICMPv6ND_NA(R=0, S=solicited, O=1, tgt=address) / ICMPv6NDOptDstLLAddr(lladdr=mac)
    layers = IPv6(src=address, dst=dst, hlim=255) / message
    return bytes(ethernet(mac, dst_mac, vlan=vlan) / layers)


def answered(sentence: str, request: bytes, reply: bytes, *extra: Entity) -> Row:
    return Row(sentence=sentence, state=(*ACTIVE, *extra), frame=request, out={CLIENT.port: reply})


def bridged(sentence: str, frame: bytes, *, state: tuple[Entity, ...] = ACTIVE) -> Row:
    return Row(sentence=sentence, state=state, frame=frame, out=flooded(frame))


TO_ALL = advertisement(dst=ALL_NODES, dst_mac=ALL_NODES_MAC, solicited=0)
OTHER, OTHER_MAC = "2001:db8::65", "02:50:0a:00:00:65"

ROWS = [
    answered("a solicitation for the VIP is answered to who asked", solicitation(), advertisement()),
    answered(
        "a unicast one, too (reachability)",
        solicitation(dst=VIP.address_v6, dst_mac=VIP.mac),
        advertisement(),
    ),
    answered("without an option, too", solicitation(options=None), advertisement()),
    answered(
        "options are not repeated, whatever they are", solicitation(options=LINK_ADDRESS / NONCE), advertisement()
    ),
    answered("a longest list of options", solicitation(options=Raw(bytes([1, 60]) + bytes(478))), advertisement()),
    answered("from a link-local address", solicitation(src="fe80::1"), advertisement(dst="fe80::1")),
    answered(
        "duplicate address detection is told, and with it everybody (RFC 4862)",
        solicitation(src="::", options=None),
        TO_ALL,
    ),
    answered("with a nonce in it, likewise (RFC 7527)", solicitation(src="::", options=NONCE), TO_ALL),
    answered(
        "in a VLAN the answer carries the tag",
        solicitation(vlan=20),
        advertisement(vlan=20),
        answers_nd(vlan=20),
    ),
    answered("padding behind it stays behind the answer", solicitation() + bytes(7), advertisement() + bytes(7)),
    answered(
        "several addresses are answered, each with its own MAC",
        solicitation(target=OTHER),
        advertisement(address=OTHER, mac=OTHER_MAC),
        answers_nd(address=OTHER, mac=OTHER_MAC),
    ),
    bridged("a solicitation in a VLAN without the entry is flooded", solicitation(vlan=21)),
    bridged("a switch that is not active floods it", solicitation(), state=(*LAYER_2, admitted())),
    bridged("a solicitation for somebody else is flooded", solicitation(target="2001:db8::4")),
    bridged("one that a router has passed on (hop limit below 255) is not believed", solicitation(hop_limit=254)),
    bridged("nor one with another code", solicitation(code=1)),
    bridged("one cut short is flooded unharmed", solicitation()[:70]),
    bridged("one whose options are cut short, too", solicitation()[:80]),
    bridged("one with more options than the switch reads", solicitation(options=Raw(bytes([1, 61]) + bytes(486)))),
    bridged(
        "an advertisement is flooded, even one about the VIP", TO_ALL.replace(bytes.fromhex("02500a000064"), b"\2" * 6)
    ),
    bridged(
        "a router solicitation is flooded",
        bytes(ethernet(CLIENT.mac, "33:33:00:00:00:02") / IPv6(dst="ff02::2", hlim=255) / ICMPv6ND_RS()),
    ),
    bridged(
        "ping of another station is flooded like anything else",
        bytes(ethernet(CLIENT.mac, SERVER.mac) / IPv6(dst="2001:db8::4") / ICMPv6EchoRequest(data=b"ping")),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.sentence)
def test_row(target: Target, row: Row) -> None:
    assert row.run(target) == row.expected()


def test_the_answer_to_the_controllers_own_solicitation_is_a_packet_in(target: Target) -> None:
    target.set_state(*ACTIVE)
    outcome = target.run(CPU_PORT, solicitation())
    assert outcome.frames == {}
    assert [packet.payload for packet in outcome.packet_ins] == [advertisement()]
