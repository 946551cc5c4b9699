"""Runs a compiled pipeline: the C library, and the state that it shares with the control plane (shell).

The control plane goes on with Python's tables, counters, registers and groups; what it writes is written through to C,
and what packets change is read from C's memory in place.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterator, MutableMapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

from cffi import FFI

from softswitch.c_backend.compiler import Compiled, part
from softswitch.c_backend.expressions import words_of
from softswitch.c_backend.layout import TableLayout, from_words, to_words
from softswitch.state import CLONE_SESSIONS, MAX_CLONE_SESSION, Digest, Output, Replica, State
from softswitch.tables import Criterion, Entry, Hits

DIGEST_WORDS = 1 << 16
_GROUPS = CLONE_SESSIONS + MAX_CLONE_SESSION + 1
_BATCH_OUTPUTS = 256
_MASK_64 = (1 << 64) - 1


@cache
def declarations() -> Any:
    """The one FFI of all libraries: their structures are the same."""
    ffi = FFI()
    ffi.cdef(part("declarations.h"))
    return ffi


class NativeEngine:
    """A library with its state.

    Args:
        library: what `Compiled.source` was compiled to.
        state: its tables, counters and registers are bound to the library for good; counters and registers must be
            arrays of 64-bit words.
        groups: the state's multicast groups.
    """

    def __init__(self, compiled: Compiled, library: Path, state: State, groups: NativeGroups) -> None:
        self.ffi = ffi = declarations()
        self.lib = lib = ffi.dlopen(str(library))
        self._digest_layouts = compiled.digests
        self._state = state
        self.state = ffi.new("struct pf_state *")
        self.state.seed = secrets.randbits(64)
        count = len(compiled.tables)
        # Looked up now: cffi holds a lock while it does, and the collector may free these tables at such a moment.
        free = lib.pf_free
        self._tables = ffi.gc(ffi.new("struct pf_table[]", max(count, 1)), lambda tables: free(tables, count))
        self.state.tables = self._tables
        self._digests = ffi.new("uint64_t[]", DIGEST_WORDS)
        self.state.digests, self.state.digests_capacity = self._digests, DIGEST_WORDS
        counters = list(state.counters.values())
        self._cells = [
            self._bind("packets", [counter.packets for counter in counters]),
            self._bind("octets", [counter.octets for counter in counters]),
            self._bind("registers", list(state.registers.values())),
        ]
        self._clones_dropped = ffi.from_buffer("uint64_t[]", state.clones_dropped)
        self.state.clones_dropped = self._clones_dropped
        for number, (name, layout) in enumerate(compiled.tables.items()):
            state.tables[name].attach(_Mirror(self, ffi.addressof(self._tables, number), layout))
        self._heads_size = int(lib.pf_head_bytes())
        self._most_egress_clones = compiled.most_egress_clones
        self.most_copies = 0
        self.ensure_outputs(1)
        self.groups = ffi.new("struct pf_group *[]", _GROUPS)
        self.state.groups = self.groups
        groups.bind(self)

    def _bind(self, name: str, arrays: list[Any]) -> Any:
        """Point the state at arrays; what must live as long is returned."""
        views = [self.ffi.from_buffer("uint64_t[]", cells) for cells in arrays]
        pointers = self.ffi.new("uint64_t *[]", [*views, self.ffi.NULL])
        setattr(self.state, name, pointers)
        return views, pointers

    def ensure_outputs(self, count: int) -> None:
        """Make room for so many copies of a packet and its egress clones, and for a batch of packets without."""
        count += self._most_egress_clones
        if count <= self.most_copies:
            return
        ffi = self.ffi
        self.most_copies = count
        count += _BATCH_OUTPUTS
        self._list, self._heads = ffi.new("struct pf_output[]", count), ffi.new("uint8_t[]", count * self._heads_size)
        self.outputs = ffi.new("struct pf_outputs *")
        self.outputs.outputs, self.outputs.heads, self.outputs.capacity = self._list, self._heads, count

    def process(self, port: int, frame: bytes | memoryview, now_ns: int) -> list[Output]:
        """Run one frame, as `softswitch.pipeline.Pipeline.process`."""
        ffi, outputs = self.ffi, self.outputs
        outputs.count = 0
        self.lib.pf_process(
            self.state, port, ffi.from_buffer("uint8_t[]", frame), len(frame), now_ns & _MASK_64, outputs
        )
        result = []
        for at in range(outputs.count):
            output = outputs.outputs[at]
            head, tail = ffi.buffer(output.head, output.head_length), ffi.buffer(output.tail, output.tail_length)
            result.append(Output(output.port, head[:] + tail[:]))
        if self.state.digests_used:
            self.take_digests()
        return result

    def take_digests(self) -> None:
        """Move what was learned to the state's list."""
        words = self.ffi.unpack(self._digests, self.state.digests_used)
        self.state.digests_used = 0
        at = 0
        while at < len(words):
            layout = self._digest_layouts[words[at]]
            end = at + 1 + sum(layout.words)
            self._state.digests.append(Digest(layout.name, tuple(from_words(words[at + 1 : end], layout.words))))
            at = end


