"""What every scheduler benchmark plays on: a client on port 1, a node on port 2, and a VIP that the node holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from benchmarks.network import Host, cable, host, mac_text
from benchmarks.p4runtime import Device
from benchmarks.targets import Target, running
from controller.addresses import vip_mac
from controller.adoption import adopt
from controller.desired import NO_PACKET_INS
from controller.entries import UNTAGGED, Entry, Key, Kind
from pentaflow.hash import HashKeyKind

CLIENT_PORT, NODE_PORT = 1, 2
CLIENT_MAC, NODE_MAC = 0x02_00_00_00_00_01, 0x02_00_00_00_00_02
CLIENT, NODE = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
VIP = IPv4Address("10.0.0.100")
SERVICE = 5001
BUCKETS = 4096
_PREFIX_LENGTH = 24
_VSERVER_ID = 1
_NODE_ID = 1
_SLOTS_PER_NODE = 16
_TCP = 6
_HASH_KEY = 0x0706_0504_0302_0100
_BATCH = 1000


def bucket_entries(buckets: int, *, idle_timeout_ns: int = 0) -> dict[Key, Entry]:
    """The bucket map of a vserver whose one node serves all of it."""
    bucket_map = adopt(
        {},
        {},
        sizes={_VSERVER_ID: buckets},
        weights={_NODE_ID: 1},
        configured=[_NODE_ID],
        slots_per_node=_SLOTS_PER_NODE,
    )
    slots = enumerate(bucket_map.buckets[_VSERVER_ID].tolist())
    return {Key(Kind.BUCKET, (_VSERVER_ID, bucket)): Entry((slot,), idle_timeout_ns) for bucket, slot in slots}


def scheduler_entries() -> dict[Key, Entry]:
    """All that a switch needs for one vserver, with client and node known to its bridge."""
    buckets = bucket_entries(BUCKETS)
    slots = {entry.params[0] for entry in buckets.values()}
    stations = {CLIENT_MAC: CLIENT_PORT, NODE_MAC: NODE_PORT}
    return {
        **{Key(Kind.SLOT, (slot,)): Entry((_NODE_ID, NODE_MAC, NODE_PORT)) for slot in sorted(slots)},
        **buckets,
        Key(Kind.VSERVER, (int(VIP), _TCP, SERVICE)): Entry(
            (_VSERVER_ID, BUCKETS - 1, HashKeyKind.SRC_PORT, _HASH_KEY, NO_PACKET_INS)
        ),
        Key(Kind.ADMIT, (UNTAGGED, vip_mac(VIP))): Entry(),
        **{Key(Kind.SMAC, (UNTAGGED, mac, port)): Entry() for mac, port in stations.items()},
        **{Key(Kind.DMAC, (UNTAGGED, mac)): Entry((port,)) for mac, port in stations.items()},
    }


@contextmanager
def bare_switch(target: Target) -> Iterator[Device]:
    """A target without entries, between the interfaces `client` and `node`."""
    # Another MAC on the node's interface: Linux counts the packets and has nothing more to do with them.
    with (
        cable("s1", "client", mac=CLIENT_MAC, offloads=target.offloads),
        cable("s2", "node", mac=NODE_MAC + 1, offloads=target.offloads),
        running(target, {CLIENT_PORT: "s1", NODE_PORT: "s2"}) as device,
    ):
        yield device


@contextmanager
def wire(target: Target) -> Iterator[tuple[str, str]]:
    """The running scheduler between two bare interfaces: yields the client's and the node's."""
    with bare_switch(target) as device:
        device.write(device.encode_inserts(scheduler_entries(), _BATCH))
        yield "client", "node"


@contextmanager
def hosts(target: Target) -> Iterator[tuple[Host, Host]]:
    """The running scheduler between a client and a node, each in a namespace of its own."""
    with (
        host() as client,
        host() as node,
        cable("s1", "eth0", mac=CLIENT_MAC, offloads=target.offloads, at=client),
        cable("s2", "eth0", mac=NODE_MAC, offloads=target.offloads, at=node),
        running(target, {CLIENT_PORT: "s1", NODE_PORT: "s2"}) as device,
    ):
        device.write(device.encode_inserts(scheduler_entries(), _BATCH))
        _address(client, node, seen_as=vip_mac(VIP))
        yield client, node


@contextmanager
def joined_hosts() -> Iterator[tuple[Host, Host]]:
    """Client and node with nothing between them but a veth pair."""
    with host() as client, host() as node:
        client.command(
            *("ip", "link", "add", "eth0", "address", mac_text(CLIENT_MAC), "type", "veth"),
            *("peer", "name", "eth0", "address", mac_text(NODE_MAC), "netns", str(node.pid)),
        )
        for each in (client, node):
            each.command("ip", "link", "set", "eth0", "up")
        _address(client, node, seen_as=NODE_MAC)
        yield client, node


def _address(client: Host, node: Host, *, seen_as: int) -> None:
    """Addresses, and neighbours that need no ARP; `seen_as`: the MAC that the client sends the VIP's packets to."""
    client.command("ip", "address", "add", f"{CLIENT}/{_PREFIX_LENGTH}", "dev", "eth0")
    node.command("ip", "address", "add", f"{NODE}/{_PREFIX_LENGTH}", "dev", "eth0")
    node.command("ip", "address", "add", f"{VIP}/32", "dev", "lo")
    for each, address, mac in ((client, VIP, seen_as), (node, CLIENT, CLIENT_MAC)):
        each.command("ip", "neighbour", "add", str(address), "lladdr", mac_text(mac), "dev", "eth0", "nud", "permanent")
