"""The test programs of tests/p4, loaded, and their headers as bytes."""

from __future__ import annotations

from pathlib import Path

from softswitch.pipeline import Pipeline, load_pipeline
from softswitch.tables import Entry, MatchValue

PROGRAMS = Path(__file__).parents[1] / "p4"
PENTAFLOW_JSON = Path(__file__).parents[2] / "p4/build/pentaflow.json"
NAMES = sorted(path.stem for path in PROGRAMS.glob("*.json"))


def load(name: str) -> Pipeline:
    """A program of tests/p4."""
    return load_pipeline((PROGRAMS / f"{name}.json").read_bytes(), name)


def pack(pipeline: Pipeline, header: str, **values: int) -> bytes:
    """A header's bytes; fields that are not given are zero."""
    bits = size = 0
    for field, width in pipeline.program.headers[header].fields.items():
        bits = bits << width | values.pop(field, 0)
        size += width
    assert not values
    return bits.to_bytes(size // 8, "big")


def unpack(pipeline: Pipeline, header: str, data: bytes) -> dict[str, int]:
    """The fields at the beginning of some bytes."""
    fields = pipeline.program.headers[header].fields
    left = sum(fields.values())
    bits = int.from_bytes(data[: left // 8], "big")
    values = {}
    for field, width in fields.items():
        left -= width
        values[field] = bits >> left & (1 << width) - 1
    return values


def insert(
    pipeline: Pipeline, table: str, match: tuple[MatchValue, ...], action: str, *params: int, priority: int = 0
) -> Entry:
    """Add an entry to a table of the control I."""
    entry = Entry(match=match, action=f"I.{action}", params=params, priority=priority)
    pipeline.tables[f"I.{table}"].insert(entry, now_ns=0)
    return entry
