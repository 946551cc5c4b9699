"""The store as workers use it, over real SQLite files and a real Redis: copies, and going on when it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.session_stores import SMALL_BYTES, WAIT_S, Backend, redis_backend, sqlite_backend
from tlsnodes.store.cached import MAX_CALLS, MAX_PENDING, CachedStore
from tlsnodes.store.store import Record, SessionStore, StoreFull

TIMEOUT_S = 0.5


@pytest.fixture(params=[sqlite_backend, redis_backend], ids=["sqlite", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with request.param(tmp_path) as found:
        yield found


@pytest.fixture
async def store(backend: Backend) -> AsyncIterator[SessionStore]:
    """The store itself, without copies."""
    found = backend.open()
    yield found
    await found.close()


@pytest.fixture
async def ours(backend: Backend) -> AsyncIterator[CachedStore]:
    """One worker's."""
    found = CachedStore()
    found.use(backend.open(timeout_s=TIMEOUT_S))
    yield found
    await found.close()


@pytest.fixture
async def theirs(backend: Backend) -> AsyncIterator[CachedStore]:
    """Another worker's."""
    found = CachedStore()
    found.use(backend.open(timeout_s=TIMEOUT_S))
    yield found
    await found.close()


def figures(store: CachedStore) -> dict[str, Any]:
    found = store.describe()
    assert found is not None
    return found


async def written(store: CachedStore) -> None:
    await until(lambda: not figures(store)["pending"])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def value_at(store: SessionStore, key: bytes, value: bytes) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            record = await store.get(key)
            if record is not None and record.value == value:
                return
            await asyncio.sleep(0.01)


async def test_what_one_worker_puts_another_gets_and_copies(
    ours: CachedStore, theirs: CachedStore, store: SessionStore
) -> None:
    ours.put(b"a", b"1", 30)
    copy = ours.maybe_copy(b"a")  # at once
    assert copy
    assert copy.value == b"1"
    await value_at(store, b"a", b"1")
    assert theirs.maybe_copy(b"a") is None
    found = await asyncio.gather(*(theirs.get(b"a") for _ in range(10)))
    assert {record.value for record in found if record} == {b"1"}
    assert (figures(theirs)["found"], figures(theirs)["hits"]) == (1, 0)  # one has asked for all
    assert theirs.maybe_copy(b"a")
    assert await theirs.get(b"a")
    assert figures(theirs)["hits"] == 1
    assert await theirs.get(b"absent") is None
    assert figures(theirs)["missed"] == 1


async def test_a_copy_is_dropped_when_the_record_changes(theirs: CachedStore, store: SessionStore) -> None:
    version = await store.put(b"a", b"1", 30)
    await until(lambda: theirs.describe())
    assert await theirs.get(b"a")
    await until(lambda: theirs.maybe_copy(b"a"))
    await store.update(b"a", b"2", version)
    await until(lambda: theirs.maybe_copy(b"a") is None)
    found = await theirs.get(b"a")
    assert found
    assert found.value == b"2"


async def test_a_record_that_is_revoked_is_used_by_nobody(
    ours: CachedStore, theirs: CachedStore, store: SessionStore
) -> None:
    ours.put(b"a", b"1", 30)
    await value_at(store, b"a", b"1")
    assert await theirs.get(b"a")
    theirs.revoke(b"a", 30)
    known = theirs.maybe_copy(b"a")
    assert known
    assert not known.value
    assert await theirs.get(b"a") is None
    await value_at(store, b"a", b"")
    await until(lambda: not (copy := ours.maybe_copy(b"a")) or not copy.value)
    assert await ours.get(b"a") is None
    record = await ours.get_or_create(b"a", b"again", 30)
    assert not record.value


async def test_what_is_put_and_revoked_at_once_is_revoked(ours: CachedStore, store: SessionStore) -> None:
    ours.put(b"a", b"1", 30)
    ours.revoke(b"a", 30)
    await value_at(store, b"a", b"")
    ours.revoke(b"never", 30)
    await written(ours)
    assert await store.get(b"never") is None


async def test_who_has_a_copy_keeps_the_record_alive_and_learns_how_often_it_was_used(
    ours: CachedStore, theirs: CachedStore, store: SessionStore
) -> None:
    await store.put(b"a", b"1", 5)
    for worker in (ours, theirs):
        assert await worker.get(b"a")
    ours.touch(b"a", 60)
    theirs.touch(b"a", 60)
    await written(ours)
    await written(theirs)
    record = await store.get(b"a")
    assert record
    assert record.uses == 2
    assert record.left_s > 30
    await until(lambda: max(copy.uses for w in (ours, theirs) if (copy := w.maybe_copy(b"a"))) == 2)
    copy = ours.maybe_copy(b"a")
    assert copy
    assert copy.left_s > 30


async def test_of_workers_that_create_the_same_one_wins(ours: CachedStore, theirs: CachedStore) -> None:
    found = await asyncio.gather(
        *(worker.get_or_create(b"a", b"%d" % i, 30) for i, worker in enumerate((ours, theirs)) for _ in range(5))
    )
    assert len({record.value for record in found}) == 1
    copies = [worker.maybe_copy(b"a") for worker in (ours, theirs)]
    assert all(copy is None or copy.value == found[0].value for copy in copies)


