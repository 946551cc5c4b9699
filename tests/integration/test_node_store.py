"""A node opens the store that is configured, tells how it is, changes it with the configuration, serves on without."""

from __future__ import annotations

import asyncio
import json
import pwd
import signal
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from support.redis import running_redis
from support.tlsnode import RunningNode, node_document, running_node, scripted_server

WAIT_S = 30.0


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@asynccontextmanager
async def running(
    folder: Path, store: dict[str, Any], *, options: Sequence[str] = ()
) -> AsyncIterator[tuple[RunningNode, dict[str, Any]]]:
    async with scripted_server(answer) as port:
        document = node_document(folder, [("w1", "127.0.0.1", port)])
        document["store"] = store
        async with running_node(document, folder, workers=2, options=options) as node:
            yield node, document


async def reload(node: RunningNode, folder: Path, document: dict[str, Any]) -> None:
    (folder / "array.yaml").write_text(json.dumps(document))
    node.process.send_signal(signal.SIGHUP)


async def store_that(node: RunningNode, condition: Callable[[Any], object]) -> dict[str, Any]:
    """The store's part of the status document, once it is as wanted."""
    async with asyncio.timeout(WAIT_S):
        while True:
            found = (await node.status())["store"]
            if condition(found):
                assert isinstance(found, dict)
                return found
            await asyncio.sleep(0.05)


@contextmanager
def open_folder() -> Iterator[Path]:
    """One that others may pass through, as pytest's may not."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


def owner_and_mode(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_uid, stat.S_IMODE(status.st_mode)


@pytest.mark.root
async def test_workers_without_privileges_share_a_file_that_nobody_else_reads(tmp_path: Path) -> None:
    with open_folder() as folder:
        store = {"sqlite": f"{folder}/sessions/store.sqlite"}
        async with running(tmp_path, store, options=("--user", "nobody")) as (node, _):
            await check_folder(node, folder)


async def check_folder(node: RunningNode, folder: Path) -> None:
    assert (await node.curl("--fail", "/")).text == "ok"
    found = await store_that(node, lambda store: store["away"] is False)
    assert set(found["faults"]) == {"timeout", "unavailable", "full", "paused", "busy"}
    nobody = pwd.getpwnam("nobody").pw_uid
    assert owner_and_mode(folder / "sessions") == (nobody, 0o700)
    assert owner_and_mode(folder / "sessions" / "store.sqlite") == (nobody, 0o600)
    metrics = (await node.curl(f"http://{node.management}/metrics")).text
    assert "pentaflow_node_store_away 0.0" in metrics
    assert 'pentaflow_node_store_answer_seconds_bucket{le="+Inf"}' in metrics


async def test_the_default_is_a_file_that_ends_with_the_node(tmp_path: Path) -> None:
    async with running(tmp_path, {}) as (node, _):
        await store_that(node, lambda store: store["away"] is False)
        (worker, _other) = (await node.status())["workers"]
        folders = {path.parent for path in open_files(worker["pid"]) if path.name.startswith("store.sqlite")}
        assert len(folders) == 1
        assert next(iter(folders)).name.startswith("pentaflow-store-")
    assert not any(map(Path.exists, folders))


def open_files(pid: int) -> list[Path]:
    return [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()]


async def test_a_reload_changes_the_store_and_a_wrong_one_changes_nothing(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        async with running(tmp_path, {"sqlite": str(tmp_path / "store.sqlite")}) as (node, document):
            await store_that(node, lambda store: store is not None)
            (tmp_path / "text").write_text("this is no database, whatever it is; " * 100)
            document["store"] = {"sqlite": str(tmp_path / "text")}
            await reload(node, tmp_path, document)
            await logged(node, "is no database")
            document["store"] = {"sqlite": str(tmp_path / "absent" / "deep" / "file")}
            await reload(node, tmp_path, document)
            await logged(node, "cannot make")
            assert await store_that(node, lambda store: store is not None)
            document["store"] = {"redis": server.url}
            await reload(node, tmp_path, document)
            await connected(server.command)
            del document["store"]
            await reload(node, tmp_path, document)
            async with asyncio.timeout(WAIT_S):
                while True:
                    if (await node.status())["store"] is None:
                        break
                    await asyncio.sleep(0.05)
            assert (await node.curl("--fail", "/")).text == "ok"


async def logged(node: RunningNode, text: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            if text in await asyncio.to_thread(node.log.read_text):
                return
            await asyncio.sleep(0.02)


async def connected(command: Callable[..., bytes]) -> None:
    """Both workers listen for changes."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if b":2\r\n" in command("PUBSUB", "NUMSUB", "pentaflow/changed"):
                return
            await asyncio.sleep(0.02)


async def test_a_node_starts_and_serves_without_its_redis_and_finds_it_later(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        server.kill()
        async with running(tmp_path, {"redis": server.url}) as (node, _):
            assert (await node.curl("--fail", "/")).text == "ok"
            server.start()
            await connected(server.command)
