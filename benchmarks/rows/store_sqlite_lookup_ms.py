"""Reads of sessions from SQLite, where a million are."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from statistics import median, quantiles

from benchmarks import stores
from benchmarks.figures import Better
from benchmarks.harness import Benchmark, Profile
from tlsnodes.store.database import Database
from tlsnodes.store.sqlite import SqliteStore

RECORDS = 1_000_000
MAX_BYTES = 4 << 30


def sample(profile: Profile) -> Mapping[str, float]:
    """Milliseconds, of one read after the other."""
    records = int(RECORDS * profile.scale)
    times = stores.run(_measure(_path(_filled(records)), records, profile.seconds))
    return {
        f"{records:,} records, half": median(times),
        f"{records:,} records, 99 of 100": quantiles(times, n=100)[-1],
    }


async def _measure(path: Path, records: int, seconds: float) -> list[float]:
    store = SqliteStore(path, timeout_s=stores.TIMEOUT_S, max_bytes=MAX_BYTES)
    try:
        return await stores.read(store, records, at_once=1, seconds=seconds)
    finally:
        await store.close()


@cache
def _filled(records: int) -> tempfile.TemporaryDirectory[str]:
    """A folder with a store of so many records, made once; it goes with the process."""
    folder = tempfile.TemporaryDirectory()
    _path(folder).touch()
    Database(_path(folder), busy_timeout_s=stores.TIMEOUT_S, max_bytes=MAX_BYTES).close()
    end_s = time.time() + stores.LIFETIME_S
    with closing(sqlite3.connect(_path(folder))) as database, database:
        # What the store writes, in one transaction: a million of its own take minutes.
        database.executemany(
            "INSERT INTO record (key, value, version, uses, end_s) VALUES (?, ?, 1, 0, ?)",
            ((stores.key(number), os.urandom(stores.VALUE_BYTES), end_s) for number in range(records)),
        )
    return folder


def _path(folder: tempfile.TemporaryDirectory[str]) -> Path:
    return Path(folder.name) / "sessions.sqlite"


BENCHMARK = Benchmark(name="store_sqlite_lookup_ms", unit="ms", better=Better.LESS, sample=sample)