async def test_of_workers_that_replace_the_same_value_one_does_and_the_others_are_told(
    ours: CachedStore, theirs: CachedStore, store: SessionStore
) -> None:
    before = await ours.get_or_create(b"a", b"old", 30)
    assert (await theirs.get_or_create(b"a", b"x", 30)).value == b"old"
    found = await asyncio.gather(
        *(worker.replace(b"a", before, b"%d" % i, 30) for i, worker in enumerate((ours, theirs)) for _ in range(5))
    )
    assert len({record.value for record in found}) == 1
    await value_at(store, b"a", found[0].value)
    late = await theirs.replace(b"a", before, b"late", 30)
    assert late.value == found[0].value
    await store.delete(b"a")
    assert (await ours.replace(b"a", late, b"anew", 30)).value == b"anew"
    await value_at(store, b"a", b"anew")


async def test_what_was_only_here_is_replaced_by_its_value(
    backend: Backend, ours: CachedStore, theirs: CachedStore, store: SessionStore
) -> None:
    ours.put(b"a", b"put", 30)
    await value_at(store, b"a", b"put")
    known = ours.maybe_copy(b"a")
    if known is None or known.version:  # our own change was told to us
        known = Record(value=b"put", version=0, uses=0, left_s=30)
    assert (await ours.replace(b"a", known, b"mine", 30)).value == b"mine"
    assert (await theirs.replace(b"a", known, b"theirs", 30)).value == b"mine"
    backend.hang()
    alone = await theirs.replace(b"b", known, b"alone", 30)
    assert (alone.value, alone.version) == (b"alone", 0)
    copy = theirs.maybe_copy(b"b")
    assert copy
    assert copy.value == b"alone"
    backend.go_on()


async def test_a_store_that_hangs_costs_little_and_takes_revocations_when_it_is_back(
    backend: Backend, ours: CachedStore, theirs: CachedStore, store: SessionStore
) -> None:
    await store.put(b"shared", b"1", 60)
    assert await theirs.get(b"shared")
    assert await ours.get(b"shared")
    backend.hang()
    began = time.monotonic()
    # Nobody else can have it made meanwhile: this worker goes on with its own.
    record = await ours.get_or_create(b"made", b"here", 60)
    assert (record.value, record.version) == (b"here", 0)
    assert (await ours.get_or_create(b"made", b"there", 60)).value == b"here"
    ours.put(b"put", b"1", 60)
    ours.revoke(b"shared", 60)
    async with asyncio.timeout(WAIT_S):
        while not figures(ours)["away"]:  # a file that is locked can be read: only calls at once fail in a row
            await asyncio.gather(*(ours.get_or_create(b"more%d" % i, b"1", 0.1) for i in range(8)))
    for _ in range(1000):
        await ours.get_or_create(b"another", b"1", 60)
        assert await ours.get(b"shared") is None
        assert await ours.get(b"made")
    assert time.monotonic() - began < WAIT_S
    assert figures(ours)["faults"]["timeout"] + figures(ours)["faults"]["unavailable"] >= 3
    backend.go_on()
    await value_at(store, b"shared", b"")
    async with asyncio.timeout(WAIT_S):
        while True:
            if await theirs.get(b"shared") is None:  # the change may still be on its way
                break
            await asyncio.sleep(0.01)
    await until(lambda: not figures(ours)["away"])
    await written(ours)


async def test_calls_and_writes_do_not_pile_up(backend: Backend, ours: CachedStore) -> None:
    if backend.restart is None:
        pytest.skip("a file that is locked can be read")
    ours.put(b"first", b"1", 60)
    await written(ours)
    backend.hang()
    calls = [asyncio.create_task(ours.get(b"%d" % i)) for i in range(MAX_CALLS + 50)]
    assert await asyncio.gather(*calls) == [None] * len(calls)
    faults = figures(ours)["faults"]
    assert faults["busy"] >= 50
    for i in range(MAX_PENDING + 50):
        ours.put(b"x%d" % i, b"", 60)
    assert figures(ours)["pending"] <= MAX_PENDING
    assert figures(ours)["dropped"] >= 50
    for i in range(50):
        ours.revoke(b"y%d" % i, 60)
    assert figures(ours)["pending"] > MAX_PENDING - 50
    backend.go_on()


async def test_a_full_store_still_revokes(backend: Backend, store: SessionStore) -> None:
    small = backend.open(max_bytes=SMALL_BYTES)
    ours = CachedStore()
    try:
        await small.put(b"a", b"1" * 100, 60)
        backend.limit()
        with pytest.raises(StoreFull):
            await fill(small)
        ours.use(small)
        ours.put(b"new", b"v" * 5000, 60)
        await until(lambda: figures(ours)["dropped"])
        assert figures(ours)["faults"]["full"]
        assert not figures(ours)["away"]
        ours.revoke(b"a", 60)
        await written(ours)
        async with asyncio.timeout(WAIT_S):
            while True:
                record = await store.get(b"a")
                if record is None or not record.value:
                    break
                await asyncio.sleep(0.01)
    finally:
        await ours.close()


async def fill(store: SessionStore) -> None:
    for i in range(SMALL_BYTES):
        await store.put(b"%d" % i, b"v" * 1000, 60)


async def test_another_store_takes_the_place_of_one(backend: Backend, store: SessionStore) -> None:
    ours = CachedStore()
    assert ours.describe() is None
    assert await ours.get(b"a") is None
    assert (await ours.get_or_create(b"a", b"own", 30)).value == b"own"
    ours.put(b"b", b"own", 30)
    assert await ours.get(b"b")
    await store.put(b"a", b"all", 30)
    ours.use(backend.open())
    record = await ours.get(b"a")
    assert record
    assert record.value == b"all"
    ours.put(b"c", b"1", 30)
    await ours.close()
    await value_at(store, b"c", b"1")
    assert ours.describe() is None
