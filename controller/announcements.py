"""Frames that tell a LAN that a VIP is here now: gratuitous ARP and unsolicited neighbour advertisements.

Their Ethernet source is the VIP's own MAC, which is the same on every switch: what hosts have cached stays right, and
it is the LAN's switches that learn the port anew.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from pentaflow.addresses import IpAddress
from pentaflow.checksum import internet_checksum

_BROADCAST = (1 << 48) - 1
_ALL_NODES_MAC = 0x3333_0000_0001
_ALL_NODES = IPv6Address("ff02::1")
_ETHERTYPE_ARP = 0x0806
_ETHERTYPE_IPV6 = 0x86DD
_ETHERNET_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_REQUEST, _ARP_REPLY = 1, 2
_ICMPV6 = 58
_HOP_LIMIT = 255
_ADVERTISEMENT = 136
_OVERRIDE = 0x2000_0000
_TARGET_LINK_ADDRESS = 2


def announcement(vip: IpAddress, mac: int) -> tuple[bytes, ...]:
    """The frames that announce a VIP of either family."""
    return gratuitous_arp(vip, mac) if isinstance(vip, IPv4Address) else (unsolicited_advertisement(vip, mac),)


def gratuitous_arp(vip: IPv4Address, mac: int) -> tuple[bytes, bytes]:
    """A request and a reply, since some hosts heed only one of them (RFC 5227, section 3; RFC 5944, section 4.6).

    Args:
        vip: sender and target of both.
        mac: 48 bits.
    """
    return _arp(vip, mac, _ARP_REQUEST, target=0), _arp(vip, mac, _ARP_REPLY, target=_BROADCAST)


def unsolicited_advertisement(vip: IPv6Address, mac: int) -> bytes:
    """To all nodes, overriding what they have cached (RFC 4861, section 7.2.6)."""
    option = bytes((_TARGET_LINK_ADDRESS, 1)) + _mac(mac)

    def icmp(checksum: int) -> bytes:
        return struct.pack("!BBHI", _ADVERTISEMENT, 0, checksum, _OVERRIDE) + vip.packed + option

    length = len(icmp(0))
    pseudo_header = vip.packed + _ALL_NODES.packed + struct.pack("!II", length, _ICMPV6)
    header = struct.pack("!IHBB", 6 << 28, length, _ICMPV6, _HOP_LIMIT) + vip.packed + _ALL_NODES.packed
    ethernet = _ethernet(_ALL_NODES_MAC, mac, _ETHERTYPE_IPV6)
    return ethernet + header + icmp(internet_checksum(pseudo_header + icmp(0)))


def _arp(vip: IPv4Address, mac: int, operation: int, *, target: int) -> bytes:
    body = _ETHERNET_ARP.pack(1, 0x0800, 6, 4, operation, _mac(mac), vip.packed, _mac(target), vip.packed)
    return _ethernet(_BROADCAST, mac, _ETHERTYPE_ARP) + body


def _ethernet(destination: int, source: int, ether_type: int) -> bytes:
    return _mac(destination) + _mac(source) + ether_type.to_bytes(2, "big")


def _mac(value: int) -> bytes:
    return value.to_bytes(6, "big")