class NativeGroups(MutableMapping[int, tuple[Replica, ...]]):
    """Multicast groups, written through to C once an engine is bound."""

    def __init__(self) -> None:
        self._replicas: dict[int, tuple[Replica, ...]] = {}
        self._cells: dict[int, Any] = {}
        self._engine: NativeEngine | None = None

    def bind(self, engine: NativeEngine) -> None:
        """Write through to this engine from now on."""
        self._engine = engine

    def __getitem__(self, group: int) -> tuple[Replica, ...]:
        return self._replicas[group]

    def __setitem__(self, group: int, replicas: tuple[Replica, ...]) -> None:
        self._replicas[group] = replicas
        if self._engine is not None:
            # A packet may be cloned and replicated: twice the longer of both lists.
            self._engine.ensure_outputs(2 * len(replicas))
            cell = self._engine.ffi.new("struct pf_group *", {"count": len(replicas), "replicas": list(replicas)})
            self._engine.groups[group] = cell
            self._cells[group] = cell

    def __delitem__(self, group: int) -> None:
        del self._replicas[group]
        if self._engine is not None:
            self._engine.groups[group] = self._engine.ffi.NULL
            del self._cells[group]

    def __iter__(self) -> Iterator[int]:
        return iter(self._replicas)

    def __len__(self) -> int:
        return len(self._replicas)


class _Mirror:
    """One table's entries in C: each lives in memory that its `Entry` owns."""

    def __init__(self, engine: NativeEngine, table: Any, layout: TableLayout) -> None:
        self._lib, self._state = engine.lib, engine.state
        self._new, self._move, self._insert = engine.ffi.new, engine.ffi.memmove, engine.lib.pf_insert
        self._table = table
        self._layout = layout
        table.key_at, table.key_words = layout.param_words, layout.key_words
        widths = (*layout.field_widths, *(width for params in layout.param_widths.values() for width in params))
        self._is_narrow = all(words_of(width) == 1 for width in widths)
        words = layout.param_words + layout.key_words
        # packets, octets, last_hit_ns, code, rank, words
        self._pack = struct.Struct(f"=4Qq{words}Q").pack
        self._padding = {
            action: (0,) * (layout.param_words - sum(map(words_of, widths)))
            for action, widths in layout.param_widths.items()
        }
        self._type, self._room = engine.ffi.typeof("struct pf_entry *"), {"words": words}

    def insert_exact(self, entry: Entry, now_ns: int) -> Hits:
        """Add an entry."""
        cell: Hits = self._cell(
            entry, self._words(cast(tuple[int, ...], entry.match), self._layout.field_widths), 0, now_ns
        )
        if self._insert(self._state, self._table, cell):
            raise MemoryError
        return cell

    def insert_ranked(self, entry: Entry, criteria: Sequence[Criterion], rank: int, now_ns: int) -> Hits:
        """Add an entry."""
        key = [
            word
            for criterion, width in zip(criteria, self._layout.field_widths, strict=True)
            for value in criterion
            for word in to_words(value, width)
        ]
        cell: Hits = self._cell(entry, key, rank, now_ns)
        if self._lib.pf_insert_ranked(self._table, cell):
            raise MemoryError
        return cell

    def modify(self, entry: Entry) -> None:
        """An entry has another action or other parameters."""
        cell: Any = entry.hits
        cell.code = entry.code
        for at, word in enumerate(self._words(entry.params, self._layout.param_widths[entry.action])):
            cell.words[at] = word

    def delete(self, entry: Entry) -> None:
        """Remove an entry."""
        if self._layout.is_hashed:
            self._lib.pf_delete(self._state, self._table, entry.hits)
        else:
            self._lib.pf_delete_ranked(self._table, entry.hits)

    def set_default(self, entry: Entry) -> Hits:
        """There is another default entry."""
        cell: Hits = self._cell(entry, (0,) * self._layout.key_words, 0, 0)
        self._table.default_entry = cell
        return cell

    def _cell(self, entry: Entry, key: Sequence[int], rank: int, now_ns: int) -> Any:
        action = entry.action
        params = self._words(entry.params, self._layout.param_widths[action])
        packed = self._pack(0, 0, now_ns, entry.code, rank, *params, *self._padding[action], *key)
        cell = self._new(self._type, self._room)
        self._move(cell, packed, len(packed))
        return cell

    def _words(self, values: Sequence[int], widths: Sequence[int]) -> Sequence[int]:
        if self._is_narrow:
            return values
        return [word for value, width in zip(values, widths, strict=True) for word in to_words(value, width)]
