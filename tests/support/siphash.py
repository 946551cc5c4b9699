"""HalfSipHash over bytes, written from its definition: the oracle for `pentaflow.hash`.

Aumasson and Bernstein, "SipHash: a fast short-input PRF", and the reference implementation's 32-bit variant. It works
on byte strings, as the definition does; the code under test works on words.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

ROTATIONS = (5, 16, 8, 7, 13, 16)


def rotate(value: int, by: int) -> int:
    return (value << by | value >> 32 - by) & 0xFFFF_FFFF


@dataclass(slots=True)
class State:
    a: int
    b: int
    c: int
    d: int

    def half_round(self) -> None:
        r = ROTATIONS
        self.a, self.c = (self.a + self.b) & 0xFFFF_FFFF, (self.c + self.d) & 0xFFFF_FFFF
        self.b, self.d = rotate(self.b, r[0]) ^ self.a, rotate(self.d, r[2]) ^ self.c
        self.a = rotate(self.a, r[1])
        self.c, self.a = (self.c + self.b) & 0xFFFF_FFFF, (self.a + self.d) & 0xFFFF_FFFF
        self.b, self.d = rotate(self.b, r[4]) ^ self.c, rotate(self.d, r[3]) ^ self.a
        self.c = rotate(self.c, r[5])


def halfsiphash_of_bytes(key: bytes, message: bytes, *, c_rounds: int = 1, d_rounds: int = 3) -> int:
    """HalfSipHash-c-d of `message` under an 8-byte key, 32 bits."""
    k0, k1 = struct.unpack("<II", key)
    state = State(k0, k1, k0 ^ 0x6C796765, k1 ^ 0x74656462)
    padded = message + bytes(-(len(message) + 1) % 4) + bytes([len(message) & 0xFF])
    for (word,) in struct.iter_unpack("<I", padded):
        state.d ^= word
        for _ in range(c_rounds):
            state.half_round()
        state.a ^= word
    state.c ^= 0xFF
    for _ in range(d_rounds):
        state.half_round()
    return state.b ^ state.d
