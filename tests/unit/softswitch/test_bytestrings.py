"""The tables of valid and invalid examples of P4Runtime 1.5, "Bytestrings"."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.p4runtime.bytestrings import decode_bits, encode_bits
from softswitch.p4runtime.status import Code, RequestError


@pytest.mark.parametrize(
    ("width", "data", "value", "is_canonical"),
    [
        (8, b"\x63", 99, True),
        (16, b"\x00\x63", 99, False),
        (16, b"\x63", 99, True),
        (16, b"\x30\x64", 12388, True),
        (16, b"\x00\x30\x64", 12388, False),
        (12, b"\x00\x63", 99, False),
        (12, b"\x63", 99, True),
        (12, b"\x00\x00\x63", 99, False),
        (1, b"\x00", 0, True),
    ],
)
def test_valid_examples(width: int, data: bytes, value: int, is_canonical: bool) -> None:
    assert decode_bits(data, width, "it") == value
    assert (encode_bits(value) == data) is is_canonical


@pytest.mark.parametrize(
    ("width", "data"),
    [
        (8, b"\x01\x63"),
        (8, b""),
        (16, b"\x01\x00\x63"),
        (12, b"\x10\x63"),
        (12, b"\x01\x00\x63"),
        (12, b"\x00\x40\x63"),
    ],
)
def test_invalid_examples(width: int, data: bytes) -> None:
    with pytest.raises(RequestError, match="it: ") as caught:
        decode_bits(data, width, "it")
    assert caught.value.code is Code.OUT_OF_RANGE


@given(st.integers(0, (1 << 128) - 1), st.integers(0, 3))
def test_round_trip(value: int, zeros: int) -> None:
    data = encode_bits(value)
    assert decode_bits(bytes(zeros) + data, 128, "it") == value
    assert len(data) == 1 or data[0]
