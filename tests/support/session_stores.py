"""Stores of sessions on real SQLite files and real Redis servers, and what may happen to them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from support.redis import running_redis
from tlsnodes.store.redis import RedisStore
from tlsnodes.store.sqlite import SqliteStore
from tlsnodes.store.store import Conflict, SessionStore

WAIT_S = 20.0
MAX_BYTES = 1 << 30
SMALL_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A kind of store, and what may happen to it.

    Attributes:
        where: a path or URL, see `open_at`.
        hang: from now on nothing is written.
        go_on: everything is well again.
        restart: it ends and comes back; None: it is no process.
        limit: as much as it has and `SMALL_BYTES` more is all that it takes from now on.
    """

    where: str
    hang: Callable[[], None]
    go_on: Callable[[], None]
    restart: Callable[[], None] | None
    limit: Callable[[], None]

    def open(self, *, timeout_s: float = WAIT_S, max_bytes: int = MAX_BYTES) -> SessionStore:
        """The store, as one worker has it."""
        return open_at(self.where, timeout_s=timeout_s, max_bytes=max_bytes)


def open_at(where: str, *, timeout_s: float = WAIT_S, max_bytes: int = MAX_BYTES) -> SessionStore:
    """A store by its URL or path; `max_bytes` is for files."""
    if where.startswith("redis"):
        return RedisStore(where, password=None, ca_pem=None, timeout_s=timeout_s)
    return SqliteStore(Path(where), timeout_s=timeout_s, max_bytes=max_bytes)


@contextmanager
def sqlite_backend(folder: Path) -> Iterator[Backend]:
    """A file."""
    path = folder / "sessions.sqlite"
    others: list[sqlite3.Connection] = []

    def hang() -> None:
        others.append(sqlite3.connect(path, isolation_level=None))
        others[-1].execute("BEGIN EXCLUSIVE")

    def go_on() -> None:
        while others:
            others.pop().close()

    try:
        yield Backend(where=str(path), hang=hang, go_on=go_on, restart=None, limit=lambda: None)
    finally:
        go_on()


@contextmanager
def redis_backend(folder: Path) -> Iterator[Backend]:
    """A server."""
    with running_redis(folder) as server:

        def restart() -> None:
            server.kill()
            server.start()

        yield Backend(
            where=server.url,
            hang=server.pause,
            go_on=server.resume,
            restart=restart,
            limit=lambda: server.limit_memory(SMALL_BYTES),
        )


def contend(where: str, worker: int, rounds: int) -> list[bool]:
    """As one of several processes: make the same keys, and count by compare and set; which keys this one made."""

    async def run() -> list[bool]:
        store = open_at(where)
        try:
            made = []
            for i in range(rounds):
                record, is_made = await store.get_or_create(b"key-%d" % i, b"%d" % worker, 60)
                assert is_made == (record.value == b"%d" % worker)
                made.append(is_made)
                await increase(store, b"counter")
            return made
        finally:
            await store.close()

    return asyncio.run(run())


async def increase(store: SessionStore, key: bytes) -> None:
    """One more, however many others do the same."""
    while True:
        record, _ = await store.get_or_create(key, b"0", 60)
        with suppress(Conflict):
            await store.update(key, b"%d" % (int(record.value) + 1), record.version)
            return
