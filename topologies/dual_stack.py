"""A declared topology with IPv6 beside IPv4: every host, the probes and a second vserver, in 2001:db8::/64.

The last part of an IPv6 address reads as the last part of the IPv4 address beside it.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Interface

from topologies.inline import INLINE
from topologies.model import Topology, Vip
from topologies.redundant import REDUNDANT

_PREFIX_LENGTH = 64
WEB_V6 = Vip(name="web-v6", vip=IPv6Address("2001:db8::100"), port=443, hostname="v6.pentaflow.test")


def _beside(address: IPv4Address) -> IPv6Address:
    return IPv6Address(f"2001:db8::{address.packed[-1]}")


def _dual_stack(topology: Topology, name: str) -> Topology:
    return replace(
        topology,
        name=name,
        hosts=tuple(
            replace(host, address_v6=IPv6Interface((_beside(host.address.ip), _PREFIX_LENGTH)))
            for host in topology.hosts
        ),
        schedulers=tuple(replace(s, probe_address_v6=_beside(s.probe_address)) for s in topology.schedulers),
        vips=(*topology.vips, WEB_V6),
    )


INLINE_DUAL = _dual_stack(INLINE, "inline-dual")
REDUNDANT_DUAL = _dual_stack(REDUNDANT, "redundant-dual")
