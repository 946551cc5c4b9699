"""The native back end against the Python one: the same packets, counters, digests and registers for the same input."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from softswitch.pipeline import Engine, Pipeline, Replica, load_pipeline
from softswitch.state import CLONE_SESSIONS
from softswitch.tables import Entry, EntryExists, Field, MatchKind, MatchValue, TableFull
from support.pipelines import PENTAFLOW_JSON, PROGRAMS

CONFORMANCE = Path(__file__).parents[2] / "conformance/p4/conformance.json"
PROGRAM_FILES = [*sorted(PROGRAMS.glob("*.json")), CONFORMANCE, PENTAFLOW_JSON]

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler (cc) on PATH")


@dataclass(frozen=True, slots=True)
class Pair:
    """One program on both back ends."""

    python: Pipeline
    native: Pipeline


def pair(path: Path) -> Pair:
    text = path.read_bytes()
    return Pair(load_pipeline(text, path.name), load_pipeline(text, path.name, Engine.NATIVE))


PAIRS: dict[str, Pair] = {}
"""By program; made when a test wants them first."""


def pair_of(path: Path) -> Pair:
    if path.stem not in PAIRS:
        PAIRS[path.stem] = pair(path)
    return PAIRS[path.stem]


# Values that packets and entries are likely to share, and the limits of every width.
COMMON = [0, 1, 2, 3, 4, 5, 6, 17, 80, 443, 510, 511, 0x800, 0x806, 0x0A000001, 0x0A000099, 0x02000000000A]


def numbers(width: int) -> st.SearchStrategy[int]:
    most = (1 << width) - 1
    return st.one_of(st.sampled_from([most, *(value for value in COMMON if value <= most)]), st.integers(0, most))


def match_values(field: Field) -> st.SearchStrategy[MatchValue]:
    value = numbers(field.width)
    match field.kind:
        case MatchKind.EXACT:
            return value
        case MatchKind.LPM:
            return st.tuples(value, st.integers(0, field.width))
        case MatchKind.RANGE:
            return st.tuples(value, value).map(lambda both: (min(both), max(both)))
        case MatchKind.TERNARY | MatchKind.OPTIONAL:
            return st.one_of(st.tuples(value, value), value, st.none())


@st.composite
def entries(draw: st.DrawFn, pipeline: Pipeline) -> list[tuple[str, Entry]]:
    """Entries for the program's tables, with priorities of their own."""
    tables = [table for table in pipeline.tables.values() if table.fields and not table.is_const]
    chosen = draw(st.lists(st.sampled_from(tables), max_size=12)) if tables else []
    result = []
    for number, table in enumerate(chosen, start=1):
        action, widths = draw(st.sampled_from(list(table.actions.items())))
        match = tuple(draw(match_values(field)) for field in table.fields)
        params = tuple(draw(numbers(width)) for width in widths)
        kinds = {field.kind for field in table.fields}
        needs_priority = kinds & {MatchKind.TERNARY, MatchKind.RANGE, MatchKind.OPTIONAL}
        priority = number if needs_priority else 0
        result.append((table.name, Entry(match=match, action=action, params=params, priority=priority)))
    return result


TOKENS = [b"\0", b"\1", b"\2", b"\6", b"\x45", b"\x46", b"\x4f", b"\x06", b"\x11", b"\xff", b"\x08\0", b"\x08\x06"]
PIECES = [
    *TOKENS,
    bytes(4),
    bytes(6),
    b"\xff" * 6,
    b"\x81\0\0\1",
    b"\x01\xbb",
    b"\0\x50",
    b"\x0a\0\0\1",
    b"\x0a\0\0\x99",
]
PLAIN = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)
MACS = st.sampled_from(
    [
        *(bytes(6), b"\xff" * 6, b"\0\0\0\0\0\1", bytes.fromhex("02000000000a")),
        # Addresses that say what to clone, drop or replicate.
        *(bytes([2 * last % 8, 0, 0, 0, 0, last]) for last in range(2, 7)),
    ]
)
TYPES = st.sampled_from(
    [b"\x08\0", b"\x08\x06", b"\x86\xdd", b"\x81\0\0\1\x08\0", b"\x12\x34", *(b"%c\0" % i for i in range(6))]
)
TCP = st.binary(min_size=20, max_size=24)
IPV4 = st.builds(
    lambda words, middle, protocol, src, dst, rest: (
        bytes([0x40 | words]) + middle + bytes([protocol]) + bytes(2) + src + dst + bytes(4 * max(words - 5, 0)) + rest
    ),
    st.sampled_from([5, 5, 5, 6, 15, 4, 0]),
    st.one_of(st.just(bytes(8)), st.binary(min_size=8, max_size=8)),
    st.sampled_from([6, 17, 1, 0]),
    st.binary(min_size=4, max_size=4),
    st.sampled_from([b"\x0a\0\0\1", b"\x0a\0\0\x99", bytes(4)]),
    st.one_of(st.just(b"\x9c\x40\x01\xbb" + bytes(16)), TCP, PLAIN),
)
FRAMES = st.one_of(
    st.binary(max_size=120),
    PLAIN,
    st.builds(lambda dst, src, kind, rest: dst + src + kind + rest, MACS, MACS, TYPES, st.one_of(PLAIN, IPV4)),
)
PACKETS = st.lists(st.tuples(st.integers(0, 511), FRAMES, st.integers(0, 1 << 63)), min_size=1, max_size=8)
GROUPS = st.dictionaries(
    st.one_of(st.integers(0, 6), st.sampled_from([CLONE_SESSIONS + n for n in (1, 5, 6, 0x800)])),
    st.lists(st.builds(Replica, st.integers(0, 511), st.integers(0, 3)), max_size=4).map(tuple),
)


