"""IPv6 VIPs are scheduled as IPv4 ones are: nothing but the destination MAC changes, or the packet is counted."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.packet import Packet

from pentaflow.hash import HashKeyKind, client_hash
from support.control import Entity
from support.packets import (
    BUCKETS,
    CLIENT,
    HASH_KEY,
    HTTPS,
    LAYER_2,
    NODE1,
    NODE2,
    SCHEDULER,
    VIP,
    VSERVER_ID,
    Row,
    Station,
    admitted,
    bucket,
    slot,
    tcp_to_vip,
    to_vip,
    vserver,
    with_destination,
)
from support.targets import CPU_PORT, MTU, Target

pytestmark = pytest.mark.root

SPORT = 40000
BOTH_VERSIONS = (*SCHEDULER, vserver(address=VIP.address_v6))
ONE_BUCKET = (*LAYER_2, admitted(), vserver(buckets=1, address=VIP.address_v6), bucket(0, 0), slot(0, NODE1))


def ipv6(**fields: object) -> Packet:
    return IPv6(src=CLIENT.address_v6, dst=VIP.address_v6, **fields)


def tcp(*, sport: int = SPORT, dport: int = HTTPS, flags: str = "S") -> Packet:
    return TCP(sport=sport, dport=dport, flags=flags, seq=1000)


def node_of(sport: int) -> Station:
    src, dst = IPv6Address(CLIENT.address_v6), IPv6Address(VIP.address_v6)
    number = client_hash(HASH_KEY, HashKeyKind.SRC_PORT, src, sport, dst, HTTPS, 6) % BUCKETS
    return (NODE1, NODE2)[number % 2]


def hashed(sentence: str, layers: Packet, *, sport: int = SPORT) -> Row:
    node, frame = node_of(sport), to_vip(layers)
    return Row(sentence=sentence, state=BOTH_VERSIONS, frame=frame, out={node.port: with_destination(frame, node.mac)})


def scheduled(sentence: str, frame: bytes, *extra: Entity, port: int = CLIENT.port) -> Row:
    out = {NODE1.port: with_destination(frame, NODE1.mac)}
    return Row(sentence=sentence, state=(*ONE_BUCKET, *extra), port=port, frame=frame, out=out)


def dropped(sentence: str, reason: str, frame: bytes, *, state: tuple[Entity, ...] = ONE_BUCKET) -> Row:
    return Row(sentence=sentence, state=state, frame=frame, dropped=reason)


SYN = to_vip(ipv6() / tcp())
ROWS = [
    hashed("a SYN goes to the node of its bucket", ipv6() / tcp()),
    hashed("data follows it, unchanged", ipv6() / tcp(flags="PA") / bytes(range(256))),
    *(
        hashed(f"port {sport} has its own bucket", ipv6() / tcp(sport=sport), sport=sport)
        for sport in range(40001, 40005)
    ),
    scheduled("hop limit, traffic class and flow label stay", to_vip(ipv6(hlim=1, tc=0xB8, fl=0xABCDE) / tcp())),
    scheduled("a wrong checksum stays wrong", to_vip(ipv6() / TCP(sport=SPORT, dport=HTTPS, chksum=0xDEAD))),
    scheduled("a jumbo frame passes whole", to_vip(ipv6() / tcp(flags="A") / bytes(MTU - 60))),
    scheduled(
        "a UDP vserver",
        to_vip(ipv6() / UDP(sport=SPORT, dport=HTTPS) / b"hello"),
        vserver(protocol=17, buckets=1, address=VIP.address_v6),
    ),
    scheduled("in a VLAN the tag stays", to_vip(ipv6() / tcp(), vlan=20), admitted(vlan=20)),
    scheduled("the controller can submit a client's packet", SYN, port=CPU_PORT),
    dropped("no vserver at this port", "NO_VSERVER", to_vip(ipv6() / tcp(dport=80))),
    dropped("no vserver at this address", "NO_VSERVER", to_vip(IPv6(dst="2001:db8::65") / tcp())),
    dropped("an IPv4 vserver is none for IPv6", "NO_VSERVER", SYN, state=SCHEDULER),
    dropped("nor the other way round", "NO_VSERVER", tcp_to_vip()),
    dropped("ping of the VIP", "NOT_TCP_OR_UDP", to_vip(ipv6() / ICMPv6EchoRequest())),
    dropped("hop-by-hop options", "NOT_TCP_OR_UDP", to_vip(ipv6() / IPv6ExtHdrHopByHop() / tcp())),
    dropped("destination options", "NOT_TCP_OR_UDP", to_vip(ipv6() / IPv6ExtHdrDestOpt() / tcp())),
    dropped("IPv6 that says version 5", "NOT_TCP_OR_UDP", SYN[:14] + b"\x50" + SYN[15:]),
    dropped("a first fragment", "FRAGMENT", to_vip(ipv6() / IPv6ExtHdrFragment(m=1) / tcp())),
    dropped("a later fragment", "FRAGMENT", to_vip(ipv6() / IPv6ExtHdrFragment(offset=100) / bytes(64))),
    dropped("an IPv6 header cut short", "MALFORMED", SYN[: 14 + 30]),
    dropped("a TCP header cut short", "MALFORMED", SYN[: 14 + 40 + 10]),
    dropped(
        "a bucket that has no slot",
        "UNASSIGNED_BUCKET",
        SYN,
        state=(*LAYER_2, admitted(), vserver(buckets=1, address=VIP.address_v6)),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.sentence)
def test_row(target: Target, row: Row) -> None:
    assert row.run(target) == row.expected()


def test_one_vserver_id_may_have_an_address_of_each_version(target: Target) -> None:
    """Both lead to the same buckets: entries of `bucket` know nothing of addresses."""
    target.set_state(*ONE_BUCKET, vserver(buckets=1, vserver_id=VSERVER_ID))
    assert list(target.run(CLIENT.port, SYN).frames) == [NODE1.port]
    assert list(target.run(CLIENT.port, tcp_to_vip()).frames) == [NODE1.port]
