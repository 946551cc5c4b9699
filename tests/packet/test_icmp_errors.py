"""ICMP errors to a VIP go to the node of the connection that they are about, unchanged [D10]."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.packet import Packet

from pentaflow.hash import HashKeyKind, client_hash
from support.control import Entity
from support.packets import (
    BUCKETS,
    HASH_KEY,
    HTTPS,
    NODE1,
    NODE2,
    SCHEDULER,
    VIP,
    Row,
    Station,
    flooded,
    to_vip,
    vserver,
    with_destination,
)
from support.targets import Target

pytestmark = pytest.mark.root

# The errors come from a router, which is neither the client nor in its bucket.
ROUTER = "198.51.100.1"
ROUTER_V6 = "2001:db8:ffff::1"
CLIENT = "203.0.113.9"
CLIENT_V6 = "2001:db8:9::9"
STATE = (
    *SCHEDULER,
    vserver(address=VIP.address_v6),
    vserver(protocol=17),
    vserver(protocol=17, address=VIP.address_v6),
)


def node_of(client: str, client_port: int, *, protocol: int = 6) -> Station:
    src = ip_address(client)
    dst = IPv4Address(VIP.address) if src.version == 4 else IPv6Address(VIP.address_v6)
    hashed = client_hash(HASH_KEY, HashKeyKind.SRC_PORT, src, client_port, dst, HTTPS, protocol)
    return (NODE1, NODE2)[hashed % BUCKETS % 2]


def port_for(client: str, node: Station, *, protocol: int = 6) -> int:
    """A port from which the client is served by the node."""
    return next(port for port in range(50000, 60000) if node_of(client, port, protocol=protocol) == node)


def error(kind: int, code: int, quoted: Packet, *, nexthopmtu: int = 0) -> bytes:
    return to_vip(IP(src=ROUTER, dst=VIP.address) / ICMP(type=kind, code=code, nexthopmtu=nexthopmtu) / quoted)


def error_v6(message: Packet, quoted: Packet) -> bytes:
    return to_vip(IPv6(src=ROUTER_V6, dst=VIP.address_v6) / message / quoted)


def sent(port: int, **fields: object) -> Packet:
    """What the node sent for the VIP."""
    return IP(src=VIP.address, dst=CLIENT, **fields) / TCP(sport=HTTPS, dport=port, flags="A") / bytes(100)


def sent_v6(port: int) -> Packet:
    return IPv6(src=VIP.address_v6, dst=CLIENT_V6) / TCP(sport=HTTPS, dport=port, flags="A") / bytes(100)


def follows(sentence: str, frame: bytes, node: Station) -> Row:
    return Row(sentence=sentence, state=STATE, frame=frame, out={node.port: with_destination(frame, node.mac)})


def dropped(sentence: str, reason: str, frame: bytes, *, state: tuple[Entity, ...] = STATE) -> Row:
    return Row(sentence=sentence, state=state, frame=frame, dropped=reason)


ON_NODE2 = port_for(CLIENT, NODE2)
ON_NODE2_V6 = port_for(CLIENT_V6, NODE2)
UDP_ON_NODE2 = port_for(CLIENT, NODE2, protocol=17)
UDP_ON_NODE2_V6 = port_for(CLIENT_V6, NODE2, protocol=17)
TOO_BIG = error(3, 4, sent(ON_NODE2), nexthopmtu=1280)
TOO_BIG_V6 = error_v6(ICMPv6PacketTooBig(mtu=1280), sent_v6(ON_NODE2_V6))
INNER = 14 + 20 + 8
INNER_V6 = 14 + 40 + 8

ROWS = [
    follows("fragmentation needed reaches the node that sent too much", TOO_BIG, NODE2),
    *(
        follows(
            f"to both nodes, by the client's port ({node.mac})",
            error(3, 4, sent(port_for(CLIENT, node)), nexthopmtu=1280),
            node,
        )
        for node in (NODE1, NODE2)
    ),
    follows("port unreachable", error(3, 3, sent(ON_NODE2)), NODE2),
    follows("time exceeded", error(11, 0, sent(ON_NODE2)), NODE2),
    follows("parameter problem", error(12, 0, sent(ON_NODE2)), NODE2),
    follows("with no more than eight bytes of the segment quoted", TOO_BIG[: INNER + 20 + 8], NODE2),
    follows("with options in the quoted header", error(3, 4, sent(ON_NODE2, options=[IPOption_Router_Alert()])), NODE2),
    follows("with a first fragment quoted", error(11, 1, sent(ON_NODE2, flags="MF")), NODE2),
    follows(
        "about UDP",
        error(3, 3, IP(src=VIP.address, dst=CLIENT) / UDP(sport=HTTPS, dport=UDP_ON_NODE2) / bytes(8)),
        NODE2,
    ),
    follows("IPv6: packet too big", TOO_BIG_V6, NODE2),
    follows("IPv6: unreachable", error_v6(ICMPv6DestUnreach(), sent_v6(ON_NODE2_V6)), NODE2),
    follows("IPv6: time exceeded", error_v6(ICMPv6TimeExceeded(), sent_v6(ON_NODE2_V6)), NODE2),
    follows("IPv6: parameter problem", error_v6(ICMPv6ParamProblem(), sent_v6(ON_NODE2_V6)), NODE2),
    follows(
        "IPv6: about UDP",
        error_v6(
            ICMPv6DestUnreach(code=4),
            IPv6(src=VIP.address_v6, dst=CLIENT_V6) / UDP(sport=HTTPS, dport=UDP_ON_NODE2_V6) / bytes(8),
        ),
        NODE2,
    ),
    dropped(
        "an error about what no vserver sent",
        "NO_VSERVER",
        error(3, 4, IP(src=VIP.address, dst=CLIENT) / TCP(sport=80, dport=ON_NODE2)),
    ),
    dropped(
        "an error about a packet to the VIP, not from it",
        "NO_VSERVER",
        error(3, 3, IP(src=CLIENT, dst=VIP.address) / TCP(sport=ON_NODE2, dport=HTTPS)),
    ),
    dropped("an error about a later fragment", "NOT_TCP_OR_UDP", error(11, 1, sent(ON_NODE2, frag=100))),
    dropped("an error about ping", "NOT_TCP_OR_UDP", error(3, 1, IP(src=VIP.address, dst=CLIENT) / ICMP() / bytes(8))),
    dropped(
        "IPv6: an error about a fragment",
        "NOT_TCP_OR_UDP",
        error_v6(
            ICMPv6TimeExceeded(),
            IPv6(src=VIP.address_v6, dst=CLIENT_V6) / IPv6ExtHdrFragment(m=1) / TCP(sport=HTTPS, dport=1),
        ),
    ),
    dropped("a redirect is none of these errors", "NOT_TCP_OR_UDP", error(5, 1, sent(ON_NODE2))),
    dropped("an error that is cut short in the quoted header", "MALFORMED", TOO_BIG[: INNER + 10]),
    dropped("in the quoted ports", "MALFORMED", TOO_BIG[: INNER + 20 + 3]),
    dropped("in itself", "MALFORMED", TOO_BIG[: INNER - 2]),
    dropped("IPv6: in the quoted header", "MALFORMED", TOO_BIG_V6[: INNER_V6 + 30]),
    dropped("IPv6: in the quoted ports", "MALFORMED", TOO_BIG_V6[: INNER_V6 + 40 + 3]),
    Row(
        sentence="an error that is not addressed to the VIP's MAC is bridged",
        state=STATE,
        frame=with_destination(TOO_BIG, "02:00:00:00:00:77"),
        out=flooded(with_destination(TOO_BIG, "02:00:00:00:00:77")),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.sentence)
def test_row(target: Target, row: Row) -> None:
    assert row.run(target) == row.expected()
