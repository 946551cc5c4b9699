"""What every store of sessions does, on real SQLite files and a real Redis."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import aclosing
from pathlib import Path

import pytest

from support.session_stores import SMALL_BYTES, WAIT_S, Backend, contend, redis_backend, sqlite_backend
from tlsnodes.store.store import (
    MAX_KEY_BYTES,
    MAX_VALUE_BYTES,
    Changes,
    Conflict,
    SessionStore,
    StoreFull,
    StoreUnavailable,
)

SHORT_S = 0.2
EVERYTHING = Changes(complete=False)


@pytest.fixture(params=[sqlite_backend, redis_backend], ids=["sqlite", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with request.param(tmp_path) as found:
        yield found


@pytest.fixture
async def store(backend: Backend) -> AsyncIterator[SessionStore]:
    found = backend.open()
    yield found
    await found.close()


@pytest.fixture
async def other(backend: Backend) -> AsyncIterator[SessionStore]:
    """As another worker has it."""
    found = backend.open()
    yield found
    await found.close()


async def following(watch: AsyncGenerator[Changes, None]) -> Changes:
    async with asyncio.timeout(WAIT_S):
        return await anext(watch)


async def put_many(store: SessionStore, value: bytes, count: int) -> None:
    for i in range(count):
        await store.put(b"%d" % i, value, SHORT_S)


async def test_what_is_put_is_found_by_others(store: SessionStore, other: SessionStore) -> None:
    assert await store.get(b"a") is None
    version = await store.put(b"a", b"\0\xff", 30)
    found = await other.get(b"a")
    assert found
    assert (found.value, found.version, found.uses) == (b"\0\xff", version, 0)
    assert 0 < found.left_s <= 30
    later = await other.put(b"a", b"", 30)
    assert later > version
    found = await store.get(b"a")
    assert found
    assert (found.value, found.version) == (b"", later)


async def test_a_deleted_record_is_gone_and_its_version_does_not_come_again(store: SessionStore) -> None:
    version = await store.put(b"a", b"1", 30)
    await store.delete(b"a")
    await store.delete(b"never")
    assert await store.get(b"a") is None
    assert await store.put(b"a", b"1", 30) > version
    with pytest.raises(Conflict):
        await store.update(b"a", b"2", version)


async def test_what_is_there_is_not_created_again(store: SessionStore, other: SessionStore) -> None:
    made, is_made = await store.get_or_create(b"a", b"first", 30)
    assert is_made
    assert made.value == b"first"
    found, is_made = await other.get_or_create(b"a", b"second", 30)
    assert not is_made
    assert (found.value, found.version) == (b"first", made.version)
    await store.delete(b"a")
    again, is_made = await other.get_or_create(b"a", b"third", 30)
    assert is_made
    assert again.version > made.version


async def test_an_update_is_for_one_version(store: SessionStore, other: SessionStore) -> None:
    version = await store.put(b"a", b"1", 30)
    await store.touch(b"a", 1, uses=3)
    changed = await other.update(b"a", b"2", version)
    assert changed > version
    with pytest.raises(Conflict):
        await store.update(b"a", b"3", version)
    with pytest.raises(Conflict):
        await store.update(b"absent", b"3", version)
    found = await store.get(b"a")
    assert found
    assert (found.value, found.version, found.uses) == (b"2", changed, 3)
    assert 20 < found.left_s <= 30  # its end has stayed


async def test_records_expire(store: SessionStore) -> None:
    version = await store.put(b"a", b"1", SHORT_S)
    await store.get_or_create(b"b", b"1", SHORT_S)
    async with asyncio.timeout(WAIT_S):
        while True:
            if await store.get(b"a") is None and await store.get(b"b") is None:
                break
            await asyncio.sleep(0.02)
    assert await store.touch(b"a", 30) is None
    with pytest.raises(Conflict):
        await store.update(b"a", b"2", version)
    record, is_made = await store.get_or_create(b"a", b"2", 30)
    assert is_made
    assert record.version > version


async def test_who_touches_a_record_keeps_it_alive_and_counts(store: SessionStore, other: SessionStore) -> None:
    await store.put(b"a", b"1", SHORT_S)
    assert await other.touch(b"a", 30) == 0
    assert await other.touch(b"a", 30, uses=2) == 2
    assert await store.touch(b"a", 1, uses=1) == 3  # and does not end sooner
    await asyncio.sleep(SHORT_S * 1.5)
    found = await store.get(b"a")
    assert found
    assert found.uses == 3
    assert found.left_s > 20
    await store.put(b"a", b"1", 30)
    found = await store.get(b"a")
    assert found
    assert found.uses == 0
    assert await store.touch(b"never", 30, uses=1) is None


async def test_changes_are_told_to_every_process(store: SessionStore, other: SessionStore) -> None:
    async with aclosing(store.watch()) as first, aclosing(other.watch()) as second:
        assert [await following(first), await following(second)] == [EVERYTHING, EVERYTHING]
        version = await store.put(b"new", b"1", 30)  # nobody can have a copy
        await store.update(b"new", b"2", version)
        told = [(await following(first)).keys[0], (await following(second)).keys[0]]
        assert told == [b"new", b"new"]
        await other.put(b"new", b"3", 30)
        assert (await following(first)).keys == (b"new",)
        await other.delete(b"never")
        await other.delete(b"new")
        assert (await following(first)).keys == (b"new",)
        await store.put(b"other\0\xff", b"3", 30)
        await store.touch(b"other\0\xff", 60, uses=1)
        await store.delete(b"other\0\xff")
        assert (await following(first)).keys == (b"other\0\xff",)


async def test_sizes_are_bounded(store: SessionStore) -> None:
    key, value = b"k" * MAX_KEY_BYTES, b"v" * MAX_VALUE_BYTES
    await store.put(key, value, 30)
    found = await store.get(key)
    assert found
    assert found.value == value
    with pytest.raises(ValueError, match="is no record"):
        await store.put(b"a", value + b"v", 30)
    with pytest.raises(ValueError, match="is no record"):
        await store.get(key + b"k")
    with pytest.raises(ValueError, match="is no record"):
        await store.get_or_create(b"", b"", 30)


async def test_of_many_processes_one_makes_a_record_and_none_loses_an_update(
    backend: Backend, store: SessionStore
) -> None:
    processes, rounds = 4, 40
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        loop = asyncio.get_running_loop()
        made = await asyncio.gather(
            *(loop.run_in_executor(pool, contend, backend.where, worker, rounds) for worker in range(processes))
        )
    assert [sum(by_key) for by_key in zip(*made, strict=True)] == [1] * rounds
    counter = await store.get(b"counter")
    assert counter
    assert int(counter.value) == processes * rounds


async def test_calls_end_in_time_while_the_store_hangs(backend: Backend) -> None:
    store = backend.open(timeout_s=SHORT_S)
    try:
        version = await store.put(b"a", b"1", 30)
        backend.hang()
        began = time.monotonic()
        calls = (
            store.put(b"a", b"2", 30),
            store.get_or_create(b"b", b"2", 30),
            store.update(b"a", b"2", version),
            store.touch(b"a", 30),
            store.delete(b"a"),
        )
        for result in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(result, StoreUnavailable), result
        assert time.monotonic() - began < WAIT_S
        backend.go_on()
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    await store.put(b"b", b"3", 30)
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.02)
        found = await store.get(b"b")
        assert found
        assert found.value == b"3"
    finally:
        await store.close()


async def test_a_full_store_says_so_and_keeps_what_it_has(backend: Backend) -> None:
    value = b"v" * 1000
    store = backend.open(max_bytes=SMALL_BYTES)
    other = backend.open()  # as big as it likes
    try:
        await store.put(b"first", value, 30)
        backend.limit()
        with pytest.raises(StoreFull, match="no room"):
            await put_many(store, value, SMALL_BYTES // len(value))
        assert await store.get(b"first")
        assert await store.get(b"first")
        async with aclosing(other.watch()) as changes:
            await following(changes)
            await store.delete(b"first")
            assert (await following(changes)).keys == (b"first",)
        # What expires makes room.
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    await store.put(b"later", value, 30)
                    break
                except StoreFull:
                    await asyncio.sleep(0.05)
    finally:
        await store.close()
        await other.close()
