"""The bucket hash: known vectors, the message layout, how it spreads, and what an attacker can't do with it."""

from __future__ import annotations

import binascii
import math
import struct
from collections import Counter
from collections.abc import Iterable
from functools import cache
from ipaddress import IPv4Address, IPv6Address

import pytest

from pentaflow.hash import HashKeyKind, client_hash, halfsiphash
from support.siphash import halfsiphash_of_bytes

# lib/siphash_kunit.c (lib/test_siphash.c) of Linux: test_key_hsiphash, and the 32-bit test_vectors_hsiphash of the
# messages 00, 00 01, 00 01 02, … by length.
KERNEL_KEY = 0x07060504_03020100
KERNEL_VECTORS = (0x5814C896, 0xE7E864CA, 0xBC4B0E30, 0x01539939, 0x7E059EA6, 0x88E3D89B, 0xA0080B65, 0x9D38D9D6)
# The reference implementation's HalfSipHash-2-4, 32-bit result, same key and messages (vectors.h: vectors_hsip32).
REFERENCE_2_4 = (0x5B9F35A9, 0xB85A4727, 0x03A662FA, 0x04E7FE8A)

VIP = IPv4Address("203.0.113.80")
KEYS = (0, 0x0706_0504_0302_0100, 0xFFFF_FFFF_FFFF_FFFF, 0x5A01_77C3_9E0B_44D2)


def words_of(message: bytes) -> list[int]:
    padded = message + bytes(-(len(message) + 1) % 4) + bytes([len(message)])
    return [word for (word,) in struct.iter_unpack("<I", padded)]


@pytest.mark.parametrize(("length", "expected"), list(enumerate(KERNEL_VECTORS)))
def test_kernel_vectors_of_hsiphash_1_3(length: int, expected: int) -> None:
    message = bytes(range(length))
    assert halfsiphash_of_bytes(KERNEL_KEY.to_bytes(8, "little"), message) == expected
    assert halfsiphash(KERNEL_KEY, words_of(message)) == expected


@pytest.mark.parametrize(("length", "expected"), list(enumerate(REFERENCE_2_4)))
def test_reference_vectors_of_halfsiphash_2_4(length: int, expected: int) -> None:
    message = bytes(range(length))
    assert halfsiphash_of_bytes(KERNEL_KEY.to_bytes(8, "little"), message, c_rounds=2, d_rounds=4) == expected
    assert halfsiphash(KERNEL_KEY, words_of(message), c_rounds=2, d_rounds=4) == expected


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (HashKeyKind.SRC, bytes.fromhex("050200c0")),
        (HashKeyKind.SRC_PORT, bytes.fromhex("050200c0 39d4")),
        (HashKeyKind.FIVE_TUPLE, bytes.fromhex("050200c0 507100cb bb0139d4 06")),
    ],
)
def test_message_of_each_key_kind(kind: HashKeyKind, message: bytes) -> None:
    """192.0.2.5:54329 → 203.0.113.80:443 over TCP, each field's bytes least significant first."""
    expected = halfsiphash_of_bytes(KERNEL_KEY.to_bytes(8, "little"), message)
    assert client_hash(KERNEL_KEY, kind, IPv4Address("192.0.2.5"), 54329, VIP, 443, 6) == expected


def test_only_the_fields_of_the_key_kind_matter() -> None:
    def hashes(kind: HashKeyKind) -> list[int]:
        src, dst = IPv4Address("192.0.2.5"), VIP
        return [
            client_hash(1, kind, src, 1000, dst, 443, 6),
            client_hash(1, kind, src, 1000, dst, 443, 17),
            client_hash(1, kind, src, 1000, dst, 444, 6),
            client_hash(1, kind, src, 1000, dst + 1, 443, 6),
            client_hash(1, kind, src, 1001, dst, 443, 6),
            client_hash(1, kind, src + 1, 1000, dst, 443, 6),
        ]

    assert [len(set(hashes(kind))) for kind in (HashKeyKind.SRC, HashKeyKind.SRC_PORT, HashKeyKind.FIVE_TUPLE)] == [
        2,
        3,
        6,
    ]


def test_ipv6_addresses_are_four_words() -> None:
    src = IPv6Address("2001:db8::5")
    message = b"".join(word[::-1] for word in (src.packed[0:4], src.packed[4:8], src.packed[8:12], src.packed[12:16]))
    expected = halfsiphash_of_bytes(bytes(8), message + (54329).to_bytes(2, "little"))
    assert client_hash(0, HashKeyKind.SRC_PORT, src, 54329, IPv6Address("2001:db8::1"), 443, 6) == expected


FIRST_PORT = 1024


@cache
def hashes_of_sequential_ports(key: int) -> tuple[int, ...]:
    src = IPv4Address("192.0.2.5")
    return tuple(client_hash(key, HashKeyKind.SRC_PORT, src, FIRST_PORT + n, VIP, 443, 6) for n in range(32_768))


@cache
def hashes_of_sequential_addresses(key: int) -> tuple[int, ...]:
    first = IPv4Address("10.0.0.0")
    return tuple(client_hash(key, HashKeyKind.SRC, first + n, 0, VIP, 443, 6) for n in range(16_384))


def deviation(hashes: Iterable[int], buckets: int) -> float:
    """How far the chi-squared statistic of the bucket counts lies from its expectation, in standard deviations."""
    counts = Counter(value & (buckets - 1) for value in hashes)
    expected = counts.total() / buckets
    statistic: float = sum((counts[bucket] - expected) ** 2 / expected for bucket in range(buckets))
    return abs(statistic - (buckets - 1)) / math.sqrt(2 * (buckets - 1))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("buckets", [256, 4096])
def test_sequential_ports_and_addresses_spread_like_random_ones(key: int, buckets: int) -> None:
    assert deviation(hashes_of_sequential_ports(key), buckets) < 4
    assert deviation(hashes_of_sequential_addresses(key), buckets) < 4


def test_collisions_found_under_one_key_do_not_carry_over_to_another() -> None:
    buckets = 256
    hashes = hashes_of_sequential_ports(KEYS[1])
    learnt = [FIRST_PORT + n for n, value in enumerate(hashes) if value % buckets == 0]
    assert len(learnt) > 100, "enough ports to fill one bucket with"

    for key in KEYS[2:]:
        spread = [client_hash(key, HashKeyKind.SRC_PORT, IPv4Address("192.0.2.5"), p, VIP, 443, 6) for p in learnt]
        assert deviation(spread, buckets) < 4


def test_the_same_attack_works_on_a_salted_crc() -> None:
    """Why the hash is keyed and not a CRC with a salt: there, one set of colliding ports fits every salt."""

    def bucket(salt: int, port: int) -> int:
        return (binascii.crc_hqx(IPv4Address("192.0.2.5").packed + port.to_bytes(2, "big"), 0xFFFF) ^ salt) % 256

    learnt = [port for port in range(FIRST_PORT, FIRST_PORT + 32_768) if bucket(0x1234, port) == 0]
    assert len(learnt) > 100
    for salt in (0, 0xBEEF, 0x7777):
        assert len({bucket(salt, port) for port in learnt}) == 1
