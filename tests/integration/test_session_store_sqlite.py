"""What only a file does: it has a mode, may be something else, and must not grow."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from contextlib import aclosing
from pathlib import Path

import pytest

from pentaflow.errors import ConfigurationError
from tlsnodes.store.database import KEPT_CHANGES, PURGED_PER_WRITE, Database
from tlsnodes.store.sqlite import SqliteStore
from tlsnodes.store.store import Changes, StoreUnavailable

WAIT_S = 20.0
MAX_BYTES = 1 << 30


def open_store(path: Path, *, timeout_s: float = WAIT_S) -> SqliteStore:
    return SqliteStore(path, timeout_s=timeout_s, max_bytes=MAX_BYTES)


def open_database(path: Path) -> Database:
    path.touch()
    return Database(path, busy_timeout_s=WAIT_S, max_bytes=MAX_BYTES)


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_nobody_else_can_read_the_files(tmp_path: Path) -> None:
    store = open_store(tmp_path / "sessions.sqlite")
    await store.put(b"a", b"1", 30)
    assert modes_in(tmp_path) == dict.fromkeys(("sessions.sqlite", "sessions.sqlite-wal", "sessions.sqlite-shm"), 0o600)
    await store.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [("text", "is no database"), ("other", "of something else"), ("later", "is of version 2; expected version 1")],
)
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "sessions.sqlite"
    if content == "text":
        path.write_text("not a database, but long enough for one " * 100)
    else:
        if content == "later":
            open_database(path).close()
        other = sqlite3.connect(path)
        other.execute("PRAGMA user_version = 2" if content == "later" else "CREATE TABLE other (a)")
        other.close()
    with pytest.raises(ConfigurationError, match=message):
        open_store(path)
    with pytest.raises(ConfigurationError, match="cannot be opened: No such file or directory"):
        open_store(tmp_path / "absent" / "sessions.sqlite")


async def test_a_file_that_is_locked_at_the_start_is_used_later(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    store = open_store(path, timeout_s=0.1)
    with pytest.raises(StoreUnavailable):
        await store.put(b"a", b"1", 30)
    other.close()
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                await store.put(b"a", b"1", 30)
                break
            except StoreUnavailable:
                await asyncio.sleep(0.02)
    assert await store.get(b"a")
    await store.close()


def test_what_has_expired_goes_as_others_come(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite"
    database = open_database(path)
    for i in range(100):
        database.put(b"old-%d" % i, b"1", 10, 1000)
    for i in range(100 // PURGED_PER_WRITE):
        database.put(b"new-%d" % i, b"1", 10, 2000)
    database.close()
    left = sqlite3.connect(path).execute("SELECT count(*), min(end_s) FROM record").fetchone()
    assert left == (100 // PURGED_PER_WRITE, 2010)


async def test_who_was_away_for_too_many_changes_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite"
    database = open_database(path)
    last, changes = database.changes_after(None)
    assert (last, changes) == (0, Changes(complete=False))
    database.put(b"a", b"1", 10, 1000)
    database.delete(b"a")
    assert database.changes_after(0) == (1, Changes((b"a",)))
    connection = sqlite3.connect(path)
    connection.executemany("INSERT INTO change (key) VALUES (?)", [(b"x",)] * KEPT_CHANGES)
    connection.commit()
    database.put(b"a", b"1", 10, 1000)
    database.delete(b"a")
    assert database.changes_after(1) == (KEPT_CHANGES + 2, Changes(complete=False))
    # As many as are kept are told.
    number, changes = database.changes_after(2)
    assert (number, len(changes.keys)) == (KEPT_CHANGES + 2, KEPT_CHANGES)
    # A file that was made anew counts from the start.
    assert database.changes_after(number + 1) == (number, Changes(complete=False))
    database.close()


async def test_changes_are_told_again_after_the_file_was_locked(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite"
    store = open_store(path, timeout_s=0.1)
    async with aclosing(store.watch()) as changes:
        await anext(changes)
        waiting = asyncio.create_task(anext(changes))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        await asyncio.sleep(0.3)
        other.execute("INSERT INTO change (key) VALUES (?)", (b"a",))
        other.execute("COMMIT")
        other.close()
        async with asyncio.timeout(WAIT_S):
            assert await waiting == Changes((b"a",))
    await store.close()
