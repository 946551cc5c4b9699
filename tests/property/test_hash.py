"""The bucket hash against the oracle over bytes, for any key and any client."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from pentaflow.hash import HashKeyKind, client_hash
from support.siphash import halfsiphash_of_bytes

keys = st.integers(0, 2**64 - 1)
addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
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
