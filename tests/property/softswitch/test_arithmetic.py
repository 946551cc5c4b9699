"""Arithmetic in compiled pipelines is P4's, for any operands."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from support.arithmetic import expected_results
from support.pipelines import load, pack, unpack

PIPELINE = load("arithmetic")
BYTES = st.integers(0, 2**8 - 1)
WORDS = st.integers(0, 2**32 - 1)


@given(BYTES, BYTES, WORDS, WORDS)
def test_results_are_those_of_the_model(a: int, b: int, wide_a: int, wide_b: int) -> None:
    operands = pack(PIPELINE, "operands", a=a, b=b, wide_a=wide_a, wide_b=wide_b)
    [output] = PIPELINE.process(1, operands, 0)
    assert unpack(PIPELINE, "results", output.frame) == expected_results(a, b, wide_a, wide_b)