def snapshot(pipeline: Pipeline) -> dict[str, object]:
    """Everything that packets change."""
    return {
        "hits": [
            (table.name, entry.match, entry.priority, entry.packets, entry.octets, entry.last_hit_ns)
            for table in pipeline.tables.values()
            for entry in (*table, table.default)
        ],
        "counters": {name: (list(c.packets), list(c.octets)) for name, c in pipeline.counters.items()},
        "registers": {name: list(cells) for name, cells in pipeline.registers.items()},
        "digests": list(pipeline.digests),
        "clones dropped": pipeline.clones_dropped,
    }


def copy_of(entry: Entry) -> Entry:
    return Entry(match=entry.match, action=entry.action, params=entry.params, priority=entry.priority)


@pytest.mark.parametrize("path", PROGRAM_FILES, ids=lambda path: path.stem)
@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
def test_both_back_ends_do_the_same(path: Path, data: st.DataObject) -> None:
    both = pair_of(path)
    inserted: list[tuple[str, Entry]] = []
    try:
        groups = data.draw(GROUPS)
        for name, entry in data.draw(entries(both.python)):
            with contextlib.suppress(EntryExists, TableFull):
                for pipeline in (both.python, both.native):
                    pipeline.tables[name].insert(copy_of(entry), now_ns=7)
                inserted.append((name, entry))
        for pipeline in (both.python, both.native):
            pipeline.multicast_groups.update(groups)
        for port, frame, now_ns in data.draw(PACKETS):
            expected = both.python.process(port, frame, now_ns)
            assert both.native.process(port, frame, now_ns) == expected
        assert snapshot(both.native) == snapshot(both.python)
    finally:
        for pipeline in (both.python, both.native):
            for name, entry in inserted:
                pipeline.tables[name].delete(entry.match, entry.priority)
            pipeline.multicast_groups.clear()
            pipeline.digests.clear()


@pytest.mark.parametrize("path", PROGRAM_FILES, ids=lambda path: path.stem)
@given(data=st.data())
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
def test_modified_entries_and_defaults_are_seen(path: Path, data: st.DataObject) -> None:
    both = pair_of(path)
    tables = [table for table in both.python.tables.values() if not table.is_const]
    inserted: list[tuple[str, Entry]] = []
    try:
        for name, entry in data.draw(entries(both.python)):
            action, widths = data.draw(st.sampled_from(list(both.python.tables[name].actions.items())))
            changed = copy_of(entry)
            changed.action, changed.params = action, tuple(data.draw(numbers(width)) for width in widths)
            with contextlib.suppress(EntryExists, TableFull):
                for pipeline in (both.python, both.native):
                    pipeline.tables[name].insert(copy_of(entry), now_ns=7)
                    pipeline.tables[name].modify(changed, now_ns=8)
                inserted.append((name, entry))
        for table in tables:
            if not table.default_is_const:
                action, widths = data.draw(st.sampled_from(list(table.actions.items())))
                params = tuple(data.draw(numbers(width)) for width in widths)
                for pipeline in (both.python, both.native):
                    pipeline.tables[table.name].set_default(action, params)
        for port, frame, now_ns in data.draw(PACKETS):
            expected = both.python.process(port, frame, now_ns)
            assert both.native.process(port, frame, now_ns) == expected
        assert snapshot(both.native) == snapshot(both.python)
    finally:
        for pipeline in (both.python, both.native):
            for name, entry in inserted:
                pipeline.tables[name].delete(entry.match, entry.priority)
            for table in tables:
                if not table.default_is_const:
                    pipeline.tables[table.name].reset_default()
            pipeline.digests.clear()
