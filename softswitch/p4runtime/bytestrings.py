"""P4Runtime's binary strings: `bit<W>` values, big-endian (P4Runtime 1.5, "Bytestrings")."""

from __future__ import annotations

from softswitch.p4runtime.status import Code, RequestError


def encode_bits(value: int) -> bytes:
    """The canonical form: the fewest bytes that hold `value`, and one for zero."""
    return value.to_bytes((value.bit_length() + 7) // 8 or 1, "big")


def decode_bits(data: bytes, width: int, what: str) -> int:
    """The value of a `bit<width>`; leading zero bytes are accepted, as the specification demands.

    Args:
        data: what the client sent.
        width: in bits.
        what: names the value in the error.

    Raises:
        RequestError: OUT_OF_RANGE for an empty string and for a value that needs more than `width` bits.
    """
    if not data:
        raise RequestError(Code.OUT_OF_RANGE, f"{what}: the byte string is empty, bit<{width}> was expected")
    value = int.from_bytes(data, "big")
    if value >> width:
        raise RequestError(Code.OUT_OF_RANGE, f"{what}: 0x{data.hex()} does not fit bit<{width}>")
    return value
