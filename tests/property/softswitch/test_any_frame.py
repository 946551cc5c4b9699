"""No frame makes a pipeline raise, and bytes and memoryviews are treated alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.pipeline import Output, Pipeline, Replica, load_pipeline
from softswitch.tables import Entry, Field, MatchKind, MatchValue
from support.pipelines import NAMES, PENTAFLOW_JSON, load


def populated(pipeline: Pipeline) -> Pipeline:
    """A pipeline in which every table that can has an entry for each action, for a packet of zeros or any packet."""
    pipeline.multicast_groups.update({group: (Replica(1, 0), Replica(510, 1)) for group in range(4)})
    for table in pipeline.tables.values():
        if table.is_const or not table.fields:
            continue
        for number, (action, widths) in enumerate(table.actions.items()):
            match = tuple(match_value(field, number) for field in table.fields)
            params = tuple((1 << width) - 1 for width in widths)
            table.insert(Entry(match=match, action=action, params=params, priority=1 + number), now_ns=0)
    return pipeline


def match_value(field: Field, number: int) -> MatchValue:
    match field.kind:
        case MatchKind.EXACT:
            return number % (1 << field.width)
        case MatchKind.LPM:
            return 0, number
        case MatchKind.RANGE:
            return 0, 100 + number
        case MatchKind.TERNARY | MatchKind.OPTIONAL:
            return number, number


PIPELINES = {name: populated(load(name)) for name in NAMES} | {
    "pentaflow": populated(load_pipeline(PENTAFLOW_JSON.read_bytes(), "pentaflow.json"))
}
# Frames that get past the first header: EtherTypes that some program knows, then bytes that are often small.
ETHER_TYPES = [0x0800, 0x0806, 0x8100, 0x86DD, 0x1234, 0x0100, 0x0200, 0x0300, 0x0400, 0x0500, 0x0001]
BYTES = [0, 1, 2, 4, 5, 6, 17, 58, 0x45, 0x46, 0x4F, 0x60, 0x87, 0xA0, 0xFF]
SMALL = st.lists(st.sampled_from(BYTES), max_size=120).map(bytes)
LIKELY = st.builds(
    lambda dst, src, ether_type, rest: dst + src + ether_type.to_bytes(2) + rest,
    st.sampled_from([bytes(6), b"\xff" * 6, b"\0\0\0\0\0\1"]),
    st.sampled_from([bytes(6), b"\0\0\0\0\0\1"]),
    st.sampled_from(ETHER_TYPES),
    SMALL,
)
FRAMES = st.one_of(st.binary(max_size=120), LIKELY, SMALL)


@pytest.mark.parametrize("name", list(PIPELINES))
@given(port=st.integers(0, 510), frame=FRAMES, now_ns=st.integers(0, 2**63))
def test_any_frame_is_processed(name: str, port: int, frame: bytes, now_ns: int) -> None:
    pipeline = PIPELINES[name]
    outputs = pipeline.process(port, frame, now_ns)
    pipeline.digests.clear()
    for output in outputs:
        assert isinstance(output, Output)
        assert isinstance(output.frame, bytes)
        assert 0 <= output.port <= 511


@pytest.mark.parametrize("name", list(PIPELINES))
@given(port=st.integers(0, 510), frame=FRAMES)
def test_a_memoryview_is_as_good(name: str, port: int, frame: bytes) -> None:
    """From the same registers: the first of the two may have changed them."""
    pipeline = PIPELINES[name]
    before = {register: list(cells) for register, cells in pipeline.registers.items()}
    outputs = pipeline.process(port, memoryview(frame), 0)
    for register, cells in before.items():
        pipeline.registers[register][:] = cells
    assert outputs == pipeline.process(port, frame, 0)
