"""The hash and checksum algorithms of v1model, as BMv2 computes them."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping

from softswitch.program.ir import Algorithm

_CRC16_POLYNOMIAL = 0xA001  # 0x8005 with its bits reflected
_IDENTITY_BYTES = 8


def _crc16_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_CRC16_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC16 = _crc16_table()


def crc16(data: bytes) -> int:
    """CRC-16/ARC."""
    crc = 0
    for byte in data:
        crc = crc >> 8 ^ _CRC16[(crc ^ byte) & 0xFF]
    return crc


def csum16(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    number = int.from_bytes(data + b"\0" * (len(data) % 2), "big")
    # 2^16 is 1 modulo 0xFFFF: the remainder is the sum of the words with its carries brought round.
    remainder = number % 0xFFFF
    return 0xFFFF - (0xFFFF if remainder == 0 and number else remainder)


def identity(data: bytes) -> int:
    """The first eight bytes as a number."""
    return int.from_bytes(data[:_IDENTITY_BYTES], "big")


FUNCTIONS: Mapping[Algorithm, Callable[[bytes], int]] = {
    Algorithm.CRC16: crc16,
    Algorithm.CRC32: binascii.crc32,
    Algorithm.CSUM16: csum16,
    Algorithm.IDENTITY: identity,
}
