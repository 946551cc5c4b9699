"""`inline`: one scheduler in the middle of one LAN; every packet of the array passes through it.

              c1 .1   c2 .2                       10.0.0.0/24    VIP .100, probes from .254
                 \\     /
    c0 ......... [ s1 ]                           10.255.0.0/24  management (dotted): c0, s1, n1-n3
               /   |    \\
        n1 .11-13 n3     w1 .21-23 w3
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

from topologies.model import Controller, Host, Role, Scheduler, Topology, Vip


def _lan(last: int) -> IPv4Interface:
    return IPv4Interface(f"10.0.0.{last}/24")


def _management(last: int) -> IPv4Interface:
    return IPv4Interface(f"10.255.0.{last}/24")


def _hosts(
    switch: str, role: Role, prefix: str, *, count: int, first_address: int, first_port: int
) -> tuple[Host, ...]:
    return tuple(
        Host(
            name=f"{prefix}{i + 1}",
            role=role,
            number=i + 1,
            address=_lan(first_address + i),
            switch=switch,
            port=first_port + i,
            management=_management(first_address + i) if role is Role.NODE else None,
        )
        for i in range(count)
    )


def lan_hosts(switch: str, *, first_port: int) -> tuple[Host, ...]:
    """Two clients, three nodes and three servers at a switch, from a port on."""
    return (
        *_hosts(switch, Role.CLIENT, "c", count=2, first_address=1, first_port=first_port),
        *_hosts(switch, Role.NODE, "n", count=3, first_address=11, first_port=first_port + 2),
        *_hosts(switch, Role.SERVER, "w", count=3, first_address=21, first_port=first_port + 5),
    )


INLINE = Topology(
    name="inline",
    controller=Controller(name="c0", management=_management(1)),
    schedulers=(Scheduler(name="s1", device_id=1, management=_management(2), probe_address=IPv4Address("10.0.0.254")),),
    hosts=lan_hosts("s1", first_port=1),
    vips=(Vip(name="web", vip=IPv4Address("10.0.0.100"), port=443, hostname="www.pentaflow.test"),),
)
