"""MAC addresses that follow from IPv4 addresses: locally administered, unicast, the same on every switch."""

from __future__ import annotations

from ipaddress import IPv4Address

_VIP_PREFIX = 0x0250
_PROBE_PREFIX = 0x0251
_GROUP_BIT = 1 << 40


def vip_mac(address: IPv4Address) -> int:
    """The MAC that the schedulers answer for a VIP; it moves with the VIP from switch to switch."""
    return _VIP_PREFIX << 32 | int(address)


def probe_mac(address: IPv4Address) -> int:
    """The MAC that a switch's probes come from."""
    return _PROBE_PREFIX << 32 | int(address)


def is_group(mac: int) -> bool:
    """Whether a 48-bit MAC is a multicast or broadcast address (IEEE 802, I/G bit)."""
    return bool(mac & _GROUP_BIT)
