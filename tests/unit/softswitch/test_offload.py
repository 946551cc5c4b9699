"""Virtio-net headers and VLAN tags, against scapy's idea of the frames."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether

from softswitch.offload import (
    NO_OFFLOAD,
    VLAN_TAG_LENGTH,
    complete_checksum,
    internet_checksum,
    restore_vlan_tag,
    shift_offsets,
)

HEADER = struct.Struct("=BBHHHH")
CSUM = HEADER.pack(1, 0, 0, 0, 34, 16)
GSO = HEADER.pack(1, 1, 54, 1448, 34, 16)


@pytest.mark.parametrize(
    ("header", "by", "expected"),
    [
        (NO_OFFLOAD, 4, NO_OFFLOAD),
        (CSUM, 0, CSUM),
        (CSUM, 4, HEADER.pack(1, 0, 0, 0, 38, 16)),
        (GSO, -4, HEADER.pack(1, 1, 50, 1448, 30, 16)),
        (HEADER.pack(2, 0, 0, 0, 0, 0), 4, HEADER.pack(2, 0, 0, 0, 0, 0)),
        (CSUM, -35, NO_OFFLOAD),
    ],
)
def test_offsets_move_with_the_packet(header: bytes, by: int, expected: bytes) -> None:
    assert shift_offsets(header, by) == expected


def test_a_vlan_tag_is_put_back() -> None:
    tagged = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / Dot1Q(vlan=5, prio=3) / IP() / UDP())
    tpid, tci = struct.unpack_from("!HH", tagged, 12)
    buffer = bytearray(VLAN_TAG_LENGTH) + tagged[:12] + tagged[16:]
    restore_vlan_tag(buffer, tpid, tci)
    assert buffer == tagged


@pytest.mark.parametrize("payload", [b"", b"x", b"even", bytes(range(255)), b"\xff" * 60000])
@pytest.mark.parametrize("front", [0, 3])
def test_a_deferred_checksum_is_completed_as_scapy_computes_it(payload: bytes, front: int) -> None:
    addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
    whole = bytes(Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1, dport=2) / payload)
    segment = whole[34:]
    pseudo = addresses + struct.pack("!HH", 6, len(segment))
    deferred = bytearray(bytes(front) + whole)
    deferred[front + 50 : front + 52] = (0xFFFF - internet_checksum(pseudo)).to_bytes(2)
    assert complete_checksum(bytes(deferred), shift_offsets(CSUM, front)) == bytes(front) + whole


def test_ipv6_udp_checksums_are_never_zero() -> None:
    """RFC 8200, 8.1: zero is sent as 0xFFFF."""
    packet = Ether() / IPv6(src="::1", dst="::2") / UDP(sport=1, dport=2)
    whole = bytes(packet / b"\0\0")
    segment = whole[54:]
    pseudo = whole[22:54] + struct.pack("!II", len(segment), 17)
    # Choose the payload so that the sum comes out as zero.
    partial = bytearray(segment)
    partial[6:8] = b"\0\0"
    partial[8:10] = internet_checksum(pseudo + bytes(partial)).to_bytes(2)
    deferred = bytearray(whole[:54]) + partial
    deferred[60:62] = (0xFFFF - internet_checksum(pseudo)).to_bytes(2)
    assert complete_checksum(bytes(deferred), HEADER.pack(1, 0, 0, 0, 54, 6))[60:62] == b"\xff\xff"


def test_a_frame_without_a_deferred_checksum_is_left_alone() -> None:
    assert complete_checksum(b"frame", NO_OFFLOAD) == b"frame"
    assert complete_checksum(b"frame", CSUM) == b"frame"


@given(st.binary(max_size=300))
def test_the_checksum_is_rfc_1071s(data: bytes) -> None:
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert internet_checksum(data) == 0xFFFF - total
