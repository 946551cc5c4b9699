"""`redundant`: a LAN switch, and two schedulers with one arm each beside it; one is active, the other stands by.

          c1 .1   c2 .2                           10.0.0.0/24    VIP .100, probes from .253 and .254
               \\   /
      s1 ------ [ l1 ] ------ s2                  10.255.0.0/24  management: c0, s1, s2, n1-n3
              /   |    \\
       n1 .11-13 n3     w1 .21-23 w3
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

from topologies.inline import INLINE, lan_hosts
from topologies.model import LanSwitch, Scheduler, Topology

REDUNDANT = Topology(
    name="redundant",
    controller=INLINE.controller,
    lan=LanSwitch(name="l1"),
    schedulers=tuple(
        Scheduler(
            name=f"s{number}",
            device_id=number,
            management=IPv4Interface(f"10.255.0.{1 + number}/24"),
            probe_address=IPv4Address(f"10.0.0.{255 - number}"),
            priority=priority,
            uplink=number,
        )
        for number, priority in ((1, 200), (2, 100))
    ),
    hosts=lan_hosts("l1", first_port=3),
    vips=INLINE.vips,
)
