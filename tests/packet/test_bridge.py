"""What is not for a VIP goes through an ordinary layer-2 switch, unharmed, each VLAN by itself."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1AD, Dot1Q
from scapy.packet import Packet, Raw

from support.control import Entity
from support.packets import (
    BROADCAST,
    CLIENT,
    FLOOD_GROUP,
    LAYER_2,
    NODE1,
    NODE2,
    SERVER,
    Row,
    entry,
    ethernet,
    flood_group,
    flooded,
    station,
)
from support.targets import CPU_PORT, MTU, PORTS, Target

pytestmark = pytest.mark.root

TEXT = Raw(b"an ordinary frame, as any two stations exchange them")


def frame_to(mac: str, layers: Packet = TEXT, *, src: str = CLIENT.mac, vlan: int | None = None) -> bytes:
    return bytes(ethernet(src, mac, vlan=vlan) / layers)


def forwarded(sentence: str, frame: bytes, *state: Entity, port: int = SERVER.port) -> Row:
    return Row(sentence=sentence, state=(*LAYER_2, *state), frame=frame, out={port: frame})


def flood(
    sentence: str, frame: bytes, *state: Entity, ports: tuple[int, ...] = PORTS, ingress: int = CLIENT.port
) -> Row:
    out = flooded(frame, ingress=ingress, ports=ports)
    return Row(sentence=sentence, state=(*LAYER_2, *state), port=ingress, frame=frame, out=out)


def vlan_group(vlan: int, group: int) -> Entity:
    return entry("flood", "flood_to", {"vlan_id": vlan}, group=group)


TCP_SEGMENT = IP(src="10.0.0.1", dst="10.0.0.4") / TCP(dport=80) / b"GET / HTTP/1.1\r\n\r\n"
UDP_FRAGMENT = IP(src="10.0.0.1", dst="10.0.0.4", frag=185, flags="MF") / bytes(64)

ROWS = [
    forwarded("a known station gets its frame, nobody else", frame_to(SERVER.mac), station(SERVER)),
    forwarded("TCP to a known station is not touched", frame_to(SERVER.mac, TCP_SEGMENT), station(SERVER)),
    forwarded("nor is a fragment", frame_to(SERVER.mac, UDP_FRAGMENT), station(SERVER)),
    forwarded("nor IPv6", frame_to(SERVER.mac, IPv6(dst="2001:db8::1") / UDP()), station(SERVER)),
    forwarded("nor a packet cut short in its TCP header", frame_to(SERVER.mac, TCP_SEGMENT)[:44], station(SERVER)),
    forwarded("nor one cut short in its IP header", frame_to(SERVER.mac, TCP_SEGMENT)[:25], station(SERVER)),
    forwarded("nor a bad IP header checksum", frame_to(SERVER.mac, IP(chksum=1) / TCP()), station(SERVER)),
    forwarded("nor the tag", frame_to(SERVER.mac, vlan=20), station(SERVER, vlan=20)),
    forwarded("a jumbo frame", frame_to(SERVER.mac, Raw(bytes(MTU))), station(SERVER)),
    forwarded("a frame of 15 bytes", frame_to(SERVER.mac, Raw(b"!")), station(SERVER)),
    flood("an unknown station's frame is flooded, not back to where it came from", frame_to(SERVER.mac)),
    flood("from another port likewise", frame_to(SERVER.mac, src=NODE2.mac), ingress=NODE2.port),
    flood("a broadcast is flooded", frame_to(BROADCAST)),
    flood("a multicast is flooded", frame_to("01:00:5e:00:00:fb")),
    flood("a tagged broadcast is flooded with its tag", frame_to(BROADCAST, vlan=20)),
    flood("the controller's broadcast goes to all ports", frame_to(BROADCAST), ingress=CPU_PORT),
    flood(
        "a VLAN with a flood group of its own stays on that group's ports",
        frame_to(BROADCAST, vlan=20),
        vlan_group(20, 20),
        flood_group(1, 2, group=20),
        ports=(1, 2),
    ),
    flood(
        "its group does not concern other VLANs",
        frame_to(BROADCAST, vlan=21),
        vlan_group(20, 20),
        flood_group(1, 2, group=20),
    ),
    flood("a station known in one VLAN is unknown in another", frame_to(SERVER.mac, vlan=20), station(SERVER)),
    flood("and untagged, when it is known in a VLAN", frame_to(SERVER.mac), station(SERVER, vlan=20)),
    forwarded(
        "one MAC in two VLANs may be on two ports",
        frame_to(SERVER.mac, vlan=20),
        station(SERVER),
        station(SERVER, vlan=20, port=NODE1.port),
        port=NODE1.port,
    ),
    flood("a provider tag (802.1ad) is nothing to it", frame_to(SERVER.mac, Dot1AD(vlan=9) / Dot1Q(vlan=20) / TEXT)),
    Row(
        sentence="a frame for a station on its own port is dropped",
        state=(*LAYER_2, station(SERVER, port=CLIENT.port)),
        frame=frame_to(SERVER.mac),
        dropped="SAME_PORT",
    ),
    Row(
        sentence="a group address as source is refused",
        state=(*LAYER_2, station(SERVER)),
        frame=frame_to(SERVER.mac, src="03:00:00:00:00:01"),
        dropped="BAD_SOURCE",
    ),
    Row(
        sentence="broadcast as source, too",
        state=LAYER_2,
        frame=frame_to(BROADCAST, src=BROADCAST),
        dropped="BAD_SOURCE",
    ),
    Row(
        sentence="without a flood group unknown frames go nowhere",
        state=(),
        frame=frame_to(SERVER.mac),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.sentence)
def test_row(target: Target, row: Row) -> None:
    assert row.run(target) == row.expected()


def test_the_flood_group_can_be_changed(target: Target) -> None:
    target.set_state(*LAYER_2)
    frame = frame_to(BROADCAST)
    assert list(target.run(CLIENT.port, frame).frames) == [2, 3, 4]
    target.control.modify(flood_group(1, 4, group=FLOOD_GROUP))
    assert list(target.run(CLIENT.port, frame).frames) == [4]
