"""How a header's bytes become variables and come back: one `struct` format for each header.

Only fields that the program uses get variables of their own. Unused stretches are skipped, or kept as bytes when the
header may have to be written anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from softswitch.program import ir
from softswitch.python_backend.source import Names

_CODES = {8: "Q", 4: "I", 2: "H", 1: "B"}


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbouring fields that begin and end on byte boundaries: (variable, width); no variable: not used.

    No fields: bytes that are not used.
    """

    size: int
    fields: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A header's variables. `is_rewritten`: the deparser makes it from them instead of copying the packet's bytes.

    Attributes:
        unpack_format: for `struct`, giving `parts`; `assignments` then make fields that are not parts by themselves.
        pack_format: for `struct`, taking the values that `pack_values` lists.
        variables: all of the variables that last, with their value in an all-zero header, as Python text.
    """

    header: ir.Header
    is_rewritten: bool
    unpack_format: str
    parts: tuple[str, ...]
    assignments: tuple[str, ...]
    pack_format: str
    pack_values: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]


def layout(header: ir.Header, used: Iterable[str], is_rewritten: bool, names: Names) -> Layout:
    """The layout of a header of which the `used` fields get variables."""
    unpack, pack = [], []
    parts: list[str] = []
    assignments: list[str] = []
    pack_values: list[str] = []
    variables: list[tuple[str, str]] = []
    for group in _merge_unused(_groups(header, frozenset(used), is_rewritten, names)):
        if not group.fields:
            unpack.append(f"{group.size}{'s' if is_rewritten else 'x'}")
            if is_rewritten:
                name = names.of("bytes", header.name, str(len(variables)))
                pack.append(f"{group.size}s")
                parts.append(name)
                pack_values.append(name)
                variables.append((name, f"bytes({group.size})"))
            continue
        sizes = list(_chunks(group.size))
        codes = "".join(_CODES[size] for size in sizes)
        unpack.append(codes)
        pack.append(codes)
        used_fields = [(name, "0") for name, _ in group.fields if name]
        variables += used_fields
        if len(sizes) == 1 and len(group.fields) == 1:
            parts.append(group.fields[0][0])
            pack_values.append(group.fields[0][0])
            continue
        chunks = [f"part{len(parts) + i}" for i in range(len(sizes))]
        parts += chunks
        assignments += _split(chunks, sizes, group)
        pack_values += _joined(sizes, group)
    if header.varbit is not None and is_rewritten:
        variables.append((names(header.name, header.varbit), 'b""'))
    return Layout(
        header=header,
        is_rewritten=is_rewritten,
        unpack_format=">" + "".join(unpack),
        parts=tuple(parts),
        assignments=tuple(assignments),
        pack_format=">" + "".join(pack),
        pack_values=tuple(pack_values),
        variables=tuple(variables),
    )


def _groups(header: ir.Header, used: frozenset[str], is_rewritten: bool, names: Names) -> Iterator[_Group]:
    bits = 0
    fields: list[tuple[str, int]] = []
    for field, width in header.fields.items():
        fields.append((field, width))
        bits += width
        if bits % 8 == 0:
            in_use = {name for name, _ in fields if name in used}
            wanted = {name for name, _ in fields} if in_use and is_rewritten else in_use
            named = tuple((names(header.name, f) if f in wanted else "", w) for f, w in fields)
            yield _Group(bits // 8, named if in_use else ())
            bits, fields = 0, []


def _merge_unused(groups: Iterable[_Group]) -> list[_Group]:
    merged: list[_Group] = []
    for group in groups:
        if merged and not merged[-1].fields and not group.fields:
            merged[-1] = _Group(merged[-1].size + group.size, ())
        else:
            merged.append(group)
    return merged


def _chunks(size: int) -> Iterator[int]:
    for chunk in _CODES:
        while size >= chunk:
            yield chunk
            size -= chunk


def _split(chunks: list[str], sizes: list[int], group: _Group) -> Iterator[str]:
    """Assignments that make the group's fields from its chunks."""
    whole, below = [], 8 * group.size
    for chunk, size in zip(chunks, sizes, strict=True):
        below -= 8 * size
        whole.append(f"{chunk} << {below}" if below else chunk)
    joined = " | ".join(whole)
    if len(group.fields) == 1:
        yield f"{group.fields[0][0]} = {joined}"
        return
    if len(chunks) > 1:
        yield f"{chunks[0]} = {joined}"
    below = 8 * group.size
    for at, (name, width) in enumerate(group.fields):
        below -= width
        if not name:
            continue
        shifted = f"{chunks[0]} >> {below}" if below else chunks[0]
        yield f"{name} = {shifted}" if at == 0 else f"{name} = {shifted} & {(1 << width) - 1:#x}"


def _joined(sizes: list[int], group: _Group) -> Iterator[str]:
    """The group's chunks, made from its fields."""
    fields, below = [], 8 * group.size
    for name, width in group.fields:
        below -= width
        fields.append(f"{name} << {below}" if below else name)
    whole = fields[0] if len(fields) == 1 else f"({' | '.join(fields)})"
    below = 8 * group.size
    for at, size in enumerate(sizes):
        below -= 8 * size
        shifted = f"{whole} >> {below}" if below else whole
        yield shifted if at == 0 else f"{shifted} & {(1 << 8 * size) - 1:#x}"
