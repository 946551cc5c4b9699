"""Where tables and digests keep their values in 64-bit words: what the C code and Python agree on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from softswitch.c_backend.expressions import words_of
from softswitch.tables import Field, MatchKind

_WORD_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLayout:
    """The words of an entry: the parameters of its action, room for those of any, then its key.

    Attributes:
        param_words: room for parameters.
        key_words: the key's values, of a hashed table; else (mask, low, high) of each field.
    """

    is_hashed: bool
    field_widths: tuple[int, ...]
    param_widths: Mapping[str, tuple[int, ...]]
    param_words: int
    key_words: int


@dataclass(frozen=True, slots=True)
class DigestLayout:
    """A digest as one statement sends it: how many words each member has."""

    name: str
    words: tuple[int, ...]


def table_layout(fields: Iterable[Field], param_widths: Mapping[str, tuple[int, ...]]) -> TableLayout:
    """The layout of a table's entries.

    Raises:
        NotNativeError: a field or parameter is too wide.
    """
    fields = tuple(fields)
    is_hashed = all(field.kind is MatchKind.EXACT for field in fields)
    widths = tuple(field.width for field in fields)
    return TableLayout(
        is_hashed=is_hashed,
        field_widths=widths,
        param_widths=param_widths,
        param_words=max((sum(map(words_of, params)) for params in param_widths.values()), default=0),
        key_words=sum(map(words_of, widths)) * (1 if is_hashed else 3),
    )


def to_words(value: int, width: int) -> tuple[int, ...]:
    """A value as words, the high one first."""
    return (value,) if words_of(width) == 1 else (value >> 64, value & _WORD_MASK)


def from_words(words: Iterable[int], counts: Iterable[int]) -> Iterator[int]:
    """Values out of words, each of so many."""
    source = iter(words)
    for count in counts:
        value = 0
        for _ in range(count):
            value = value << 64 | next(source)
        yield value
