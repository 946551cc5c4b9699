"""The store's SQLite database, synchronous, and handed the time; `tlsnodes.store.sqlite` runs it.

Many processes of one machine share the file. Records end by the time of day, which all of them read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pentaflow.errors import ConfigurationError
from tlsnodes.store.store import Changes, Conflict, Record, StoreFull, StoreUnavailable

SCHEMA_VERSION = 1
KEPT_CHANGES = 10_000
"""Who is further behind with what was changed drops all copies."""
PURGED_PER_WRITE = 2
"""Expired records that each new one takes along: more than come, so that they can't heap up."""
PURGED_WHEN_FULL = 1000
PAGE_BYTES = 4096
_APPLICATION_ID = 0x50_46_4C_53
_JOURNAL_BYTES = 16 << 20
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE record (
    key BLOB NOT NULL UNIQUE, value BLOB NOT NULL, version INTEGER NOT NULL, uses INTEGER NOT NULL, end_s REAL NOT NULL
);
CREATE INDEX record_end ON record (end_s);
CREATE TABLE change (number INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL);
"""

_T = TypeVar("_T")


class Database:
    """One connection. Methods raise what `SessionStore` says, and StoreUnavailable for whatever SQLite complains of.

    `now_s` is in seconds since the epoch.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float, max_bytes: int) -> None:
        """
        Args:
            path: the file; it is there, maybe empty.
            busy_timeout_s: how long to wait for another process that writes.
            max_bytes: how large the file may grow.

        Raises:
            StoreUnavailable: not now.
            ConfigurationError: the file is something else.
        """
        self._place = f"store {path}"
        with self._complaints():
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",
                timeout=busy_timeout_s,
                isolation_level=None,
                check_same_thread=False,
                uri=True,
            )
            try:
                self._prepare(max_bytes // PAGE_BYTES)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, max_pages: int) -> None:
        run = self._connection.execute
        run(f"PRAGMA page_size = {PAGE_BYTES}")
        run("PRAGMA journal_mode = WAL")
        # A commit need not outlive a power failure, the file must: it is synced when the log is copied into it.
        run("PRAGMA synchronous = NORMAL")
        run(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}")
        run(f"PRAGMA max_page_count = {max_pages}")
        with self._transaction():
            ((application,),) = run("PRAGMA application_id").fetchall()
            ((version,),) = run("PRAGMA user_version").fetchall()
            ((tables,),) = run("SELECT count(*) FROM sqlite_master").fetchall()
            if not tables:
                for statement in _SCHEMA.split(";"):
                    run(statement)
            elif application != _APPLICATION_ID:
                raise ConfigurationError(self._place, "is a database of something else")
            elif version != SCHEMA_VERSION:
                raise ConfigurationError(self._place, f"is of version {version}; expected version {SCHEMA_VERSION}")

    def get(self, key: bytes, now_s: float) -> Record | None:
        """See `SessionStore.get`."""
        with self._complaints():
            rows = self._connection.execute(
                "SELECT value, version, uses, end_s FROM record WHERE key = ? AND end_s > ?", (key, now_s)
            ).fetchall()
        if not rows:
            return None
        ((value, version, uses, end_s),) = rows
        return Record(value=value, version=version, uses=uses, left_s=end_s - now_s)

    def put(self, key: bytes, value: bytes, lifetime_s: float, now_s: float) -> int:
        """See `SessionStore.put`."""

        def work() -> int:
            known = self._maybe_version(key)
            version = _after(known, now_s)
            self._write(key, value, version, now_s + lifetime_s, now_s)
            if known is not None:
                self._tell(key)
            return version

        return self._with_room(work, now_s)

    def get_or_create(self, key: bytes, value: bytes, lifetime_s: float, now_s: float) -> tuple[Record, bool]:
        """See `SessionStore.get_or_create`."""
        found = self.get(key, now_s)
        if found is not None:
            return found, False

        def work() -> tuple[Record, bool]:
            found = self.get(key, now_s)  # another process may have been faster
            if found is not None:
                return found, False
            version = _after(self._maybe_version(key), now_s)
            self._write(key, value, version, now_s + lifetime_s, now_s)
            return Record(value=value, version=version, uses=0, left_s=lifetime_s), True

        return self._with_room(work, now_s)

    def update(self, key: bytes, value: bytes, version: int, now_s: float) -> int:
        """See `SessionStore.update`."""
        with self._complaints(), self._transaction():
            after = _after(version, now_s)
            changed = self._connection.execute(
                "UPDATE record SET value = ?, version = ? WHERE key = ? AND version = ? AND end_s > ?",
                (value, after, key, version, now_s),
            ).rowcount
            if not changed:
                raise Conflict(self._place, "the record was changed by somebody else, or has ended")
            self._tell(key)
        return after

    def touch(self, key: bytes, lifetime_s: float, uses: int, now_s: float) -> int | None:
        """See `SessionStore.touch`."""
        with self._complaints(), self._transaction():
            rows = self._connection.execute(
                "UPDATE record SET end_s = max(end_s, ?), uses = uses + ? WHERE key = ? AND end_s > ? RETURNING uses",
                (now_s + lifetime_s, uses, key, now_s),
            ).fetchall()
        return rows[0][0] if rows else None

    def delete(self, key: bytes) -> None:
        """See `SessionStore.delete`."""
        with self._complaints(), self._transaction():
            if self._connection.execute("DELETE FROM record WHERE key = ?", (key,)).rowcount:
                self._tell(key)

    def changes_after(self, number: int | None) -> tuple[int, Changes]:
        """What was changed after change `number`, and the number of the last one; None: nobody knows."""
        with self._complaints():
            ((first, last),) = self._connection.execute("SELECT min(number), max(number) FROM change").fetchall()
            if number is None or (last or 0) < number or (first or 0) > number + 1:
                return last or 0, Changes(complete=False)
            rows = self._connection.execute(
                "SELECT number, key FROM change WHERE number > ? ORDER BY number", (number,)
            ).fetchall()
        return rows[-1][0] if rows else number, Changes(tuple(key for _, key in rows))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _maybe_version(self, key: bytes) -> int | None:
        """Of an expired record as well."""
        rows = self._connection.execute("SELECT version FROM record WHERE key = ?", (key,)).fetchall()
        return rows[0][0] if rows else None

    def _with_room(self, work: Callable[[], _T], now_s: float) -> _T:
        """Do it in a transaction; when the file is full, once more without what has expired."""
        try:
            with self._complaints(), self._transaction():
                return work()
        except StoreFull:
            with self._complaints(), self._transaction():
                self._purge(PURGED_WHEN_FULL, now_s)
        with self._complaints(), self._transaction():
            return work()

    def _purge(self, count: int, now_s: float) -> None:
        self._connection.execute(
            "DELETE FROM record WHERE rowid IN (SELECT rowid FROM record WHERE end_s <= ? ORDER BY end_s LIMIT ?)",
            (now_s, count),
        )

    def _write(self, key: bytes, value: bytes, version: int, end_s: float, now_s: float) -> None:
        self._purge(PURGED_PER_WRITE, now_s)
        self._connection.execute("INSERT OR REPLACE INTO record VALUES (?, ?, ?, 0, ?)", (key, value, version, end_s))

    def _tell(self, key: bytes) -> None:
        number = self._connection.execute("INSERT INTO change (key) VALUES (?)", (key,)).lastrowid or 0
        self._connection.execute("DELETE FROM change WHERE number <= ?", (number - KEPT_CHANGES,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite may have done it already
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise StoreFull(self._place, "has no room for more") from None
            raise StoreUnavailable(self._place, str(error)) from None
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                raise ConfigurationError(self._place, "is no database") from None
            raise StoreUnavailable(self._place, str(error)) from None
        except sqlite3.Error as error:
            raise StoreUnavailable(self._place, str(error)) from None


def _after(version: int | None, now_s: float) -> int:
    """A version that no record of the key has had: the time in microseconds, or one more than the last."""
    return max((version or 0) + 1, int(now_s * 1_000_000))
