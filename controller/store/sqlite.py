"""The store in a SQLite file or in memory (shell): a thread of its own, the clock, time-outs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from controller.store.base import Campaign, Change, Condition, Item, Leader, StoreUnavailable
from controller.store.database import Database, Moment
from pentaflow.errors import ConfigurationError

_T = TypeVar("_T")


class SqliteStore:
    """See `Store`; for controllers of one machine."""

    def __init__(self, database: Database, *, timeout_s: float) -> None:
        """
        Args:
            database: is this object's from now on.
            timeout_s: how long a call may take.
        """
        self._database = database
        self._timeout_s = timeout_s
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # SQLite waits for disks and other processes, which the event loop must not.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    @classmethod
    def open(cls, path: Path | None, *, timeout_s: float) -> Self:
        """
        Args:
            path: the file, made for its owner only if there is none; None: in memory.
            timeout_s: how long a call may take.

        Raises:
            ConfigurationError: the file cannot be opened, or is something else.
        """
        if path:
            try:
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            except OSError as error:
                raise ConfigurationError(f"store {path}", f"cannot be opened: {error.strerror}") from None
        return cls(Database(path, busy_timeout_s=timeout_s), timeout_s=timeout_s)

    async def get(self, key: str) -> Item | None:
        """See `Store`."""
        return await self._run(lambda: self._database.get(key))

    async def list(self, prefix: str, *, after: str = "", limit: int = 0) -> Mapping[str, Item]:
        """See `Store`."""
        return await self._run(lambda: self._database.list(prefix, after, limit))

    async def commit(self, epoch: int, changes: Sequence[Change], conditions: Sequence[Condition] = ()) -> int:
        """See `Store`."""
        return await self._run(lambda: self._database.commit(epoch, changes, conditions, self._moment()))

    async def leader(self) -> Leader | None:
        """See `Store`."""
        return await self._run(lambda: self._database.maybe_leader(self._moment()))

    async def campaign(self, *, name: str, address: str, lease_s: int, unix_s: int) -> Campaign:
        """See `Store`."""
        return await self._run(lambda: self._database.campaign(name, address, lease_s, unix_s, self._moment()))

    async def renew(self, epoch: int) -> None:
        """See `Store`."""
        await self._run(lambda: self._database.renew(epoch, self._moment()))

    async def resign(self, epoch: int) -> None:
        """See `Store`."""
        await self._run(lambda: self._database.resign(epoch))

    async def close(self) -> None:
        """See `Store`."""
        await self._run(self._database.close)
        self._thread.shutdown(wait=False)

    def _moment(self) -> Moment:
        return Moment(self._boot, time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    async def _run(self, work: Callable[[], _T]) -> _T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except TimeoutError:
            raise StoreUnavailable("store", f"no answer within {self._timeout_s:g} s") from None
