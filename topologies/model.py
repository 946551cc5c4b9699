"""What a declared topology is made of: plain data, checked when it is made.

One `Topology` is a LAN of clients, nodes and servers around schedulers, and a management network that joins the
controller to the switches and the nodes. `topologies.configuration` turns one into the controller's configuration,
`mininet/pentaflow_mn.py` into running hosts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from pentaflow.addresses import IpAddress
from pentaflow.errors import ConfigurationError

REST_PORT = 8080
GRPC_PORT = 9559
NODE_STATUS_PORT = 8081
SERVER_PORT = 80
CPU_PORT = 510
# The only data port of a scheduler beside a LAN switch.
ARM = 1


class Role(Enum):
    """What a host is for."""

    CLIENT = "client"
    NODE = "node"
    SERVER = "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine on the LAN; `number` is its id in the configuration, counted from 1 within its role."""

    name: str
    role: Role
    number: int
    address: IPv4Interface
    switch: str
    port: int
    management: IPv4Interface | None = None
    address_v6: IPv6Interface | None = None

    @property
    def mac(self) -> str:
        """Locally administered, from the address: easy to read in a packet dump, unique where the address is."""
        return (b"\x02\x00" + self.address.ip.packed).hex(":")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduler:
    """A switch that runs the P4 program.

    `uplink` is the port of the LAN switch that its one arm, port 1, is plugged into; None: it is in line, and hosts are
    plugged into it.
    """

    name: str
    device_id: int
    management: IPv4Interface
    probe_address: IPv4Address
    priority: int = 100
    uplink: int | None = None
    probe_address_v6: IPv6Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LanSwitch:
    """An ordinary layer-2 switch that schedulers with one arm stand beside."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """The machine that runs the controller; it is on the management network only."""

    name: str
    management: IPv4Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Vip:
    """A vserver of the topology: TLS on `vip`:`port` under the name `hostname`, served by all servers."""

    name: str
    vip: IpAddress
    port: int
    hostname: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A whole declared topology.

    Raises:
        ConfigurationError: a name, an address or a switch port is used twice; a host is on a switch that is not there.
    """

    name: str
    controller: Controller
    schedulers: tuple[Scheduler, ...]
    hosts: tuple[Host, ...]
    vips: tuple[Vip, ...]
    lan: LanSwitch | None = None

    def __post_init__(self) -> None:
        place = f"topology {self.name}"
        names = [self.controller.name, *(s.name for s in self.schedulers), *(h.name for h in self.hosts)]
        names += [self.lan.name] if self.lan else []
        addresses = [
            self.controller.management.ip,
            *(a for s in self.schedulers for a in (s.management.ip, s.probe_address, s.probe_address_v6) if a),
            *(a.ip for h in self.hosts for a in (h.address, h.management, h.address_v6) if a),
            *(v.vip for v in self.vips),
        ]
        for what, values in (
            ("name", names),
            ("address", addresses),
            ("switch port", [f"{port} of {switch}" for switch, port in self._plugged()]),
            ("device id", [s.device_id for s in self.schedulers]),
            ("host number", [f"{h.number} of role {h.role.value}" for h in self.hosts]),
        ):
            for value in _repeated(values):
                raise ConfigurationError(place, f"{what} {value} is used twice")
        known = {s.name for s in self.schedulers} | ({self.lan.name} if self.lan else set())
        for host in self.hosts:
            if host.switch not in known:
                raise ConfigurationError(place, f"host {host.name} is on switch {host.switch!r}, which is not there")
            if host.role is Role.NODE and host.management is None:
                raise ConfigurationError(place, f"node {host.name} has no management address")
        for scheduler in self.schedulers:
            if scheduler.uplink is not None and self.lan is None:
                raise ConfigurationError(place, f"scheduler {scheduler.name} has an uplink, but there is no LAN switch")

    def of(self, role: Role) -> tuple[Host, ...]:
        """The hosts of one role, in order of declaration."""
        return tuple(h for h in self.hosts if h.role is role)

    def ports(self, scheduler: str) -> tuple[int, ...]:
        """The data ports of a switch that something is plugged into, ascending."""
        arms = [ARM for s in self.schedulers if s.name == scheduler and s.uplink is not None]
        return tuple(sorted([*arms, *(h.port for h in self.hosts if h.switch == scheduler)]))

    def ports_to(self, host: Host) -> dict[str, int]:
        """Scheduler → its port that leads to a host; those that do not reach it are left out."""
        if self.lan and host.switch == self.lan.name:
            return {s.name: ARM for s in self.schedulers if s.uplink is not None}
        return {host.switch: host.port}

    def _plugged(self) -> list[tuple[str, int]]:
        uplinks = [(self.lan.name, s.uplink) for s in self.schedulers if self.lan and s.uplink is not None]
        return uplinks + [(h.switch, h.port) for h in self.hosts]


def _repeated(values: Iterable[object]) -> list[object]:
    return [value for value, count in Counter(values).items() if count > 1]
