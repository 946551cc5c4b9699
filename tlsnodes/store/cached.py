"""The store as a worker uses it (shell): with copies of its own, and going on when the store is away.

Nothing here raises for the store's sake, and nothing waits longer than the store's time-out. What is written goes out
behind the caller's back, in the order in which it came for each key.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog

from tlsnodes.store.breaker import Breaker
from tlsnodes.store.copies import Copies
from tlsnodes.store.figures import Fault, Figures
from tlsnodes.store.store import Conflict, Record, SessionStore, StoreFull, StoreTimeout, StoreUnavailable

MAX_COPIES_BYTES = 32 << 20
MAX_CALLS = 256
"""Calls that may wait for their answers at once."""
MAX_PENDING = 10_000
"""Writes that may wait; for revocations there is as much room again."""
LANES = 4
"""Writes that are made at once."""
RETRY_S = 0.25
CLOSING_S = 1.0
_CLOSING_TURNS = 100

_log = structlog.get_logger()
_T = TypeVar("_T")


@dataclass(slots=True)
class _Write:
    """What is to be done with a key: put a value unless it is None, touch it if it lives longer then, revoke it."""

    end: float
    value: bytes | None = None
    uses: int = 0
    touch_s: float = 0.0
    is_revoked: bool = False


class CachedStore:
    """One for each worker, for as long as it runs; `use` says which store is behind it.

    A record with an empty value has been revoked: it says that what was under the key is not to be used, and stays
    until it would have expired.
    """

    def __init__(self, *, max_copies_bytes: int = MAX_COPIES_BYTES) -> None:
        self._loop = asyncio.get_running_loop()
        self._store: SessionStore | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._copies = Copies(max_copies_bytes)
        # Of those who ask for the same at once one does it for all. A task that was taken out goes on, but a change has
        # overtaken it: what it brings is not copied.
        self._getting: dict[bytes, asyncio.Task[Record | None]] = {}
        self._making: dict[bytes, asyncio.Task[Record]] = {}
        self._replacing: dict[bytes, asyncio.Task[Record]] = {}
        self._breaker = Breaker()
        self._calls = 0
        self._writes: list[OrderedDict[bytes, _Write]] = [OrderedDict() for _ in range(LANES)]
        self._wake = [asyncio.Event() for _ in range(LANES)]
        self._figures = Figures()

    def use(self, store: SessionStore | None) -> None:
        """Have this store from now on, and close the one before; None: none, only what this worker itself has."""
        before, self._store = self._store, store
        tasks, self._tasks = self._tasks, []
        self._breaker = Breaker()
        self._forget()
        for task in tasks:
            task.cancel()
        self.discard(before)
        if store is not None:
            self._tasks = [asyncio.create_task(self._follow(store))]
            self._tasks += [asyncio.create_task(self._write_all(lane)) for lane in range(LANES)]

    def discard(self, store: SessionStore | None) -> None:
        """Close a store that nobody uses."""
        if store is not None:
            closing = asyncio.create_task(store.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Write what waits, within `CLOSING_S`, and let go of the store."""
        for _ in range(_CLOSING_TURNS):
            if not self._pending or self._breaker.is_open or self._store is None:
                break
            await asyncio.sleep(CLOSING_S / _CLOSING_TURNS)
        self.use(None)
        await asyncio.gather(*self._closing)

    # Reading.

    def maybe_copy(self, key: bytes) -> Record | None:
        """What this worker knows without asking; with an empty value if it is revoked."""
        return self._copies.maybe(key, self._loop.time())

    async def get(self, key: bytes) -> Record | None:
        """The record of a key; None: there is none, it is revoked, or the store does not say."""
        record = self.maybe_copy(key)
        if record is None:
            record = await self._once(self._getting, key, self._get)
        else:
            self._figures.hits += 1
        return record if record is not None and record.value else None

    async def get_or_create(self, key: bytes, value: bytes, lifetime_s: float) -> Record:
        """The record of a key, also a revoked one; made of this value if there is none: for all nodes, or while the
        store is away for this worker only (version 0).
        """
        record = self.maybe_copy(key)
        if record is None:
            return await self._once(self._making, key, lambda key: self._make(key, value, lifetime_s))
        self._figures.hits += 1
        return record

    async def replace(self, key: bytes, before: Record, value: bytes, lifetime_s: float) -> Record:
        """The record of a key that has this value instead of `before`, with the same end: of all who replace that at
        once one does, and the others get what it has put there. If it is gone it is made with this lifetime; while the
        store is away it is so for this worker only (version 0).
        """
        return await self._once(self._replacing, key, lambda key: self._replace(key, before, value, lifetime_s))

    # Writing.

    def put(self, key: bytes, value: bytes, lifetime_s: float) -> None:
        """Have this record: here at once, elsewhere soon, if the store takes it."""
        self._keep(key, Record(value=value, version=0, uses=0, left_s=lifetime_s))
        write = self._maybe_write(key, lifetime_s)
        if write is not None:
            write.value, write.uses, write.touch_s, write.is_revoked = value, 0, 0.0, False

    def touch(self, key: bytes, lifetime_s: float, *, uses: int = 1) -> None:
        """Have the record live at least this long from now on, and count uses."""
        record = self.maybe_copy(key)
        if record is not None:
            self._copies.touch(key, self._loop.time(), lifetime_s=lifetime_s, uses=record.uses + uses)
        write = self._maybe_write(key, lifetime_s)
        if write is not None:
            write.uses += uses
            write.touch_s = max(write.touch_s, lifetime_s)

    def revoke(self, key: bytes, lifetime_s: float) -> None:
        """Have nobody use the record any more: here at once, elsewhere as soon as the store can be told.

        Args:
            key: whose.
            lifetime_s: how long it may live: for so long it is tried.
        """
        self._keep(key, Record(value=b"", version=0, uses=0, left_s=lifetime_s))
        write = self._maybe_write(key, lifetime_s, room=2 * MAX_PENDING)
        if write is not None:
            write.is_revoked = True

    def describe(self) -> dict[str, Any] | None:
        """For the status document; None while there is no store."""
        if self._store is None:
            return None
        return {
            "away": self._breaker.is_open,
            "copies": len(self._copies),
            "pending": self._pending,
            **self._figures.describe(),
        }

    # The store.

    async def _call(self, work: Callable[[SessionStore], Awaitable[_T]]) -> _T:
        if self._store is None:
            raise StoreUnavailable("store", "there is none")
        if self._calls >= MAX_CALLS:
            raise self._failed(Fault.BUSY, StoreUnavailable("store", "too many calls at once"))
        if not self._breaker.may_call(self._loop.time()):
            raise self._failed(Fault.PAUSED, StoreUnavailable("store", "is away"))
        self._calls += 1
        asked_at = time.monotonic()  # the loop's time stands still within a turn
        try:
            result = await work(self._store)
        except Conflict:
            self._breaker.succeeded()
            raise
        except StoreFull as error:
            self._breaker.succeeded()
            raise self._failed(Fault.FULL, error) from None
        except StoreUnavailable as error:
            was_open = self._breaker.is_open
            self._breaker.failed(self._loop.time())
            if self._breaker.is_open and not was_open:
                _log.warning("the store is away; this worker goes on with what it has", reason=str(error))
            is_late = isinstance(error, StoreTimeout)
            raise self._failed(Fault.TIMEOUT if is_late else Fault.UNAVAILABLE, error) from None
        finally:
            self._calls -= 1
        if self._breaker.is_open:
            _log.info("the store is back")
        self._breaker.succeeded()
        self._figures.answered(time.monotonic() - asked_at)
        return result

    def _failed(self, fault: Fault, error: StoreUnavailable) -> StoreUnavailable:
        self._figures.faults[fault] += 1
        return error

    async def _once(
        self, tasks: dict[bytes, asyncio.Task[_T]], key: bytes, work: Callable[[bytes], Coroutine[Any, Any, _T]]
    ) -> _T:
        task = tasks.get(key)
        if task is None:
            task = tasks[key] = asyncio.create_task(work(key))
        return await asyncio.shield(task)

    async def _get(self, key: bytes) -> Record | None:
        try:
            record = await self._call(lambda store: store.get(key))
        except StoreUnavailable:
            record = None
        else:
            self._figures.found += record is not None
            self._figures.missed += record is None
        if self._is_current(self._getting, key) and record is not None:
            self._copies.keep(key, record, self._loop.time())
        return record

    async def _make(self, key: bytes, value: bytes, lifetime_s: float) -> Record:
        try:
            record, is_made = await self._call(lambda store: store.get_or_create(key, value, lifetime_s))
        except StoreUnavailable:
            record = Record(value=value, version=0, uses=0, left_s=lifetime_s)
        else:
            self._figures.found += not is_made
            self._figures.missed += is_made
        if self._is_current(self._making, key):
            self._copies.keep(key, record, self._loop.time())
        return record

    async def _replace(self, key: bytes, before: Record, value: bytes, lifetime_s: float) -> Record:
        try:
            record = await self._call(lambda store: _exchange(store, key, before, value, lifetime_s))
        except StoreUnavailable:
            record = Record(value=value, version=0, uses=0, left_s=lifetime_s)
        if self._is_current(self._replacing, key):
            self._keep(key, record)
        return record

    def _is_current(self, tasks: dict[bytes, asyncio.Task[_T]], key: bytes) -> bool:
        """Whether the running task is still the one for its key; it is over then."""
        if tasks.get(key) is not asyncio.current_task():
            return False
        del tasks[key]
        return True

    def _overtake(self, key: bytes) -> None:
        self._getting.pop(key, None)
        self._making.pop(key, None)
        self._replacing.pop(key, None)

    def _keep(self, key: bytes, record: Record) -> None:
        self._overtake(key)
        self._copies.keep(key, record, self._loop.time())

    def _forget(self) -> None:
        self._getting.clear()
        self._making.clear()
        self._replacing.clear()
        self._copies.clear()

    async def _follow(self, store: SessionStore) -> None:
        async with aclosing(store.watch()) as watch:
            async for changes in watch:
                if not changes.complete:
                    self._forget()
                for key in changes.keys:
                    self._overtake(key)
                    self._copies.drop(key)

    # What is written behind.

    @property
    def _pending(self) -> int:
        return sum(len(writes) for writes in self._writes)

    def _maybe_write(self, key: bytes, lifetime_s: float, *, room: int = MAX_PENDING) -> _Write | None:
        """What waits to be done with a key, from now on; None: there is no room for it, or no store."""
        if self._store is None:
            return None
        lane = hash(key) % LANES
        write = self._writes[lane].get(key)
        end = self._loop.time() + lifetime_s
        if write is None:
            if self._pending >= room:
                self._figures.dropped += 1
                return None
            write = self._writes[lane][key] = _Write(end)
        write.end = max(write.end, end)
        self._wake[lane].set()
        return write

    async def _write_all(self, lane: int) -> None:
        writes, wake = self._writes[lane], self._wake[lane]
        while True:
            while not writes:
                wake.clear()
                await wake.wait()
            key, write = next(iter(writes.items()))
            del writes[key]
            if self._loop.time() >= write.end:
                continue
            try:
                await self._write(key, write)
            except asyncio.CancelledError:
                writes.setdefault(key, write)  # another store's
                raise
            except StoreUnavailable:
                if write.is_revoked and not self._is_put_since(writes, key):
                    writes.setdefault(key, write).is_revoked = True
                    await asyncio.sleep(RETRY_S)
                else:
                    self._figures.dropped += 1

    def _is_put_since(self, writes: OrderedDict[bytes, _Write], key: bytes) -> bool:
        return key in writes and writes[key].value is not None

    async def _write(self, key: bytes, write: _Write) -> None:
        left_s = write.end - self._loop.time()
        if write.is_revoked:
            await self._write_revocation(key, left_s, is_new=write.value is not None)
            return
        if write.value is not None:
            value = write.value
            await self._call(lambda store: store.put(key, value, left_s))
        if write.touch_s:
            uses = await self._call(lambda store: store.touch(key, write.touch_s, uses=write.uses))
            if uses is not None:
                self._copies.touch(key, self._loop.time(), lifetime_s=write.touch_s, uses=uses)

    async def _write_revocation(self, key: bytes, left_s: float, *, is_new: bool) -> None:
        while True:
            try:
                if is_new:
                    await self._call(lambda store: store.put(key, b"", left_s))
                    return
                record = await self._call(lambda store: store.get(key))
                if record is not None and record.value:
                    await self._call(partial(_empty, key=key, version=record.version))
                return
            except Conflict:
                pass
            except StoreFull:
                # There is always room for less; who has a copy is told just the same.
                await self._call(lambda store: store.delete(key))
                return


async def _empty(store: SessionStore, *, key: bytes, version: int) -> None:
    await store.update(key, b"", version)


async def _exchange(store: SessionStore, key: bytes, before: Record, value: bytes, lifetime_s: float) -> Record:
    """One value for another; of a copy that did not come from the store (version 0) only the value is known."""
    current = before if before.version else await store.get(key)
    if current is not None and current.value == before.value:
        try:
            version = await store.update(key, value, current.version)
        except Conflict:
            pass
        else:
            return Record(value=value, version=version, uses=current.uses, left_s=current.left_s)
    record, _ = await store.get_or_create(key, value, lifetime_s)
    return record
