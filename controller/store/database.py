"""The store's SQLite database, synchronous, and handed the time; `controller.store.sqlite` runs it.

Several processes of one machine may share a file. The lease then ends by a clock that all of them read, that nobody can
set and that runs while the machine sleeps, but that starts anew with the machine: so the lease notes the boot as well,
and has ended if it was another one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from controller.store.base import (
    Campaign,
    Change,
    Condition,
    Conflict,
    Fenced,
    Item,
    Leader,
    Put,
    StoreUnavailable,
    check_commit,
    next_epoch,
)
from pentaflow.errors import ConfigurationError

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x50_46_4C_57
_NS_PER_S = 1_000_000_000
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE item (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE revision (last INTEGER NOT NULL);
CREATE TABLE lease (
    epoch INTEGER NOT NULL, name TEXT NOT NULL, address TEXT NOT NULL,
    length_ns INTEGER NOT NULL, boot TEXT NOT NULL, end_ns INTEGER NOT NULL
);
INSERT INTO revision VALUES (0);
INSERT INTO lease VALUES (0, '', '', 0, '', 0);
"""


@dataclass(frozen=True, slots=True)
class Moment:
    """A reading of the clock that leases end by: nanoseconds since the machine booted, and which boot that was."""

    boot: str
    now_ns: int


class Database:
    """One connection. Methods raise what `Store` says, and StoreUnavailable for whatever SQLite complains of."""

    def __init__(self, path: Path | None, *, busy_timeout_s: float) -> None:
        """
        Args:
            path: the file, made if there is none; None: in memory.
            busy_timeout_s: how long to wait for another process that writes.

        Raises:
            ConfigurationError: the file cannot be opened, or is something else.
        """
        self._place = f"store {path}" if path else "store in memory"
        try:
            self._connection = sqlite3.connect(
                path or ":memory:", timeout=busy_timeout_s, isolation_level=None, check_same_thread=False
            )
            self._prepare()
        except sqlite3.Error as error:
            raise ConfigurationError(self._place, str(error)) from None

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            (application,) = self._connection.execute("PRAGMA application_id").fetchone()
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables:
                for statement in _SCHEMA.split(";"):
                    self._connection.execute(statement)
            elif application != _APPLICATION_ID:
                raise ConfigurationError(self._place, "is a database of something else")
            elif version != SCHEMA_VERSION:
                raise ConfigurationError(self._place, f"is of version {version}; expected version {SCHEMA_VERSION}")

    def get(self, key: str) -> Item | None:
        """See `Store.get`."""
        row = self._query("SELECT value, revision FROM item WHERE key = ?", key).fetchone()
        return Item(value=row[0], revision=row[1]) if row else None

    def list(self, prefix: str, after: str, limit: int) -> dict[str, Item]:
        """See `Store.list`."""
        rows = self._query(
            "SELECT key, value, revision FROM item WHERE key >= ? AND key > ? AND substr(key, 1, ?) = ? "
            "ORDER BY key LIMIT ?",
            *(prefix, after, len(prefix), prefix, limit or -1),
        )
        return {key: Item(value=value, revision=revision) for key, value, revision in rows}

    def commit(self, epoch: int, changes: Sequence[Change], conditions: Sequence[Condition], moment: Moment) -> int:
        """See `Store.commit`."""
        check_commit(changes)
        with self._transaction():
            self._check_leads(epoch, moment)
            for condition in conditions:
                found = self.get(condition.key)
                if (found.revision if found else 0) != condition.revision:
                    raise Conflict(condition.key, "was changed by somebody else in the meantime")
            ((revision,),) = self._query("UPDATE revision SET last = last + 1 RETURNING last").fetchall()
            for change in changes:
                if isinstance(change, Put):
                    self._query("INSERT OR REPLACE INTO item VALUES (?, ?, ?)", change.key, change.value, revision)
                else:
                    self._query("DELETE FROM item WHERE key = ?", change.key)
        assert isinstance(revision, int)
        return revision

    def maybe_leader(self, moment: Moment) -> Leader | None:
        """See `Store.leader`."""
        leader, boot, end_ns = self._lease()
        return leader if boot == moment.boot and moment.now_ns < end_ns else None

    def campaign(self, name: str, address: str, lease_s: int, unix_s: int, moment: Moment) -> Campaign:
        """See `Store.campaign`."""
        with self._transaction():
            if leader := self.maybe_leader(moment):
                return Campaign(leader=leader, is_won=False)
            last, _, _ = self._lease()
            leader = Leader(epoch=next_epoch(last.epoch, unix_s), name=name, address=address)
            length_ns = lease_s * _NS_PER_S
            self._query(
                "UPDATE lease SET epoch = ?, name = ?, address = ?, length_ns = ?, boot = ?, end_ns = ?",
                *(leader.epoch, name, address, length_ns, moment.boot, moment.now_ns + length_ns),
            )
            return Campaign(leader=leader, is_won=True)

    def renew(self, epoch: int, moment: Moment) -> None:
        """See `Store.renew`."""
        with self._transaction():
            self._check_leads(epoch, moment)
            self._query("UPDATE lease SET end_ns = ? + length_ns", moment.now_ns)

    def resign(self, epoch: int) -> None:
        """See `Store.resign`."""
        with self._transaction():
            self._query("UPDATE lease SET end_ns = 0 WHERE epoch = ?", epoch)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _lease(self) -> tuple[Leader, str, int]:
        epoch, name, address, boot, end_ns = self._query(
            "SELECT epoch, name, address, boot, end_ns FROM lease"
        ).fetchone()
        return Leader(epoch=epoch, name=name, address=address), boot, end_ns

    def _check_leads(self, epoch: int, moment: Moment) -> None:
        leader = self.maybe_leader(moment)
        if leader is None or leader.epoch != epoch:
            raise Fenced(f"epoch {epoch} has ended; {f'{leader.name} leads' if leader else 'nobody leads'}")

    def _query(self, statement: str, *values: object) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise StoreUnavailable(self._place, str(error)) from None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, and nobody else in between."""
        self._query("BEGIN IMMEDIATE")
        try:
            yield
            self._query("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise
