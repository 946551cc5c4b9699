"""What only a Redis server does: it restarts, hands over to a replica, asks for a password, speaks TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from support.certificates import Authority
from support.ports import free_port
from support.redis import RedisServer, running_redis
from tlsnodes.store.redis import RedisStore
from tlsnodes.store.store import Changes, Record, SessionStore, StoreUnavailable

WAIT_S = 20.0


def open_store(url: str, *, password: str | None = None, ca_pem: str | None = None) -> RedisStore:
    return RedisStore(url, password=password, ca_pem=ca_pem, timeout_s=WAIT_S)


async def eventually_put(store: SessionStore, key: bytes) -> int:
    """How often the store was not available before it took a record."""
    failed = 0
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                await store.put(key, b"1", 30)
            except StoreUnavailable:
                failed += 1
                await asyncio.sleep(0.02)
            else:
                return failed


@asynccontextmanager
async def relay(servers: list[RedisServer]) -> AsyncIterator[int]:
    """A port that leads to the first of the servers, as a name or address does that fails over."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", servers[0].port)
            await asyncio.gather(pump(reader, back), pump(there, writer))
        except OSError:
            pass
        finally:
            writer.close()

    port = free_port()
    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield port
    finally:
        server.close()


async def test_a_server_that_restarts_costs_its_records_and_one_call(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        store = open_store(server.url)
        async with aclosing(store.watch()) as changes:
            assert await anext(changes) == Changes(complete=False)
            await asyncio.gather(*(store.put(b"%d" % i, b"1", 30) for i in range(8)))  # over many connections
            server.kill()
            with pytest.raises(StoreUnavailable):
                await store.get(b"1")
            server.start()
            assert await eventually_put(store, b"a") <= 1
            assert await store.get(b"1") is None
            async with asyncio.timeout(WAIT_S):  # whoever has copies drops them
                assert await anext(changes) == Changes(complete=False)
            await store.delete(b"a")
            async with asyncio.timeout(WAIT_S):
                assert await anext(changes) == Changes((b"a",))
        await store.close()


async def test_a_silent_server_is_noticed_by_who_waits_for_changes(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        store = open_store(server.url)
        async with aclosing(store.watch()) as changes:
            await anext(changes)
            server.pause()
            waiting = asyncio.create_task(anext(changes))
            await asyncio.sleep(3)
            assert not waiting.done()
            server.resume()
            async with asyncio.timeout(WAIT_S):
                assert await waiting == Changes(complete=False)
        await store.close()


async def test_a_replica_goes_on_with_the_records_of_its_primary(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with running_redis(tmp_path) as primary, running_redis(tmp_path / "b") as replica:
        replica.command("REPLICAOF", "127.0.0.1", str(primary.port))
        servers = [primary, replica]
        async with relay(servers) as port:
            store = open_store(f"redis://127.0.0.1:{port}")
            version = await store.put(b"a", b"1", 60)
            primary.command("WAIT", "1", "10000")
            async with aclosing(store.watch()) as changes:
                await anext(changes)
                # First the address moves: who is there does not write yet.
                servers.reverse()
                primary.kill()
                with pytest.raises(StoreUnavailable):
                    await store.put(b"b", b"1", 60)
                replica.command("REPLICAOF", "NO", "ONE")
                await eventually_put(store, b"b")
                found = await store.get(b"a")
                assert found
                assert (found.value, found.version) == (b"1", version)
                async with asyncio.timeout(WAIT_S):
                    assert await anext(changes) == Changes(complete=False)
                    await store.update(b"a", b"2", version)
                    assert await anext(changes) == Changes((b"a",))
            await store.close()


async def test_a_password_is_given_and_never_said(tmp_path: Path) -> None:
    with running_redis(tmp_path, ("--requirepass", "hushhush")) as server:
        store = open_store(server.url, password="hushhush")
        await store.put(b"a", b"1", 30)
        assert isinstance(await store.get(b"a"), Record)
        await store.close()
        for password in (None, "wrongwrong"):
            store = open_store(server.url, password=password)
            with pytest.raises(StoreUnavailable) as refused:
                await store.get(b"a")
            assert "wrong" not in str(refused.value).replace("WRONGPASS", "")
            await store.close()


async def test_a_user_of_its_own_needs_little(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        rights = "~pentaflow/* &pentaflow/changed +@read +@write +@scripting +@pubsub +@connection +time"
        assert server.command("ACL", "SETUSER", "pentaflow", "on", ">hushhush", *rights.split()) == b"+OK\r\n"
        store = open_store(server.url.replace("//", "//pentaflow@") + "/3", password="hushhush")
        async with aclosing(store.watch()) as changes:
            assert await anext(changes) == Changes(complete=False)
            record, _ = await store.get_or_create(b"a", b"1", 30)
            await store.touch(b"a", 60, uses=1)
            await store.update(b"a", b"2", record.version)
            assert await anext(changes) == Changes((b"a",))
            await store.put(b"a", b"3", 30)
            await store.delete(b"a")
        await store.close()


async def test_tls_is_verified(tmp_path: Path) -> None:
    authority, stranger = Authority("ours"), Authority("another")
    certificate, key = authority.issue("localhost").write(tmp_path)
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    port = free_port()
    files = {"cert": certificate, "key": key, "ca-cert": tmp_path / "ca.pem"}
    tls = ["--tls-port", str(port), "--tls-auth-clients", "no"]
    for name, path in files.items():
        tls += [f"--tls-{name}-file", str(path)]
    with running_redis(tmp_path, tls):
        store = open_store(f"rediss://localhost:{port}", ca_pem=authority.certificate_pem.decode())
        await store.put(b"a", b"1", 30)
        await store.close()
        store = open_store(f"rediss://localhost:{port}", ca_pem=stranger.certificate_pem.decode())
        with pytest.raises(StoreUnavailable):
            await store.get(b"a")
        await store.close()
