"""What tests/p4/arithmetic.p4 must compute, written down a second time."""

from __future__ import annotations


def expected_results(a: int, b: int, wide_a: int, wide_b: int) -> dict[str, int]:
    """The fields of `results_h` by P4's rules for bit<8> a, b and bit<32> wide_a, wide_b."""
    return {
        "sum": (a + b) % 256,
        "difference": (a - b) % 256,
        "product": a * b % 256,
        "left": a * 2**b % 256,
        "right": a // 2**b,
        "both": a & b,
        "either": a | b,
        "one": a ^ b,
        "complement": 255 - a,
        "negative": -a % 256,
        "saturated_sum": min(a + b, 255),
        "saturated_difference": max(a - b, 0),
        "joined": a * 256 + b,
        "high": a // 16,
        "low": a % 16,
        "greater": max(a, b),
        "less": int(a < b),
        "less_or_equal": int(a <= b),
        "equal": int(a == b),
        "not_equal": int(a != b),
        "greater_or_equal": int(a >= b),
        "a_and_b": int(a != 0 and b != 0),
        "a_or_b": int(a != 0 or b != 0),
        "not_a": int(a == 0),
        "rotated": wide_a * 32 % 2**32 + wide_a // 2**27,
        "wide_sum": (wide_a + wide_b) % 2**32,
        "narrowed": wide_a % 256,
        "widened": wide_a,
    }
