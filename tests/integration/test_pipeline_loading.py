"""The switch goes on while it makes another pipeline: the compiler waits here until a test lets it go on."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from finsy.proto import p4r

from softswitch.p4runtime.status import Code
from support.p4rt import (
    REFLECT,
    WAIT_S,
    Client,
    Config,
    SetConfig,
    config,
    entry,
    exact_one,
    frame,
    packet_out,
    refused,
    running_softswitch,
)

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler (cc) on PATH")

# Says when it begins, waits until it may go on, and says when it ends.
_SLOW_COMPILER = """\
#!/bin/sh
echo begin >>{folder}/log
until [ -e {folder}/go ]; do sleep 0.01; done
{cc} "$@"
status=$?
echo end >>{folder}/log
exit $status
"""


@dataclass(frozen=True)
class SlowCompiler:
    """A compiler that waits; `folder` holds its log and the file that lets it go on."""

    folder: Path

    @property
    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().split() if path.exists() else []

    async def wait_until_called(self) -> None:
        await until(lambda: bool(self.log))

    def release(self) -> None:
        (self.folder / "go").touch()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - a file has no event to wait for
            await asyncio.sleep(0.005)


@pytest.fixture
async def primary() -> AsyncIterator[Client]:
    """The primary of a switch that runs the conformance program, with one entry."""
    async with running_softswitch({}) as target, Client(target) as client:
        await client.commit()
        await client.insert(exact_one(1))
        yield client


@pytest.fixture
def compiler(primary: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlowCompiler:
    """From now on, pipelines are compiled slowly."""
    script = tmp_path / "bin/cc"
    script.parent.mkdir()
    script.write_text(_SLOW_COMPILER.format(folder=tmp_path, cc=shutil.which("cc")))
    script.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(script.parent), prepend=":")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return SlowCompiler(tmp_path)


def setting(client: Client, cookie: int) -> asyncio.Task[None]:
    """Commit the conformance program, with a cookie, in the background."""
    return asyncio.create_task(
        client.set_config(SetConfig.VERIFY_AND_COMMIT, config(cookie=Config.Cookie(cookie=cookie)))
    )


async def cookie_of(client: Client) -> int:
    return (await client.get_config(p4r.GetForwardingPipelineConfigRequest.COOKIE_ONLY)).config.cookie.cookie


async def test_packets_writes_and_reads_go_on(primary: Client, compiler: SlowCompiler) -> None:
    loading = setting(primary, 1)
    await compiler.wait_until_called()
    await primary.send(packet=packet_out(frame(), act=REFLECT))
    assert (await primary.receive("packet")).payload == frame()
    await primary.insert(exact_one(2))
    assert len(await primary.read(entry("exact_one"))) == 2
    assert await cookie_of(primary) == 0
    assert compiler.log == ["begin"]
    assert not loading.done()

    compiler.release()
    await loading
    assert await cookie_of(primary) == 1
    assert await primary.read(entry("exact_one")) == []
    await primary.send(packet=packet_out(frame(), act=REFLECT))
    assert (await primary.receive("packet")).payload == frame()


async def test_a_client_that_lost_its_rank_meanwhile_changes_nothing(primary: Client, compiler: SlowCompiler) -> None:
    loading = setting(primary, 1)
    await compiler.wait_until_called()
    async with Client(primary.target) as successor:
        await successor.become(Code.OK, 2)
        compiler.release()
        with refused(Code.PERMISSION_DENIED):
            await loading
        assert await cookie_of(successor) == 0
        assert len(await successor.read(entry("exact_one"))) == 1
        await successor.insert(exact_one(2))


async def test_a_saved_config_is_not_there_before_it_is_made(primary: Client, compiler: SlowCompiler) -> None:
    saving = asyncio.create_task(primary.set_config(SetConfig.VERIFY_AND_SAVE, config()))
    await compiler.wait_until_called()
    committing = asyncio.create_task(primary.set_config(SetConfig.COMMIT, None))
    await primary.insert(exact_one(2))
    compiler.release()
    await saving
    await committing  # had to wait for what it commits
    assert await primary.read(entry("exact_one")) == []


async def test_two_configs_are_made_one_after_the_other(primary: Client, compiler: SlowCompiler) -> None:
    first = setting(primary, 1)
    await compiler.wait_until_called()
    second = setting(primary, 2)
    await asyncio.sleep(0)
    assert await cookie_of(primary) == 0  # answered after the second arrived
    compiler.release()
    await asyncio.gather(first, second)
    assert await cookie_of(primary) == 2
    calls = len(compiler.log) // 2
    assert calls > 1
    assert compiler.log == ["begin", "end"] * calls


async def test_a_client_that_goes_leaves_the_switch_usable(primary: Client, compiler: SlowCompiler) -> None:
    loading = setting(primary, 1)
    await compiler.wait_until_called()
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    compiler.release()
    await setting(primary, 2)
    assert await cookie_of(primary) == 2


async def test_stopping_meanwhile_ends_the_request(compiler: SlowCompiler) -> None:
    async with contextlib.AsyncExitStack() as running:
        target = await running.enter_async_context(running_softswitch({}))
        async with Client(target) as client:
            await client.become(Code.OK, 1)
            loading = setting(client, 1)
            await compiler.wait_until_called()
            await running.aclose()
            compiler.release()
            with refused(Code.UNAVAILABLE):
                await loading
