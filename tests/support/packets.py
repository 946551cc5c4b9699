"""The little network that packet tests play on: stations, frames built with scapy, and table state in its terms."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

import finsy as fy
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

from pentaflow.hash import HashKeyKind, client_hash
from support.control import Entity
from support.targets import PORTS, REPOSITORY, Outcome, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A machine on a port of the switch."""

    port: int
    mac: str
    address: str
    address_v6: str = ""


CLIENT = Station(port=1, mac="02:00:00:00:00:01", address="10.0.0.1", address_v6="2001:db8::1")
NODE1 = Station(port=2, mac="02:00:00:00:00:02", address="10.0.0.2")
NODE2 = Station(port=3, mac="02:00:00:00:00:03", address="10.0.0.3")
SERVER = Station(port=4, mac="02:00:00:00:00:04", address="10.0.0.4")
VIP = Station(port=0, mac="02:50:0a:00:00:64", address="10.0.0.100", address_v6="2001:db8::64")
BROADCAST = "ff:ff:ff:ff:ff:ff"

HTTPS = 443
VSERVER_ID = 7
BUCKETS = 256
HASH_KEY = 0x0706_0504_0302_0100
FLOOD_GROUP = 1


def drop_reasons() -> dict[str, int]:
    """Names of the drop reasons, without DROP_, and their index in the counter `drops`."""
    text = (REPOSITORY / "p4/ids.p4").read_text()
    return {name: int(value) for name, value in re.findall(r"DROP_(\w+)\s*=\s*(\d+);", text)}


# Frames.


def ethernet(src: str, dst: str, *, vlan: int | None = None) -> Packet:
    head = Ether(src=src, dst=dst)
    return head if vlan is None else head / Dot1Q(vlan=vlan, prio=5)


def to_vip(layers: Packet, *, src: Station = CLIENT, vlan: int | None = None) -> bytes:
    """A frame from a station to the VIP's MAC."""
    return bytes(ethernet(src.mac, VIP.mac, vlan=vlan) / layers)


def tcp_to_vip(
    *,
    sport: int = 40000,
    dport: int = HTTPS,
    flags: str = "S",
    payload: bytes = b"",
    vlan: int | None = None,
    ttl: int = 64,
) -> bytes:
    """A client's TCP segment to the VIP."""
    ip = IP(src=CLIENT.address, dst=VIP.address, ttl=ttl)
    return to_vip(ip / TCP(sport=sport, dport=dport, flags=flags, seq=1000) / payload, vlan=vlan)


def arp_request(
    src: Station, target: str, *, dst: str = BROADCAST, sender: str | None = None, vlan: int | None = None
) -> bytes:
    """Who has `target`? `sender` is the address in it, the station's own unless given."""
    body = ARP(op="who-has", hwsrc=src.mac, psrc=sender or src.address, hwdst="00:00:00:00:00:00", pdst=target)
    return bytes(ethernet(src.mac, dst, vlan=vlan) / body)


def arp_reply(src_mac: str, address: str, to: Station, *, sender: str | None = None, vlan: int | None = None) -> bytes:
    """`address` is at `src_mac`, said to a station."""
    body = ARP(op="is-at", hwsrc=src_mac, psrc=address, hwdst=to.mac, pdst=sender or to.address)
    return bytes(ethernet(src_mac, to.mac, vlan=vlan) / body)


def with_destination(frame: bytes, mac: str) -> bytes:
    """The frame with another destination MAC: all that scheduling may change."""
    return bytes.fromhex(mac.replace(":", "")) + frame[6:]


# Table state.


def entry(table: str, action: str, match: Mapping[str, object], **params: object) -> fy.P4TableEntry:
    return fy.P4TableEntry(table, match=fy.Match(**match), action=fy.Action(action, **params))


def admitted(*, vlan: int = 0) -> Entity:
    return entry("admit", "admit_to_scheduler", {"vlan_id": vlan, "dst_mac": VIP.mac})


