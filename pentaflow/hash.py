"""The bucket hash, shared by nodes, controller and tests; `p4/hash.p4` computes the same in the switch.

HalfSipHash-1-3 (Aumasson and Bernstein; the Linux kernel's `hsiphash`): 64-bit key, 32-bit result, over the fields
that the hash key kind names, as 32-bit words, the most significant word of an address first:

| key kind   | words before the last one                | last word, with the length in its top byte |
|------------|------------------------------------------|--------------------------------------------|
| `src`      | source address                           | 0                                          |
| `src_port` | source address                           | source port                                |
| `5tuple`   | source, destination address, port pair   | protocol                                   |

It is a pseudo-random function for short outputs: without the key, a client that picks its own ports and addresses
cannot aim at one bucket, and what it learns of one vserver's buckets says nothing of another key's. It does not hide
which clients share a bucket from someone who can watch which node answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

_MASK = 0xFFFF_FFFF


class HashKeyKind(IntEnum):
    """Which fields of a packet choose its bucket; values as in `p4/ids.p4`."""

    SRC = 0
    SRC_PORT = 1
    FIVE_TUPLE = 2


def halfsiphash(key: int, words: Iterable[int], *, c_rounds: int = 1, d_rounds: int = 3) -> int:
    """HalfSipHash-c-d with a 32-bit result.

    Args:
        key: 64 bits; the low 32 bits are the reference's k0.
        words: the message as 32-bit words, the reference's padding (length in the top byte of the last) included.
        c_rounds: rounds per message word.
        d_rounds: rounds at the end.
    """
    k0, k1 = key & _MASK, (key >> 32) & _MASK
    v0, v1, v2, v3 = k0, k1, 0x6C79_6765 ^ k0, 0x7465_6462 ^ k1

    def rounds(count: int) -> None:
        nonlocal v0, v1, v2, v3
        for _ in range(count):
            v0 = (v0 + v1) & _MASK
            v1 = (v1 << 5 | v1 >> 27) & _MASK ^ v0
            v0 = (v0 << 16 | v0 >> 16) & _MASK
            v2 = (v2 + v3) & _MASK
            v3 = (v3 << 8 | v3 >> 24) & _MASK ^ v2
            v0 = (v0 + v3) & _MASK
            v3 = (v3 << 7 | v3 >> 25) & _MASK ^ v0
            v2 = (v2 + v1) & _MASK
            v1 = (v1 << 13 | v1 >> 19) & _MASK ^ v2
            v2 = (v2 << 16 | v2 >> 16) & _MASK

    for word in words:
        v3 ^= word
        rounds(c_rounds)
        v0 ^= word
    v2 ^= 0xFF
    rounds(d_rounds)
    return v1 ^ v3


def _address_words(address: IPv4Address | IPv6Address) -> list[int]:
    packed = address.packed
    return [int.from_bytes(packed[i : i + 4], "big") for i in range(0, len(packed), 4)]


def client_hash(
    key: int,
    kind: HashKeyKind,
    src: IPv4Address | IPv6Address,
    src_port: int,
    dst: IPv4Address | IPv6Address,
    dst_port: int,
    protocol: int,
) -> int:
    """The 32-bit hash of a client's packet to a VIP; `& (buckets - 1)` is its bucket."""
    words = _address_words(src)
    last = 0
    length = 4 * len(words)
    if kind is HashKeyKind.SRC_PORT:
        last, length = src_port, length + 2
    elif kind is HashKeyKind.FIVE_TUPLE:
        words += [*_address_words(dst), src_port << 16 | dst_port]
        last, length = protocol, 2 * length + 5
    return halfsiphash(key, [*words, length << 24 | last])
