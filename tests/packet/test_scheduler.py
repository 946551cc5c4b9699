"""Client packets to a VIP: scheduled with nothing but the destination MAC changed, or dropped and counted."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Packet

from support.control import Entity
from support.packets import (
    CLIENT,
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
    ethernet,
    flood_group,
    hash_bucket,
    node_of,
    slot,
    tcp_to_vip,
    to_vip,
    vserver,
    with_destination,
)
from support.targets import CPU_PORT, MTU, Target

pytestmark = pytest.mark.root

SPORT = 40000


def to_vip_ip(**fields: object) -> Packet:
    return IP(src=CLIENT.address, dst=VIP.address, **fields)


TO_VIP = to_vip_ip()
# One bucket that everybody is in, so that rows need not know the hash.
ONE_BUCKET = (*LAYER_2, admitted(), vserver(buckets=1), bucket(0, 0), slot(0, NODE1))
ROUTER_ALERT = b"\x94\x04\x00\x00"


def scheduled(sentence: str, frame: bytes, *extra: Entity, port: int = CLIENT.port, node: Station = NODE1) -> Row:
    state = (*ONE_BUCKET, *extra)
    return Row(
        sentence=sentence, state=state, port=port, frame=frame, out={node.port: with_destination(frame, node.mac)}
    )


def with_addresses(frame: bytes, destination: str, source: str) -> bytes:
    return bytes.fromhex((destination + source).replace(":", "")) + frame[12:]


def hashed(sentence: str, frame: bytes, *, sport: int = SPORT) -> Row:
    node = node_of(sport)
    return Row(sentence=sentence, state=SCHEDULER, frame=frame, out={node.port: with_destination(frame, node.mac)})


SCHEDULED = [
    hashed("a SYN goes to the node of its bucket", tcp_to_vip(sport=SPORT)),
    hashed("data follows it, unchanged", tcp_to_vip(sport=SPORT, flags="PA", payload=bytes(range(256)))),
    hashed("a FIN follows it", tcp_to_vip(sport=SPORT, flags="FA")),
    hashed("another port's bucket has its own node", tcp_to_vip(sport=40001), sport=40001),
    hashed("and another's", tcp_to_vip(sport=40002), sport=40002),
    scheduled("the TTL stays, even 1: it is a layer-2 scheduler", tcp_to_vip(ttl=1)),
    scheduled("TTL 0 is not the scheduler's business either", tcp_to_vip(ttl=0)),
    scheduled(
        "TCP options and flags stay",
        to_vip(TO_VIP / TCP(sport=SPORT, dport=HTTPS, flags="SEC", options=[("MSS", 1460), ("WScale", 7)])),
    ),
    scheduled("a wrong checksum stays wrong", to_vip(TO_VIP / TCP(sport=SPORT, dport=HTTPS, chksum=0xDEAD))),
    scheduled("DSCP and identification stay", to_vip(to_vip_ip(tos=0xB8, id=7) / TCP(dport=HTTPS))),
    scheduled("don't-fragment is no fragment", to_vip(to_vip_ip(flags="DF") / TCP(dport=HTTPS))),
    scheduled(
        "IP options are skipped and kept",
        to_vip(to_vip_ip(ihl=6) / TCP(sport=SPORT, dport=HTTPS))[:34]
        + ROUTER_ALERT
        + bytes(TO_VIP / TCP(sport=SPORT, dport=HTTPS))[20:],
    ),
    scheduled(
        "forty bytes of IP options are, too",
        to_vip(to_vip_ip(ihl=15) / TCP(sport=SPORT, dport=HTTPS))[:34]
        + bytes([1] * 39 + [0])
        + bytes(TO_VIP / TCP(sport=SPORT, dport=HTTPS))[20:],
    ),
    scheduled("padding behind a short packet stays", tcp_to_vip() + bytes(6)),
    scheduled("a jumbo frame passes whole", tcp_to_vip(flags="A", payload=bytes(MTU - 40))),
    scheduled(
        "a UDP vserver",
        to_vip(TO_VIP / UDP(sport=SPORT, dport=HTTPS) / b"hello"),
        vserver(protocol=17, buckets=1),
    ),
    scheduled(
        "a VIP in a VLAN: the tag stays, with its priority",
        tcp_to_vip(vlan=20),
        admitted(vlan=20),
    ),
    scheduled(
        "a priority tag (VLAN 0) is the untagged network",
        tcp_to_vip(vlan=0),
    ),
    scheduled("the controller can submit a client's packet", tcp_to_vip(), port=CPU_PORT),
    Row(
        sentence="a node on the client's own port is reached (one-armed), from the VIP: the client is not there",
        state=ONE_BUCKET,
        port=NODE1.port,
        frame=tcp_to_vip(),
        out={NODE1.port: with_addresses(tcp_to_vip(), NODE1.mac, VIP.mac)},
    ),
    Row(
        sentence="a standby does not schedule what a LAN switch floods to it, and sends nothing back to the LAN",
        state=(flood_group(CLIENT.port), vserver(buckets=1), bucket(0, 0), slot(0, NODE1)),
        frame=tcp_to_vip(),
    ),
]


def dropped(sentence: str, reason: str, frame: bytes, *, state: tuple[Entity, ...] = ONE_BUCKET) -> Row:
    return Row(sentence=sentence, state=state, frame=frame, dropped=reason)


def fragment(*, offset: int, more: bool) -> bytes:
    ip = to_vip_ip(frag=offset, flags="MF" if more else 0)
    return to_vip(ip / TCP(sport=SPORT, dport=HTTPS, flags="A") / bytes(64))


def without(*tables: str) -> tuple[Entity, ...]:
    return tuple(entity for entity in ONE_BUCKET if getattr(entity, "table_id", "") not in tables)


SYN = tcp_to_vip()
DROPPED = [
    dropped("no vserver at this port", "NO_VSERVER", tcp_to_vip(dport=80)),
    dropped("no vserver of this protocol", "NO_VSERVER", to_vip(TO_VIP / UDP(sport=SPORT, dport=HTTPS))),
    dropped(
        "no vserver at this address", "NO_VSERVER", to_vip(IP(src=CLIENT.address, dst="10.0.0.101") / TCP(dport=HTTPS))
    ),
    dropped("no vserver at all", "NO_VSERVER", SYN, state=without("vserver")),
    dropped("ping of the VIP", "NOT_TCP_OR_UDP", to_vip(TO_VIP / ICMP())),
    dropped("another IP protocol", "NOT_TCP_OR_UDP", to_vip(to_vip_ip(proto=47) / bytes(8))),
    dropped("a frame that is no IP", "NOT_TCP_OR_UDP", bytes(ethernet(CLIENT.mac, VIP.mac)) + bytes(46)),
    dropped("IPv4 that says version 5", "NOT_TCP_OR_UDP", SYN[:14] + b"\x55" + SYN[15:]),
    dropped("a header length below 20 bytes", "NOT_TCP_OR_UDP", SYN[:14] + b"\x44" + SYN[15:]),
    dropped("a first fragment, though it shows its ports", "FRAGMENT", fragment(offset=0, more=True)),
    dropped("a middle fragment", "FRAGMENT", fragment(offset=100, more=True)),
    dropped("a last fragment", "FRAGMENT", fragment(offset=100, more=False)),
    dropped("a TCP header cut short", "MALFORMED", SYN[: 14 + 20 + 10]),
    dropped("a UDP header cut short", "MALFORMED", to_vip(TO_VIP / UDP(dport=HTTPS))[: 14 + 20 + 4]),
    dropped("an IP header cut short", "MALFORMED", SYN[: 14 + 10]),
    dropped("IP options cut short", "MALFORMED", SYN[:14] + b"\x4f" + SYN[15:34] + bytes(10)),
    dropped("a bucket that has no slot", "UNASSIGNED_BUCKET", SYN, state=without("bucket")),
    dropped("a slot that has no node", "UNASSIGNED_SLOT", SYN, state=without("slot")),
]


@pytest.mark.parametrize("row", SCHEDULED + DROPPED, ids=lambda row: row.sentence)
def test_row(target: Target, row: Row) -> None:
    assert row.run(target) == row.expected()


def test_the_vip_is_scheduled_only_in_the_vlans_where_it_is_admitted(target: Target) -> None:
    frame = tcp_to_vip(vlan=21)
    target.set_state(*ONE_BUCKET, admitted(vlan=20))
    outcome = target.run(CLIENT.port, frame)
    assert outcome.frames == {port: [frame] for port in (2, 3, 4)}, "bridged like any unknown address"


def test_bucket_and_slot_count_packets_and_octets(target: Target) -> None:
    target.set_state(*SCHEDULER)
    sent: dict[int, list[int]] = {}
    for sport, count in ((40000, 3), (40001, 1), (40002, 2)):
        for size in range(count):
            frame = tcp_to_vip(sport=sport, flags="A", payload=bytes(100 * size))
            sent.setdefault(hash_bucket(sport), []).append(len(frame))
            target.run(CLIENT.port, frame)

    assert target.direct_counters("bucket") == {number: (len(sizes), sum(sizes)) for number, sizes in sent.items()}
    slots: dict[int, list[int]] = {}
    for number, sizes in sent.items():
        slots.setdefault(number % 2, []).extend(sizes)
    assert target.direct_counters("slot") == {number: (len(sizes), sum(sizes)) for number, sizes in slots.items()}


def test_a_dropped_packet_is_not_counted_as_a_hit(target: Target) -> None:
    target.set_state(*ONE_BUCKET)
    target.run(CLIENT.port, tcp_to_vip(dport=80))
    assert target.direct_counters("bucket") == {}
    assert target.direct_counters("slot") == {}


def test_repointing_a_slot_moves_its_traffic_at_once(target: Target) -> None:
    target.set_state(*ONE_BUCKET)
    assert list(target.run(CLIENT.port, SYN).frames) == [NODE1.port]
    target.control.modify(slot(0, NODE2))
    assert target.run(CLIENT.port, SYN).frames == {NODE2.port: [with_destination(SYN, NODE2.mac)]}


def test_vservers_of_one_vip_do_not_share_buckets(target: Target) -> None:
    """Another port's vserver has an id of its own, so the same bucket number is another entry."""
    other = vserver(buckets=1, port=8443, vserver_id=VSERVER_ID + 1)
    target.set_state(*ONE_BUCKET, other)
    assert list(target.run(CLIENT.port, SYN).frames) == [NODE1.port]
    assert target.run(CLIENT.port, tcp_to_vip(dport=8443)).frames == {}