def vserver(
    *,
    vserver_id: int = VSERVER_ID,
    protocol: int = 6,
    port: int = HTTPS,
    kind: HashKeyKind = HashKeyKind.SRC_PORT,
    key: int = HASH_KEY,
    buckets: int = BUCKETS,
    address: str = VIP.address,
    packet_in_limit: int = 0,
) -> Entity:
    return entry(
        "vserver" if isinstance(ip_address(address), IPv4Address) else "vserver_v6",
        "set_vserver",
        {"dst_addr": address, "protocol": protocol, "dst_port": port},
        vserver_id=vserver_id,
        bucket_mask=buckets - 1,
        hash_key_kind=int(kind),
        hash_key=key,
        packet_in_limit=packet_in_limit,
    )


def bucket(number: int, slot: int) -> Entity:
    return entry("bucket", "set_slot", {"vserver_id": VSERVER_ID, "bucket": number}, slot=slot)


def slot(number: int, node: Station) -> Entity:
    match = {"slot": number}
    return entry("slot", "set_node", match, node_id=node.port, node_mac=node.mac, port=node.port)


def answers_arp(*, address: str = VIP.address, mac: str = VIP.mac, vlan: int = 0) -> Entity:
    return entry("arp", "arp_reply", {"vlan_id": vlan, "target_addr": address}, mac=mac)


def answers_nd(*, address: str = VIP.address_v6, mac: str = VIP.mac, vlan: int = 0) -> Entity:
    return entry("nd", "nd_reply", {"vlan_id": vlan, "target_addr": int(IPv6Address(address))}, mac=mac)


def station(who: Station, *, vlan: int = 0, port: int | None = None) -> Entity:
    return entry("dmac", "forward", {"vlan_id": vlan, "dst_mac": who.mac}, port=port or who.port)


def known(who: Station, *, vlan: int = 0, port: int | None = None) -> Entity:
    match = {"vlan_id": vlan, "src_mac": who.mac, "ingress_port": port or who.port}
    return entry("smac", "known", match)


def flood_group(*ports: int, group: int = FLOOD_GROUP) -> Entity:
    return fy.P4MulticastGroupEntry(group, replicas=ports)


def hash_bucket(sport: int, *, protocol: int = 6) -> int:
    """The bucket of a client's packet under the state of `SCHEDULER`."""
    src, dst = IPv4Address(CLIENT.address), IPv4Address(VIP.address)
    return client_hash(HASH_KEY, HashKeyKind.SRC_PORT, src, sport, dst, HTTPS, protocol) % BUCKETS


def node_of(sport: int) -> Station:
    """The node that a client's port is scheduled to under the state of `SCHEDULER`."""
    return (NODE1, NODE2)[hash_bucket(sport) % 2]


LAYER_2 = (flood_group(*PORTS),)
# Even buckets are in slot 0 on NODE1, odd ones in slot 1 on NODE2.
SCHEDULER = (
    *LAYER_2,
    admitted(),
    vserver(),
    *(bucket(number, number % 2) for number in range(BUCKETS)),
    slot(0, NODE1),
    slot(1, NODE2),
)


# Rows.


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sentence, table state, a packet in, packets out; and what is counted when it is dropped."""

    sentence: str
    state: tuple[Entity, ...]
    port: int = CLIENT.port
    frame: bytes
    out: Mapping[int, bytes] = field(default_factory=dict)
    packet_in: fy.P4PacketIn | None = None
    dropped: str | None = None

    def run(self, target: Target) -> Outcome:
        target.set_state(*self.state)
        return target.run(self.port, self.frame)

    def expected(self) -> Outcome:
        return Outcome(
            frames={port: [frame] for port, frame in self.out.items()},
            packet_ins=[self.packet_in] if self.packet_in else [],
            drops={drop_reasons()[self.dropped]: (1, len(self.frame))} if self.dropped else {},
        )


def flooded(frame: bytes, *, ingress: int = CLIENT.port, ports: Sequence[int] = PORTS) -> dict[int, bytes]:
    """A frame on every port of a flood group but the one that it came from."""
    return {port: frame for port in ports if port != ingress}
