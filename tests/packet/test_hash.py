"""The switch computes the bucket that `pentaflow.hash` says, for every key kind, any key and any client."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from pentaflow.hash import HashKeyKind, client_hash
from support.control import Entity
from support.packets import CLIENT, HTTPS, VIP, admitted, bucket, entry, to_vip, vserver
from support.targets import Target

pytestmark = pytest.mark.root

PORT = 3
BUCKETS = 65_536
CLIENTS = 64
PROTOCOLS = {6: TCP, 17: UDP}


def slot_named_by_mac(number: int) -> Entity:
    """A node whose MAC ends with the slot's number: frames say which slot, hence which bucket, they were in."""
    mac = 0x02_00_00_00_00_00 + number
    return entry("slot", "set_node", {"slot": number}, node_id=1, node_mac=mac, port=PORT)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", HashKeyKind, ids=lambda kind: kind.name)
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("seed", range(3))
def test_buckets_are_those_of_the_hash(
    target: Target, kind: HashKeyKind, protocol: int, version: int, seed: int
) -> None:
    rng = random.Random(f"{kind.name} {protocol} {version} {seed}")
    key = rng.getrandbits(64)
    vip = IPv4Address(VIP.address) if version == 4 else IPv6Address(rng.getrandbits(128))

    def address() -> IPv4Address | IPv6Address:
        return IPv4Address(rng.getrandbits(32)) if version == 4 else IPv6Address(rng.getrandbits(128))

    clients = [(address(), rng.getrandbits(16)) for _ in range(CLIENTS)]
    buckets = [client_hash(key, kind, src, sport, vip, HTTPS, protocol) % BUCKETS for src, sport in clients]
    # Every bucket is its own slot; one that the switch computes otherwise is unassigned or another's.
    target.set_state(
        admitted(),
        vserver(protocol=protocol, kind=kind, key=key, buckets=BUCKETS, address=str(vip)),
        *(bucket(number, number) for number in set(buckets)),
        *(slot_named_by_mac(number) for number in set(buckets)),
    )
    for (src, sport), expected in zip(clients, buckets, strict=True):
        network = IP if version == 4 else IPv6
        layers = network(src=str(src), dst=str(vip)) / PROTOCOLS[protocol](sport=sport, dport=HTTPS)
        frames = target.run(CLIENT.port, to_vip(layers)).frames
        assert [int.from_bytes(frame[4:6]) for frame in frames[PORT]] == [expected]
