"""A cursor over a TLS structure (RFC 8446, 3): never past its end."""

from __future__ import annotations


class TruncatedError(ValueError):
    """A length says more than there is."""


class Octets:
    """What is left of a structure.

    Args:
        data: the structure, whole.
    """

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """The next `size` octets.

        Raises:
            TruncatedError: there are fewer.
        """
        end = self._at + size
        if end > len(self._data):
            raise TruncatedError
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, size: int) -> int:
        """The next `size` octets as an unsigned number."""
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """A vector whose length is a number of `size` octets."""
        return self.take(self.number(size))
