"""The store in a SQLite file, for the workers of one machine (shell): a thread of its own, the clock, time-outs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pentaflow.errors import ConfigurationError
from tlsnodes.store.database import Database
from tlsnodes.store.store import Changes, Record, StoreTimeout, StoreUnavailable, check_size

WATCH_S = 0.05
"""How often other processes' changes are looked for."""

_T = TypeVar("_T")


class SqliteStore:
    """See `SessionStore`."""

    def __init__(self, path: Path, *, timeout_s: float, max_bytes: int) -> None:
        """
        Args:
            path: the file, made for its owner only if there is none.
            timeout_s: how long a call may take.
            max_bytes: how large the file may grow.

        Raises:
            ConfigurationError: the file cannot be opened, or is something else.
        """
        self._path = path
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._database: Database | None = None
        # SQLite waits for disks and other processes, which the event loop must not.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            self._open()
        except StoreUnavailable:
            pass  # it is locked: each call tries again
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    def _open(self) -> Database:
        if self._database is None:
            try:
                os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            except OSError as error:
                raise ConfigurationError(f"store {self._path}", f"cannot be opened: {error.strerror}") from None
            self._database = Database(self._path, busy_timeout_s=self._timeout_s, max_bytes=self._max_bytes)
        return self._database

    async def get(self, key: bytes) -> Record | None:
        """See `SessionStore`."""
        check_size(key)
        return await self._run(lambda database: database.get(key, time.time()))

    async def put(self, key: bytes, value: bytes, lifetime_s: float) -> int:
        """See `SessionStore`."""
        check_size(key, value)
        return await self._run(lambda database: database.put(key, value, lifetime_s, time.time()))

    async def get_or_create(self, key: bytes, value: bytes, lifetime_s: float) -> tuple[Record, bool]:
        """See `SessionStore`."""
        check_size(key, value)
        return await self._run(lambda database: database.get_or_create(key, value, lifetime_s, time.time()))

    async def update(self, key: bytes, value: bytes, version: int) -> int:
        """See `SessionStore`."""
        check_size(key, value)
        return await self._run(lambda database: database.update(key, value, version, time.time()))

    async def touch(self, key: bytes, lifetime_s: float, *, uses: int = 0) -> int | None:
        """See `SessionStore`."""
        check_size(key)
        return await self._run(lambda database: database.touch(key, lifetime_s, uses, time.time()))

    async def delete(self, key: bytes) -> None:
        """See `SessionStore`."""
        check_size(key)
        await self._run(lambda database: database.delete(key))

    async def watch(self) -> AsyncGenerator[Changes, None]:
        """See `SessionStore`."""
        last: int | None = None
        while True:
            known = last
            try:
                last, changes = await self._run(lambda database: database.changes_after(known))  # noqa: B023  # at once
            except StoreUnavailable:
                pass
            else:
                if changes.keys or not changes.complete:
                    yield changes
            await asyncio.sleep(WATCH_S)

    async def close(self) -> None:
        """See `SessionStore`."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()

    async def _run(self, work: Callable[[Database], _T]) -> _T:
        def run() -> _T:
            try:
                return work(self._open())
            except ConfigurationError as error:  # the file was well when the store was made
                raise StoreUnavailable(error.place, error.message) from None

        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except TimeoutError:
            raise StoreTimeout(f"store {self._path}", f"no answer within {self._timeout_s:g} s") from None
