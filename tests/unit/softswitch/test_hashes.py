"""The hash algorithms against published check values."""

from __future__ import annotations

import pytest

from softswitch.program.ir import Algorithm
from softswitch.python_backend.hashes import FUNCTIONS, crc16, csum16, identity

CHECK = b"123456789"


def test_crcs_have_the_published_check_values() -> None:
    assert crc16(CHECK) == 0xBB3D  # CRC-16/ARC
    assert FUNCTIONS[Algorithm.CRC32](CHECK) == 0xCBF43926


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0xFFFF),
        (b"\0\0", 0xFFFF),
        (b"\xff\xff", 0),
        (bytes.fromhex("0001f203f4f5f6f7"), 0xDDF2 ^ 0xFFFF),  # the example of RFC 1071, section 3
        (b"\x12", 0x1200 ^ 0xFFFF),
        (b"\xff\xff\x00\x01", 0xFFFE),
    ],
)
def test_the_internet_checksum(data: bytes, checksum: int) -> None:
    assert csum16(data) == checksum


def test_identity_is_the_first_eight_bytes() -> None:
    assert identity(b"\1\2") == 0x0102
    assert identity(b"12345678rest") == int.from_bytes(b"12345678", "big")
