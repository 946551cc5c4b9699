"""What every store does, on real SQLite files and a real etcd."""

from __future__ import annotations

import asyncio
import itertools
import socket
import sqlite3
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path

import pytest

from controller.store.base import Condition, Conflict, Delete, Fenced, Leader, Put, Store, StoreUnavailable
from controller.store.opening import StoreTls, open_store
from pentaflow.errors import ConfigurationError
from support.certificates import Authority
from support.etcd import running_etcd
from support.ports import free_port
from support.virtual_array import eventually

LEASE_S = 2
WAIT_S = 20.0
REPOSITORY = Path(__file__).parents[2]


class Backend:
    """A kind of store, and what may happen to it."""

    def __init__(self, url: str, *, restart: Callable[[], None], hang: Callable[[], None]) -> None:
        self.url = url
        self.restart = restart
        self.hang = hang


@contextmanager
def sqlite_backend(folder: Path) -> Iterator[Backend]:
    path = folder / "store.sqlite"
    with ExitStack() as cleanup:

        def hang() -> None:
            other = sqlite3.connect(path, isolation_level=None)
            cleanup.callback(other.close)
            other.execute("BEGIN EXCLUSIVE")

        yield Backend(f"sqlite:{path}", restart=lambda: None, hang=hang)


@contextmanager
def etcd_backend(folder: Path) -> Iterator[Backend]:
    with running_etcd(folder) as etcd:

        def restart() -> None:
            etcd.kill()
            etcd.start()

        yield Backend(etcd.url, restart=restart, hang=etcd.pause)


