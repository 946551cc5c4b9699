"""Which of several certificates a client gets that asks for a name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class NameTable(Generic[T]):
    """Values by host name: exact names, and wildcards for one label ("*.example.com", RFC 9525, 6.3).

    Args:
        entries: names, in the text form of a certificate, with their values; of equal names the first holds.
    """

    __slots__ = ("_exact", "_wildcards")

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        self._exact: dict[str, T] = {}
        self._wildcards: dict[str, T] = {}
        for name, value in entries:
            if name.startswith("*."):
                self._wildcards.setdefault(_canonical(name[2:]), value)
            else:
                self._exact.setdefault(_canonical(name), value)

    def maybe_find(self, name: str) -> T | None:
        """The value of the exact name, or else of its wildcard."""
        name = _canonical(name)
        found = self._exact.get(name)
        if found is not None or not self._wildcards:
            return found
        label, _, rest = name.partition(".")
        return self._wildcards.get(rest) if label else None


def _canonical(name: str) -> str:
    return name.lower().removesuffix(".")
