"""MAC addresses that follow from IP addresses: locally administered, unicast, the same on every switch.

Of an IPv6 address they hold its CRC-32. Addresses that differ within four consecutive bytes only, as those of a
/96 do, have different ones by the nature of a CRC; of others `check_macs` makes sure.
"""

from __future__ import annotations

import zlib

from pentaflow.addresses import IpAddress
from pentaflow.config import Configuration
from pentaflow.errors import ConfigurationError

_VIP_PREFIXES = {4: 0x0250, 6: 0x0252}
_PROBE_PREFIXES = {4: 0x0251, 6: 0x0253}
_GROUP_BIT = 1 << 40


def vip_mac(address: IpAddress) -> int:
    """The MAC that the schedulers answer for a VIP; it moves with the VIP from switch to switch."""
    return _VIP_PREFIXES[address.version] << 32 | _low_bits(address)


def probe_mac(address: IpAddress) -> int:
    """The MAC that a switch's probes come from."""
    return _PROBE_PREFIXES[address.version] << 32 | _low_bits(address)


def is_group(mac: int) -> bool:
    """Whether a 48-bit MAC is a multicast or broadcast address (IEEE 802, I/G bit)."""
    return bool(mac & _GROUP_BIT)


def check_macs(configuration: Configuration, place: str) -> None:
    """Check that no two VIPs, and no two probe addresses, have the same MAC.

    Raises:
        ConfigurationError: names the two.
    """
    seen: dict[int, IpAddress] = {}
    vips = [(vip_mac(vserver.vip), vserver.vip) for vserver in configuration.vservers]
    probes = [(probe_mac(a), a) for switch in configuration.switches for a in switch.probe_addresses]
    for mac, address in vips + probes:
        other = seen.setdefault(mac, address)
        if other != address:
            raise ConfigurationError(place, f"{other} and {address} would have the same MAC; take another address")


def _low_bits(address: IpAddress) -> int:
    return int(address) if address.version == 4 else zlib.crc32(address.packed)
