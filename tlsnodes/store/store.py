"""What a store of sessions is: records under keys that expire, changed atomically, and known to those that have copies.

A store keeps what it is given: whoever writes a secret seals it before. It loses what it has when it must: nothing in
it is worth more than a full handshake or a new choice of server.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from pentaflow.errors import PentaflowError

MAX_KEY_BYTES = 256
MAX_VALUE_BYTES = 65_536


class StoreUnavailable(PentaflowError):
    """The store did not answer in time or cannot do its work; whether a change was made is not known."""


class StoreTimeout(StoreUnavailable):
    """The store did not answer in time."""


class StoreFull(StoreUnavailable):
    """There is no room for more; nothing was changed, and what is there can be read."""


class Conflict(PentaflowError):
    """The record is gone or no longer at the version that the change was made for; nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is under a key.

    Attributes:
        value: as it was written.
        version: grows with each change of the value, also from one record of a key to the next.
        uses: what `touch` has counted since the value was put.
        left_s: how long it lives from now on, unless it is touched.
    """

    value: bytes
    version: int
    uses: int
    left_s: float


@dataclass(frozen=True, slots=True)
class Changes:
    """Keys of records that were changed or deleted; not `complete`: there may have been others as well."""

    keys: tuple[bytes, ...] = ()
    complete: bool = True


class SessionStore(Protocol):
    """The store. Every call ends within the store's time-out and may raise StoreUnavailable; ValueError for a key or
    value that is too long.

    Lifetimes are in seconds, and above 0. Keys and values are any bytes.
    """

    async def get(self, key: bytes) -> Record | None:
        """The record of a key; None: there is none, or it has expired."""
        ...

    async def put(self, key: bytes, value: bytes, lifetime_s: float) -> int:
        """Have this record, whatever was there; its version."""
        ...

    async def get_or_create(self, key: bytes, value: bytes, lifetime_s: float) -> tuple[Record, bool]:
        """The record of a key, made if there is none, and whether it was made. Of many callers one makes it."""
        ...

    async def update(self, key: bytes, value: bytes, version: int) -> int:
        """Another value for the record at this version, which keeps its end and its uses; the new version.

        Raises:
            Conflict: it is at another one, or gone.
        """
        ...

    async def touch(self, key: bytes, lifetime_s: float, *, uses: int = 0) -> int | None:
        """Have the record live at least this long from now on, and count uses.

        Returns:
            All uses so far; None: there is no record.
        """
        ...

    async def delete(self, key: bytes) -> None:
        """Have no record."""
        ...

    def watch(self) -> AsyncGenerator[Changes, None]:
        """What any caller of any process changes or deletes, for as long as it is iterated.

        Records that are new, expire or are touched are not told. It begins with Changes that are not complete, and so
        it goes on after changes may have been missed: then drop all copies. It never fails: while the store is away it
        waits.
        """
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...


def check_size(key: bytes, value: bytes = b"") -> None:
    """Refuse what not every store takes; raises ValueError."""
    if not 0 < len(key) <= MAX_KEY_BYTES or len(value) > MAX_VALUE_BYTES:
        raise ValueError(f"a key of {len(key)} bytes with a value of {len(value)} is no record")
