"""The compiler: arithmetic at the edges of its widths, and what the generated source looks like."""

from __future__ import annotations

import pytest

from softswitch.pipeline import load_pipeline
from softswitch.program import ir
from softswitch.program.ir import Binary, BinaryOp, Constant, FieldValue, Unary, UnaryOp, parts
from softswitch.python_backend.source import Expressions, Names, bare, is_redundant_mask
from support.arithmetic import expected_results
from support.pipelines import PENTAFLOW_JSON, load, pack, unpack

BYTE = FieldValue("h", "byte", 8)


@pytest.mark.parametrize(
    ("a", "b", "wide_a", "wide_b"),
    [
        (0, 0, 0, 0),
        (255, 1, 0xFFFF_FFFF, 1),
        (0, 1, 0x8000_0001, 0x7FFF_FFFF),
        (255, 255, 0xFFFF_FFFF, 0xFFFF_FFFF),
        (128, 7, 0x0800_0000, 0),
        (1, 8, 1, 1),
        (200, 100, 0x1234_5678, 0x9ABC_DEF0),
    ],
)
def test_every_operator_wraps_at_its_width(a: int, b: int, wide_a: int, wide_b: int) -> None:
    pipeline = load("arithmetic")
    [output] = pipeline.process(3, pack(pipeline, "operands", a=a, b=b, wide_a=wide_a, wide_b=wide_b) + b"rest", 0)
    assert output.port == 3
    assert unpack(pipeline, "results", output.frame) == expected_results(a, b, wide_a, wide_b)
    assert output.frame.endswith(b"rest")


@pytest.mark.parametrize(
    ("value", "mask", "expected"),
    [
        (BYTE, 0xFF, True),
        (BYTE, 0x7F, False),
        (Binary(BinaryOp.ADD, BYTE, BYTE), 0x1FF, True),
        (Binary(BinaryOp.ADD, BYTE, BYTE), 0xFF, False),
        (Binary(BinaryOp.SUB, BYTE, Constant(1)), 0xFFFF_FFFF, False),
        (Unary(UnaryOp.COMPLEMENT, BYTE), 0xFF, False),
        (Binary(BinaryOp.SHL, BYTE, Constant(8)), 0xFFFF, True),
        (Binary(BinaryOp.SHR, BYTE, Constant(4)), 0xF, True),
        (Binary(BinaryOp.MUL, BYTE, BYTE), 0xFFFF, True),
        (Binary(BinaryOp.AND, Unary(UnaryOp.COMPLEMENT, BYTE), Constant(15)), 0xF, True),
    ],
)
def test_a_mask_is_left_out_only_when_it_changes_nothing(value: ir.Expression, mask: int, expected: bool) -> None:
    assert is_redundant_mask(value, Constant(mask)) is expected


def test_names_of_different_fields_differ() -> None:
    names = Names(("now_ns",))
    assert names("now", "ns") == "now_ns_2"
    assert names("a", "b_c") != names("a_b", "c")
    assert names("valid", "x") != names.of("valid", "x")
    assert names("a", "b_c") == names("a", "b_c")


def test_conditions_and_values_convert_into_each_other() -> None:
    expressions = Expressions(Names(()))
    flag = Unary(UnaryOp.DATA_TO_BOOL, FieldValue("m", "flag", 1))
    both = Binary(BinaryOp.BOOL_AND, flag, Unary(UnaryOp.NOT, flag))
    assert expressions.condition(both) == "(m_flag and (not m_flag))"
    assert expressions.value(Unary(UnaryOp.BOOL_TO_DATA, both)) == "(1 if (m_flag and (not m_flag)) else 0)"
    assert expressions.condition(Unary(UnaryOp.BOOL_TO_DATA, flag)) == "m_flag"


@pytest.mark.parametrize(("text", "expected"), [("(a + b)", "a + b"), ("(a) + (b)", "(a) + (b)"), ("a", "a")])
def test_outer_brackets_are_taken_off(text: str, expected: str) -> None:
    assert bare(text) == expected


def test_what_a_statement_writes_is_not_read() -> None:
    assign = ir.Assign(FieldValue("h", "a", 8), FieldValue("h", "b", 8))
    assert [part for part in parts(assign) if isinstance(part, FieldValue)] == [FieldValue("h", "b", 8)]


def test_pentaflow_compiles_to_dictionary_lookups_without_any_loop_over_nodes() -> None:
    source = load_pipeline(PENTAFLOW_JSON.read_bytes(), "pentaflow.json").source
    assert "get_PentaflowIngress_scheduler_bucket((" in source
    assert "lookup_" not in source
    assert source.count("    for ") == 1
