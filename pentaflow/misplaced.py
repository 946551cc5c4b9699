"""Values that are wrong where they stand, and names that nothing has."""

from __future__ import annotations

import difflib

Location = tuple[int | str, ...]


class MisplacedError(ValueError):
    """A value that is fine by itself and wrong where it stands; `location` is its path from the root."""

    def __init__(self, location: Location, message: str) -> None:
        super().__init__(message)
        self.location = location


def nearest(name: str, valid: list[str]) -> str:
    """The end of a sentence about an unknown name: what may have been meant."""
    close = difflib.get_close_matches(name, valid, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return "; there is " + (", ".join(map(repr, valid)) if valid else "none")
