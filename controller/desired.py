"""The entries of a switch that follow from the configuration alone."""

from __future__ import annotations

from collections.abc import Mapping, Set

from controller.addresses import probe_mac, vip_mac
from controller.entries import CPU_PORT, DEFAULT_FLOOD_GROUP, UNTAGGED, Entry, Key, Kind
from pentaflow.addresses import IpAddress
from pentaflow.config import AssignmentMode, Configuration, Switch, Vserver
from pentaflow.modes import Protocol

_VSERVER_TABLES = {4: Kind.VSERVER, 6: Kind.VSERVER_V6}
_NEIGHBOUR_TABLES = {4: Kind.ARP, 6: Kind.ND}
IP_PROTOCOLS = {Protocol.TCP: 6, Protocol.UDP: 17}
# Learning is not urgent, but a flood of digests would be: lists of up to 100 stations, held back for up to 10 ms.
_DIGEST = Entry((10_000_000, 100, 1_000_000_000))
# Switches count packet-ins in time slots of 2^14 µs (docs/pipeline.md).
_PACKET_IN_SLOT_S = 0.016384
# Every bucket is assigned before an eager vserver is written, so the switch need not ask for any.
NO_PACKET_INS = 0


def vserver_key(vserver: Vserver) -> Key:
    """The key of a vserver's entry, in the table of its VIP's family."""
    return Key(_VSERVER_TABLES[vserver.vip.version], (int(vserver.vip), IP_PROTOCOLS[vserver.protocol], vserver.port))


def packet_in_limit(vserver: Vserver) -> int:
    """How many packets a switch may send to the controller in a time slot because their bucket has no slot."""
    if vserver.assignment is AssignmentMode.EAGER:
        return NO_PACKET_INS
    return int(vserver.packet_in_limit_per_s * _PACKET_IN_SLOT_S)


def vip_keys(vip: IpAddress) -> tuple[Key, ...]:
    """The keys of the entries that draw a VIP's traffic: only the switch that announces it has them."""
    return neighbour_key(vip), Key(Kind.ADMIT, (UNTAGGED, vip_mac(vip)))


def neighbour_key(address: IpAddress) -> Key:
    """The key of the entry that answers for an address: ARP or neighbour solicitations."""
    return Key(_NEIGHBOUR_TABLES[address.version], (UNTAGGED, int(address)))


def announced_in(entries: Mapping[Key, Entry], configuration: Configuration) -> list[IpAddress]:
    """The VIPs that a switch with these entries announces, wholly or in part."""
    vips = dict.fromkeys(vserver.vip for vserver in configuration.vservers)
    return [vip for vip in vips if any(key in entries for key in vip_keys(vip))]


def fixed_entries(
    configuration: Configuration, switch: Switch, hash_keys: Mapping[int, int], announced: Set[IpAddress]
) -> dict[Key, Entry]:
    """What a switch holds whatever is learnt and wherever buckets are.

    Args:
        configuration: the whole array.
        switch: the switch in question.
        hash_keys: vserver id → 64-bit key of its bucket hash.
        announced: the VIPs that it answers and schedules for; of the others it holds the vservers only.
    """
    entries = {
        Key(Kind.MULTICAST_GROUP, (DEFAULT_FLOOD_GROUP,)): Entry(tuple(sorted(switch.ports))),
        Key(Kind.DIGEST, ()): _DIGEST,
    }
    for address in switch.probe_addresses:
        entries[neighbour_key(address)] = Entry((probe_mac(address),))
        entries[Key(Kind.DMAC, (UNTAGGED, probe_mac(address)))] = Entry((CPU_PORT,))
    for vserver in configuration.vservers:
        if vserver.vip in announced:
            neighbour, admit = vip_keys(vserver.vip)
            entries[neighbour] = Entry((vip_mac(vserver.vip),))
            entries[admit] = Entry()
        entries[vserver_key(vserver)] = Entry(
            (vserver.id, vserver.buckets - 1, vserver.hash, hash_keys[vserver.id], packet_in_limit(vserver))
        )
    return entries
