"""The VIPs that a node holds on its loopback [N9] (shell).

Linux answers ARP for every IPv4 address that it has, on any interface: on the LAN a VIP is the scheduler's.
`arp_ignore` 1 makes it answer only for addresses of the interface that was asked, `arp_announce` 2 never use a VIP as a
sender's address (kernel documentation, networking/ip-sysctl). Neighbour discovery answers for the interface's own
anyway.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterator
from ipaddress import ip_address
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from pentaflow.addresses import IpAddress
from pentaflow.errors import HostError

_SYSCTLS = {"arp_ignore": 1, "arp_announce": 2}
_ALL = Path("/proc/sys/net/ipv4/conf/all")
_PLACE = "VIPs"
_NEEDS = "that needs CAP_NET_ADMIN, or `--vips external` and somebody else who does it"


class LoopbackVips:
    """Puts VIPs on the loopback interface and takes off those that it has put there, never others.

    IPv4 ones have a label, by which those of a process that was killed are found again.

    Args:
        node_id: tells the VIPs of several nodes on one machine apart.
    """

    def __init__(self, node_id: int) -> None:
        self._label = f"lo:pf{node_id}"
        self._added: set[IpAddress] = set()

    def hold(self, vips: Collection[IpAddress]) -> None:
        """Have these VIPs; those that the host has anyway are left alone.

        Raises:
            HostError: the process may not, or the host cannot.
        """
        # The loopback networks as a whole are the loopback's.
        wanted = [vip for vip in vips if not vip.is_loopback]
        if not wanted:
            return
        if any(vip.version == 4 for vip in wanted):
            _set_sysctls()
        with IPRoute() as netlink:
            there = {vip for vip, _ in _addresses(netlink)}
            for vip in wanted:
                if vip not in there:
                    self._add(netlink, vip)

    def _add(self, netlink: IPRoute, vip: IpAddress) -> None:
        label = {"label": self._label} if vip.version == 4 else {}
        try:
            netlink.addr("add", index=_loopback(netlink), address=str(vip), prefixlen=vip.max_prefixlen, **label)
        except NetlinkError as error:
            why = _NEEDS if error.code == errno.EPERM else str(error)
            raise HostError(_PLACE, f"cannot put {vip} on the loopback: {why}") from None
        self._added.add(vip)

    def keep_only(self, vips: Collection[IpAddress]) -> None:
        """Take off what it has put there and is not among these."""
        with IPRoute() as netlink:
            own = {vip for vip, label in _addresses(netlink) if label == self._label or vip in self._added}
            for vip in own - set(vips):
                netlink.addr("del", index=_loopback(netlink), address=str(vip), prefixlen=vip.max_prefixlen)
                self._added.discard(vip)


def _addresses(netlink: IPRoute) -> Iterator[tuple[IpAddress, str]]:
    """All of this host, with their labels."""
    for family, attribute in ((socket.AF_INET, "IFA_LOCAL"), (socket.AF_INET6, "IFA_ADDRESS")):
        for row in netlink.get_addr(family=family):
            yield ip_address(row.get_attr(attribute)), row.get_attr("IFA_LABEL") or ""


def _loopback(netlink: IPRoute) -> int:
    index: int = netlink.link_lookup(ifname="lo")[0]
    return index


def _set_sysctls() -> None:
    for name, value in _SYSCTLS.items():
        path = _ALL / name
        if int(path.read_text()) < value:
            try:
                path.write_text(str(value))
            except OSError:
                raise HostError(_PLACE, f"cannot set net.ipv4.conf.all.{name} to {value}: {_NEEDS}") from None
