"""What a store is: values under keys, changed all or nothing, and only by the controller that leads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pentaflow.errors import PentaflowError

# What etcd takes by default is 128 operations and 1.5 MiB a request; base64 makes four octets of three.
MAX_CHANGES = 50
MAX_COMMIT_OCTETS = 1 << 20


class StoreUnavailable(PentaflowError):
    """The store did not answer in time or cannot do its work; whether a change was made is not known."""


class Conflict(PentaflowError):
    """A key is no longer at the revision that the change was made for; nothing was changed."""


class Fenced(Exception):
    """The caller does not lead, or no longer; nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A value, and the revision of the store that last changed it: above 0, and higher with each change."""

    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Put:
    """Set a key."""

    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key; nothing happens if there is none."""

    key: str


@dataclass(frozen=True, slots=True)
class Condition:
    """A key must be at this revision; 0: it must be absent."""

    key: str
    revision: int


Change = Put | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """Who leads. `epoch` numbers the time of one leader and only grows; `address` is the URL of its REST API."""

    epoch: int
    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """How asking for the lead ended: with the caller as leader, or another who holds the lead."""

    leader: Leader
    is_won: bool


class Store(Protocol):
    """The store. Every call ends within the store's time-out and may raise StoreUnavailable.

    The lead is a lease: whoever asks for it while no lease runs has it for `lease_s`, and for as long again with each
    renewal. `commit` is refused unless the caller's lease runs, so that a leader that slept through its own end and
    wakes up cannot write.
    """

    async def get(self, key: str) -> Item | None:
        """What is under a key."""
        ...

    async def list(self, prefix: str, *, after: str = "", limit: int = 0) -> Mapping[str, Item]:
        """What is under all keys that start with `prefix`, in the order of keys.

        Args:
            prefix: what the keys start with, not empty.
            after: only keys beyond this one.
            limit: at most so many; 0: all.
        """
        ...

    async def commit(self, epoch: int, changes: Sequence[Change], conditions: Sequence[Condition] = ()) -> int:
        """Make all changes, if all conditions hold and the caller leads; the revision that they have now.

        Args:
            epoch: the caller's, as leader.
            changes: at most MAX_CHANGES, of different keys, together MAX_COMMIT_OCTETS.
            conditions: on keys as they were before.

        Raises:
            Fenced: the caller does not lead.
            Conflict: a condition does not hold.
            ValueError: too many changes, or too large.
        """
        ...

    async def leader(self) -> Leader | None:
        """Who leads."""
        ...

    async def campaign(self, *, name: str, address: str, lease_s: int, unix_s: int) -> Campaign:
        """Take the lead if nobody has it.

        Args:
            name: the caller's.
            address: of its REST API.
            lease_s: how long it leads without renewal.
            unix_s: the time, for the epoch: see `next_epoch`.
        """
        ...

    async def renew(self, epoch: int) -> None:
        """Lead for another lease.

        Raises:
            Fenced: the lease has ended.
        """
        ...

    async def resign(self, epoch: int) -> None:
        """Give the lead up, if the caller has it."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...


def next_epoch(last: int, unix_s: int) -> int:
    """The epoch that follows `last` (0: the store knows of none).

    Switches remember the highest election id that they have seen, and its upper half is the epoch. A counter would
    start again at 1 in a store that is new, restored from a backup or only in memory, and its leader would be refused
    by every switch. The time alone may step back. The later of both only grows within a store, whatever the clock does,
    and grows from one store to the next if the new one's leader has a clock that is not behind the old epoch: leaders
    change less than once a second on average, so that epochs don't run ahead of the time.
    """
    return max(last + 1, unix_s)


def check_commit(changes: Sequence[Change]) -> None:
    """Refuse what not every store can do; raises ValueError."""
    octets = sum(len(change.key) + (len(change.value) if isinstance(change, Put) else 0) for change in changes)
    if len(changes) > MAX_CHANGES or octets > MAX_COMMIT_OCTETS:
        raise ValueError(f"{len(changes)} changes of {octets} octets are more than a commit holds")
