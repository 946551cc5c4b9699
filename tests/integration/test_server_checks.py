"""Active checks and agents: against sockets, and in a node in front of real servers."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pentaflow.errors import ConfigurationError
from pentaflow.pools import Pool
from support.certificates import make_certificate
from support.nginx import Nginx
from support.ports import free_port
from support.tlsnode import RunningNode, node_document, running_node, scripted_server, wait_until
from tlsnodes.checks import ServerChecks
from tlsnodes.scheduling.judgement import Judgement

FAST = {"interval_ms": 50, "timeout_ms": 500, "rise": 1, "fall": 1}


def pool_at(port: int, **keys: Any) -> Pool:
    servers = [{"name": "s1", "id": 1, "address": f"127.0.0.1:{port}"}]
    return Pool.model_validate({"name": "pool", "servers": servers} | keys)


@asynccontextmanager
async def checking(*pools: Pool) -> AsyncIterator[tuple[ServerChecks, list[Judgement]]]:
    """Checks that run, and what they report."""
    reports: list[Judgement] = []
    checks = ServerChecks(pools, lambda _pool, _server, judgement: reports.append(judgement))
    task = asyncio.create_task(checks.run())
    try:
        yield checks, reports
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def answering(answer: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return handler


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_tcp_check_notices_that_nothing_listens_and_that_something_does() -> None:
    port = free_port()
    async with checking(pool_at(port, check=FAST)) as (checks, reports):
        await wait_until(lambda: len(reports) == 1)
        assert reports == [Judgement(alive=False, reason="check: Connection refused")]
        server = await asyncio.start_server(silent, "127.0.0.1", port)
        try:
            await wait_until(lambda: len(reports) == 2)
        finally:
            server.close()
        assert reports[1] == Judgement()
        described = checks.describe("pool", 1)
        assert described is not None
        assert described["passed"] >= 1
        assert described["failed"] >= 1
        assert checks.describe("pool", 2) is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 500 Oops\r\n\r\n", "check: status 500"),
        (b"gibberish\r\n", "check: the answer is not HTTP"),
        (b"", "check: closed without an answer"),
        (b"x" * 20_000, "check: the first line is too long"),
    ],
)
async def test_an_http_check_says_what_is_wrong(answer: bytes, reason: str) -> None:
    check = FAST | {"protocol": "http"}
    async with scripted_server(answering(answer)) as port, checking(pool_at(port, check=check)) as (_, reports):
        await wait_until(lambda: bool(reports))
    assert reports == [Judgement(alive=False, reason=reason)]


async def test_a_server_that_does_not_answer_in_time_is_down() -> None:
    check = FAST | {"protocol": "http", "timeout_ms": 60}
    async with scripted_server(silent) as port, checking(pool_at(port, check=check)) as (_, reports):
        await wait_until(lambda: bool(reports))
    assert reports == [Judgement(alive=False, reason="check: no answer within 60 ms")]


async def test_an_https_check_verifies_only_if_it_has_an_authority(tmp_path: Path) -> None:
    certificate, key = make_certificate().write(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(answering(b"HTTP/1.1 200 OK\r\n\r\n"), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    https = FAST | {"protocol": "https", "timeout_ms": 5000}
    verified = https | {"ca": certificate}
    try:
        for check, alive in (
            (https, True),
            (verified | {"host": "127.0.0.1"}, True),
            (verified | {"host": "other.example"}, False),
        ):
            async with checking(pool_at(port, check=check)) as (checks, reports):
                await wait_until(partial(_checked, checks))
                assert _counts(checks)[0 if alive else 1] > 0
                assert alive or reports[0].reason.startswith("check: TLS: ")
    finally:
        server.close()
    with pytest.raises(ConfigurationError, match=r"pool pool: check\.ca"):
        ServerChecks([pool_at(port, check=verified | {"host": "a", "ca": tmp_path / "none"})], lambda *_: None)


def _checked(checks: ServerChecks) -> bool:
    return sum(_counts(checks)) > 0


def _counts(checks: ServerChecks) -> tuple[int, int]:
    described = checks.describe("pool", 1)
    assert described is not None
    return described["passed"], described["failed"]


async def test_checks_of_a_new_configuration_know_what_the_old_ones_found() -> None:
    port = free_port()
    pool = pool_at(port, check=FAST)
    async with checking(pool) as (checks, reports):
        await wait_until(lambda: bool(reports))
    other = pool_at(free_port(), check=FAST | {"interval_ms": 600_000}).model_copy(update={"name": "other"})
    successor = checks.succeeded_by([pool, other])
    reports.clear()
    task = asyncio.create_task(successor.run())
    await asyncio.sleep(0)
    assert reports == [Judgement(alive=False, reason="check: Connection refused")]  # at once, for who asks newly
    assert _counts(successor) == _counts(checks)
    task.cancel()


async def test_an_agent_that_is_silent_changes_nothing() -> None:
    words = [b"drain 50%\n"]

    async def agent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words[0])
        await writer.drain()

    async with scripted_server(agent) as port:
        pool = pool_at(free_port(), agent_check={"port": port, "interval_ms": 50})
        async with checking(pool) as (checks, reports):
            await wait_until(lambda: bool(reports))
            words[0] = b""
            await wait_until(lambda: (checks.describe("pool", 1) or {})["agent_silent"] > 1)
            words[0] = b"ready nonsense\n"
            await wait_until(lambda: len(reports) == 2)
            assert (checks.describe("pool", 1) or {})["agent_unknown_words"] >= 1
    assert reports == [
        Judgement(draining=True, weight_percent=50, reason="agent: drain"),
        Judgement(weight_percent=50),
    ]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Nginx]]:
    """Two nginx at addresses of their own and the same port."""
    started: list[Nginx] = []
    port = free_port("127.0.0.2")
    try:
        for number in (1, 2):
            server = Nginx(f"w{number}", tmp_path / f"w{number}", address=f"127.0.0.{number + 1}", port=port)
            started.append(server)
            server.start()
        yield started
    finally:
        for server in started:
            server.kill()


def document(folder: Path, servers: list[Nginx], **keys: Any) -> dict[str, Any]:
    result = node_document(folder, [(s.name, s.address, s.port) for s in servers])
    result["pools"][0] |= keys
    return result


async def rows(node: RunningNode) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in (await node.vserver_status())["servers"]}


async def until_row(node: RunningNode, name: str, key: str, value: object) -> None:
    for _ in range(300):
        if (await rows(node))[name][key] == value:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name}: {key} is not {value!r} but {(await rows(node))[name]}")


async def answers(node: RunningNode, count: int, path: str = "/") -> Counter[str]:
    result = await node.curl(*[path] * count)
    assert result.exit_status == 0, result
    return Counter(result.text.split())


async def test_a_check_finds_a_stopped_server_before_a_client_does(tmp_path: Path, servers: list[Nginx]) -> None:
    check = {"protocol": "http", "interval_ms": 100, "timeout_ms": 1000, "rise": 2, "fall": 2}
    async with running_node(document(tmp_path, servers, check=check), tmp_path) as node:
        assert await answers(node, 4) == {"w1": 2, "w2": 2}
        servers[0].kill()
        await until_row(node, "w1", "up", False)
        row = (await rows(node))["w1"]
        assert row["state"] == "check: Connection refused"
        assert await answers(node, 4) == {"w2": 4}
        assert (await rows(node))["w1"]["connect_failures"] == 0
        servers[0].start()
        await until_row(node, "w1", "up", True)
        assert await answers(node, 4) == {"w1": 2, "w2": 2}
        assert (await rows(node))["w1"]["checks"]["passed"] > 0


async def test_a_page_that_a_server_lacks_takes_it_out(tmp_path: Path, servers: list[Nginx]) -> None:
    check = {"protocol": "http", "path": "/plain/alive", "interval_ms": 100, "rise": 1, "fall": 1}
    (servers[1].files / "alive").write_text("yes")
    async with running_node(document(tmp_path, servers, check=check), tmp_path) as node:
        await until_row(node, "w1", "state", "check: status 404")
        assert await answers(node, 3) == {"w2": 3}
        (servers[0].files / "alive").write_text("yes")
        await until_row(node, "w1", "up", True)


async def test_a_server_whose_answers_are_errors_is_ejected_and_returns(tmp_path: Path, servers: list[Nginx]) -> None:
    failing = servers[0].files / "failing"
    failing.touch()
    eject = {"after": 3, "errors": "any_5xx", "base_s": 2, "max_s": 4}
    async with running_node(document(tmp_path, servers, eject=eject), tmp_path) as node:
        seen = Counter[str]()
        while not (await rows(node))["w1"]["ejections"]:
            seen[(await node.curl("/")).text.strip()] += 1
            assert sum(seen.values()) <= 6
        assert seen["w1 fails"] == 3
        row = (await rows(node))["w1"]
        assert row["up"] is False
        assert row["state"].startswith("ejected for another ")
        assert await answers(node, 4) == {"w2": 4}
        failing.unlink()
        await until_row(node, "w1", "up", True)
        assert await answers(node, 4) == {"w1": 2, "w2": 2}
        assert (await rows(node))["w1"]["ejections"] == 1


async def test_agents_change_weights(tmp_path: Path, servers: list[Nginx]) -> None:
    words = {"127.0.0.2": b"up\n", "127.0.0.3": b"up\n"}

    async def agent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words[writer.get_extra_info("sockname")[0]])
        writer.close()

    port = free_port("127.0.0.3")
    agents = [await asyncio.start_server(agent, address, port) for address in words]
    keys = {"agent_check": {"port": port, "interval_ms": 100}}
    configuration = document(tmp_path, servers, **keys)
    for server in configuration["pools"][0]["servers"]:
        server["weight"] = 4
    try:
        async with running_node(configuration, tmp_path) as node:
            assert await answers(node, 8) == {"w1": 4, "w2": 4}
            words["127.0.0.2"] = b"up 25%\n"
            await until_row(node, "w1", "effective_weight", 1.0)
            assert await answers(node, 10) == {"w1": 2, "w2": 8}
            words["127.0.0.2"] = b"drain\n"
            await until_row(node, "w1", "state", "agent: drain")
            assert await answers(node, 4) == {"w2": 4}
            words["127.0.0.2"] = b"down#backup\n"
            await until_row(node, "w1", "state", "agent: down: backup")
            words["127.0.0.2"] = b"ready up 100%\n"
            await until_row(node, "w1", "state", "up")
            assert await answers(node, 8) == {"w1": 4, "w2": 4}
    finally:
        for server in agents:
            server.close()