@pytest.fixture(params=[sqlite_backend, etcd_backend], ids=["sqlite", "etcd"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with request.param(tmp_path) as found:
        yield found


@pytest.fixture
async def store(backend: Backend) -> AsyncIterator[Store]:
    found = open_store(backend.url)
    yield found
    await found.close()


@pytest.fixture
async def other(backend: Backend) -> AsyncIterator[Store]:
    """As another controller sees the same store."""
    found = open_store(backend.url)
    yield found
    await found.close()


async def lead(store: Store, name: str = "a") -> int:
    """Take the lead, as soon as nobody has it."""
    async with asyncio.timeout(WAIT_S):
        while True:
            campaign = await store.campaign(name=name, address=f"{name}:80", lease_s=LEASE_S, unix_s=int(time.time()))
            if campaign.is_won:
                return campaign.leader.epoch
            await asyncio.sleep(0.05)


async def test_what_is_put_is_found_with_a_revision_that_grows(store: Store) -> None:
    assert await store.get("a") is None
    epoch = await lead(store)
    first = await store.commit(epoch, [Put("a", b"1"), Put("b", b"")])
    second = await store.commit(epoch, [Put("a", b"\0\xff")])
    a, b = await store.get("a"), await store.get("b")
    assert a
    assert b
    assert (a.value, a.revision) == (b"\0\xff", second)
    assert (b.value, b.revision) == (b"", first)
    assert 0 < first < second
    await store.commit(epoch, [Delete("a"), Delete("never")])
    assert await store.get("a") is None


async def test_keys_are_listed_by_prefix_in_order_and_by_page(store: Store) -> None:
    epoch = await lead(store)
    await store.commit(epoch, [Put(key, key.encode()) for key in ("n/3", "n/1", "n", "n/2", "n0", "m/1", "N/1", "n/%")])
    assert list(await store.list("n/")) == ["n/%", "n/1", "n/2", "n/3"]
    assert list(await store.list("n/", limit=2)) == ["n/%", "n/1"]
    assert list(await store.list("n/", after="n/1", limit=2)) == ["n/2", "n/3"]
    assert not await store.list("n/", after="n/3")
    assert not await store.list("n/", after="o")
    assert (await store.list("n/2"))["n/2"].value == b"n/2"


async def test_all_or_nothing(store: Store) -> None:
    epoch = await lead(store)
    revision = await store.commit(epoch, [Put("a", b"1"), Put("b", b"1")])
    with pytest.raises(Conflict, match=r"^b: was changed"):
        await store.commit(
            epoch,
            [Put("a", b"2"), Delete("b"), Put("c", b"2")],
            [Condition("a", revision), Condition("b", revision - 1), Condition("c", 0)],
        )
    assert {key: item.value for key in "abc" if (item := await store.get(key))} == {"a": b"1", "b": b"1"}
    with pytest.raises(Conflict, match=r"^a: "):
        await store.commit(epoch, [Put("a", b"2")], [Condition("a", 0)])
    await store.commit(
        epoch, [Put("a", b"2"), Delete("b"), Put("c", b"2")], [Condition("a", revision), Condition("c", 0)]
    )
    assert {key: item.value for key in "abc" if (item := await store.get(key))} == {"a": b"2", "c": b"2"}


async def test_more_than_a_commit_holds_is_refused(store: Store) -> None:
    epoch = await lead(store)
    await store.commit(
        epoch, [Put(f"k{i}", b"x" * 20_000) for i in range(50)], [Condition(f"k{i}", 0) for i in range(50)]
    )
    for changes in ([Put(f"k{i}", b"") for i in range(51)], [Put("a", b"x" * (1 << 20))]):
        with pytest.raises(ValueError, match="more than a commit holds"):
            await store.commit(epoch, changes)
    assert await store.get("a") is None


async def test_one_leads_and_the_others_are_told_who(store: Store, other: Store) -> None:
    assert await store.leader() is None
    epoch = await lead(store)
    leader = Leader(epoch=epoch, name="a", address="a:80")
    campaign = await other.campaign(name="b", address="b:80", lease_s=LEASE_S, unix_s=1 << 40)
    assert (campaign.is_won, campaign.leader) == (False, leader)
    assert await other.leader() == leader
    with pytest.raises(Fenced):
        await other.commit(epoch + 1, [Put("a", b"1")])
    await store.resign(epoch)
    assert await other.leader() is None
    for refused in (store.commit(epoch, [Put("a", b"1")]), store.renew(epoch)):
        with pytest.raises(Fenced):
            await refused
    assert await store.get("a") is None


async def test_epochs_grow_whatever_the_clock_says(store: Store) -> None:
    epochs = []
    for unix_s in (1_000_000, 5, 5, 2_000_000, 1_999_999):
        campaign = await store.campaign(name="a", address="", lease_s=LEASE_S, unix_s=unix_s)
        epochs.append(campaign.leader.epoch)
        await store.resign(campaign.leader.epoch)
    assert epochs == [1_000_000, 1_000_001, 1_000_002, 2_000_000, 2_000_001]


async def test_who_renews_stays_and_who_does_not_is_replaced_and_fenced(store: Store, other: Store) -> None:
    epoch = await lead(store)
    end = time.monotonic() + 2 * LEASE_S
    while time.monotonic() < end:
        await store.renew(epoch)
        campaign = await other.campaign(name="b", address="b:80", lease_s=LEASE_S, unix_s=0)
        assert not campaign.is_won
        await asyncio.sleep(0.2)
    later = await lead(other, "b")
    assert later > epoch
    for refused in (store.renew(epoch), store.commit(epoch, [Put("a", b"old")])):
        with pytest.raises(Fenced):
            await refused
    await store.resign(epoch)
    await other.commit(later, [Put("a", b"new")])
    leader = await store.leader()
    assert leader
    assert leader.name == "b"
    found = await store.get("a")
    assert found
    assert found.value == b"new"


async def test_a_lease_that_ended_is_fenced_even_if_nobody_took_the_lead(store: Store) -> None:
    epoch = await lead(store)

    async def nobody_leads() -> bool:
        return await store.leader() is None

    await eventually(nobody_leads, "the end of the lease")
    for refused in (store.renew(epoch), store.commit(epoch, [Put("a", b"old")])):
        with pytest.raises(Fenced):
            await refused


async def test_a_restart_keeps_everything(backend: Backend) -> None:
    store = open_store(backend.url)
    epoch = await lead(store)
    revision = await store.commit(epoch, [Put("a", b"1")])
    await store.resign(epoch)
    await store.close()
    backend.restart()
    again = open_store(backend.url)
    item = await again.get("a")
    assert item
    assert (item.value, item.revision) == (b"1", revision)
    later = await lead(again)
    assert later > epoch
    assert await again.commit(later, [Put("a", b"2")]) > revision
    await again.close()


async def test_a_store_that_hangs_is_unavailable_within_the_time_out(backend: Backend, store: Store) -> None:
    epoch = await lead(store)
    backend.hang()
    with pytest.raises(StoreUnavailable, match=r"database is locked|no answer|ReadTimeout"):
        async with asyncio.timeout(WAIT_S):
            await store.commit(epoch, [Put("a", b"1")])


COUNTER = """
import asyncio, sys, time
from controller.store.base import Condition, Put
from controller.store.opening import open_store

async def main(url, name, rounds):
    store = open_store(url, timeout_s=10)
    for _ in range(rounds):
        while True:
            campaign = await store.campaign(name=name, address="", lease_s=5, unix_s=int(time.time()))
            if campaign.is_won:
                break
            await asyncio.sleep(0.005)
        epoch = campaign.leader.epoch
        for _ in range(5):
            item = await store.get("counter")
            value, revision = (int(item.value), item.revision) if item else (0, 0)
            await store.commit(epoch, [Put("counter", b"%d" % (value + 1))], [Condition("counter", revision)])
        print(epoch)
        await store.resign(epoch)
    await store.close()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()


async def test_processes_that_contend_lose_nothing(backend: Backend, store: Store) -> None:
    command = [sys.executable, "-c", COUNTER, backend.url]
    async with AsyncExitStack() as cleanup:
        processes = []
        for name in "abc":
            process = await asyncio.create_subprocess_exec(
                *command, name, "4", cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE
            )
            cleanup.push_async_callback(process.wait)
            cleanup.callback(kill, process)
            processes.append(process)
        async with asyncio.timeout(60):
            outputs = [await process.communicate() for process in processes]
    epochs = [[int(line) for line in output.split()] for output, _ in outputs]
    assert [len(mine) for mine in epochs] == [4, 4, 4]
    assert len(set(itertools.chain(*epochs))) == 12, "every lead has an epoch of its own"
    assert all(mine == sorted(mine) for mine in epochs)
    item = await store.get("counter")
    assert item
    assert item.value == b"60"


# Only one kind has it.


async def test_a_member_that_is_down_or_hangs_costs_nothing_but_time(tmp_path: Path) -> None:
    with running_etcd(tmp_path) as etcd, silent_server() as silent:
        store = open_store(f"etcd://127.0.0.1:{free_port()},{silent},{etcd.address}", timeout_s=6)
        epoch = await lead(store)
        await store.commit(epoch, [Put("a", b"1")])
        await store.resign(epoch)
        await store.close()


@contextmanager
def silent_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


async def test_no_member_is_unavailable_and_says_which() -> None:
    port = free_port()
    store = open_store(f"etcd://127.0.0.1:{port}")
    with pytest.raises(
        StoreUnavailable, match=rf"^store etcd://127.0.0.1:{port}: http://127.0.0.1:{port}/v3: .*failed"
    ):
        await store.get("a")
    await store.close()


async def test_something_else_than_etcd_is_said_to_be(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
        await writer.drain()
        writer.close()

    port = free_port()
    async with await asyncio.start_server(answer, "127.0.0.1", port):
        store = open_store(f"etcd://127.0.0.1:{port}")
        with pytest.raises(StoreUnavailable, match="answers otherwise than etcd"):
            await store.leader()
        await store.close()


async def test_etcd_over_mutual_tls(tmp_path: Path) -> None:
    authority = Authority("authority")
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    for name in ("server", "client"):
        (tmp_path / name).mkdir()
    certificate, key = authority.issue("etcd").write(tmp_path / "server")
    mine, my_key = authority.issue("controller").write(tmp_path / "client")
    arguments = [
        f"--cert-file={certificate}",
        f"--key-file={key}",
        f"--trusted-ca-file={tmp_path / 'ca.pem'}",
        "--client-cert-auth",
    ]
    with running_etcd(tmp_path, arguments, scheme="https") as etcd:
        store = open_store(etcd.url, StoreTls(ca=tmp_path / "ca.pem", certificate=mine, key=my_key))
        epoch = await lead(store)
        await store.commit(epoch, [Put("a", b"1")])
        await store.close()
        for tls in (None, StoreTls(ca=tmp_path / "ca.pem")):
            stranger = open_store(etcd.url, tls)
            with pytest.raises(StoreUnavailable):
                await stranger.get("a")
            await stranger.close()


def modes_in(folder: Path) -> set[int]:
    return {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


async def test_a_file_is_its_owners_and_must_be_a_store(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = open_store(f"sqlite:{path}")
    await lead(store)
    assert modes_in(tmp_path) == {0o600}
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(ConfigurationError, match=r"store.sqlite: is of version 9; expected version 1$"):
        open_store(f"sqlite:{path}")
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(ConfigurationError, match="file is not a database"):
        open_store(f"sqlite:{path}")
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    with pytest.raises(ConfigurationError, match="is a database of something else"):
        open_store(f"sqlite:{path}")
    with pytest.raises(ConfigurationError, match="cannot be opened: Is a directory"):
        open_store(f"sqlite:{tmp_path}")


@pytest.mark.parametrize("url", ["", "redis://a:1", "sqlite:", "etcd:a:1", "/var/lib/store"])
def test_urls_that_name_no_store(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^--store: .* is not memory:, sqlite:PATH or etcd://"):
        open_store(url)


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^--store: 'a' is not HOST:PORT$"):
        open_store("etcd://127.0.0.1:2379,a")
    with pytest.raises(ConfigurationError, match=r"^--store-ca: is for etcd://, and the store is memory:$"):
        open_store("memory:", StoreTls(ca=tmp_path))
    with pytest.raises(ConfigurationError, match=r"^--store-ca: cannot read"):
        open_store("etcd://127.0.0.1:1", StoreTls(ca=tmp_path / "none"))
