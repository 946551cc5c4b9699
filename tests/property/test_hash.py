"""The bucket hash against the oracle over bytes, and on arrays, for any key and any client."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pentaflow.hash import HashKeyKind, client_hash
from pentaflow.hash_arrays import client_hashes
from support.siphash import halfsiphash_of_bytes

keys = st.integers(0, 2**64 - 1)
addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
v6_addresses = st.integers(0, 2**128 - 1).map(IPv6Address)
ports = st.integers(0, 65535)


@given(keys, st.sampled_from(HashKeyKind), addresses, ports, addresses, ports, st.integers(0, 255))
def test_equals_the_definition_over_bytes(
    key: int, kind: HashKeyKind, src: IPv4Address, src_port: int, dst: IPv4Address, dst_port: int, protocol: int
) -> None:
    message = int(src).to_bytes(4, "little")
    if kind is HashKeyKind.SRC_PORT:
        message += src_port.to_bytes(2, "little")
    elif kind is HashKeyKind.FIVE_TUPLE:
        message += int(dst).to_bytes(4, "little") + dst_port.to_bytes(2, "little") + src_port.to_bytes(2, "little")
        message += bytes([protocol])
    expected = halfsiphash_of_bytes(key.to_bytes(8, "little"), message)
    assert client_hash(key, kind, src, src_port, dst, dst_port, protocol) == expected


@given(
    keys,
    st.sampled_from(HashKeyKind),
    st.one_of(
        st.tuples(st.lists(st.tuples(addresses, ports), max_size=20), addresses),
        st.tuples(st.lists(st.tuples(v6_addresses, ports), max_size=20), v6_addresses),
    ),
    ports,
    st.integers(0, 255),
)
def test_on_arrays_it_is_the_same(
    key: int,
    kind: HashKeyKind,
    clients_and_vip: tuple[list[tuple[IPv4Address | IPv6Address, int]], IPv4Address | IPv6Address],
    dst_port: int,
    protocol: int,
) -> None:
    clients, vip = clients_and_vip
    packed = b"".join(address.packed for address, _ in clients)
    sources = np.frombuffer(packed, ">u4").astype(np.uint32).reshape(-1, len(vip.packed) // 4)
    source_ports = np.array([port for _, port in clients], np.uint32)
    hashes = client_hashes(key, kind, sources, source_ports, vip, dst_port, protocol)
    assert hashes.dtype == np.uint32
    assert hashes.tolist() == [
        client_hash(key, kind, address, port, vip, dst_port, protocol) for address, port in clients
    ]
