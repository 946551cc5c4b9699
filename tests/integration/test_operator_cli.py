"""The operator's command line against a real controller on a virtual array."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
import yaml

from controller.api.access import Role, make_token
from pentaflow.cli import app
from pentaflow.config import Configuration
from pentaflow.operator import commands
from support.array_rest import address_of, all_up, make_configuration
from support.ports import free_port
from support.virtual_array import WAIT_S, VirtualArray, eventually, running_controller, running_switch, status_server

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    out: str
    err: str


async def start(url: str, *arguments: str | Path, stdout: int = asyncio.subprocess.PIPE) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pentaflow", *map(str, arguments)),
        cwd=REPOSITORY,
        env=os.environ | {"PENTAFLOW_URL": url, "TERM": "xterm"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )


async def finish(process: asyncio.subprocess.Process) -> Done:
    try:
        async with asyncio.timeout(WAIT_S):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
        raise AssertionError(f"does not end: {(out or b'').decode()} {err.decode()}") from None
    assert process.returncode is not None
    return Done(process.returncode, (out or b"").decode(), err.decode())


@dataclass(frozen=True, slots=True)
class Array:
    url: str
    client: httpx.AsyncClient

    async def run(self, *arguments: str | Path) -> Done:
        return await finish(await start(self.url, *arguments))

    async def ok(self, *arguments: str | Path) -> str:
        done = await self.run(*arguments)
        assert (done.status, done.err) == (0, ""), done
        return done.out

    async def json(self, *arguments: str | Path) -> Any:
        return json.loads(await self.ok(*arguments, "--json"))


@asynccontextmanager
async def running_array(
    monkeypatch: pytest.MonkeyPatch, configuration: Configuration | None = None, *, up: bool = True
) -> AsyncIterator[Array]:
    configuration = configuration or make_configuration(buckets=256)
    array = VirtualArray(configuration)
    monkeypatch.setattr("softswitch.switch.Ports", array.ports)
    async with (
        status_server(configuration.nodes[0].management),
        running_switch(address_of(configuration)),
        running_controller(configuration) as client,
    ):
        if up:
            await all_up(client)
        yield Array(f"http://{configuration.controller.rest}", client)


def assert_refused(done: Done, status: int, sentence: str) -> None:
    assert (done.status, done.out) == (status, "")
    assert done.err.startswith("pentaflow: ")
    assert sentence in done.err
    assert done.err.count("\n") == 1, "one line"


async def test_what_there_is_is_shown_as_tables_and_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_array(monkeypatch) as array:
        assert "3/3 nodes up · 1/1 switches ready" in await array.ok("status")
        assert (await array.json("status"))["summary"]["buckets"] == 256
        table = await array.ok("nodes")
        assert [line.split()[:3] for line in table.splitlines()[1:]] == [
            [name, "active", "up"] for name in ("n1", "n2", "n3")
        ]
        assert {row["node"] for row in await array.json("nodes")} == {"n1", "n2", "n3"}
        assert "10.0.0.100:443/tcp" in await array.ok("vservers")
        assert (await array.json("vservers"))[0]["name"] == "web"
        assert len((await array.ok("buckets", "web")).splitlines()) == 257
        assert len(await array.json("buckets", "web")) == 256
        assert await array.json("servers") == []
        assert (await array.ok("servers")).startswith("node")
        why = await array.json("explain", "web", "10.0.0.7:4711")
        assert f"is served by {why['node']}" in await array.ok("explain", "web", "10.0.0.7:4711")
        assert_refused(await array.run("explain", "wbe", "10.0.0.7:1"), 2, "did you mean 'web'? (404)")
        events = await array.json("events")
        assert [event["id"] for event in events] == list(range(1, len(events) + 1))
        later = await array.json("events", "--after", str(len(events) - 1))
        assert later[0]["id"] == len(events)
        assert "node_up" in await array.ok("events")


async def test_a_drain_is_waited_for_and_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_array(monkeypatch) as array:
        drained = await array.json("drain", "n2", "--wait", "--deadline", "30", "--reason", "[disk] :fire:")
        assert (drained["state"], drained["reason"]) == ("draining", "[disk] :fire:")
        assert {row["node"]: row["buckets"] for row in await array.json("nodes")}["n2"] == 0
        assert "drained" in await array.ok("status")
        assert await array.ok("drain", "n2", "--cancel") == "n2: active\n"
        assert await array.ok("drain", "n2", "--maintenance") == "n2: maintenance\n"
        assert_refused(await array.run("drain", "n9"), 2, "there is no node 'n9'")
        assert_refused(await array.run("drain", "../n1"), 2, "(404)")


async def test_a_plan_is_shown_then_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_array(monkeypatch) as array:
        stale = await array.json("plan", "--weight", "n1=5")
        plan = await array.json("plan", "--weight", "n1=2", "--intent", "n3=draining")
        assert plan["buckets"] > 0
        shown = await array.ok("apply", plan["id"])
        assert f"plan {plan['id']}: {plan['buckets']} buckets move" in shown
        assert_refused(await array.run("apply", plan["id"]), 2, "there is no plan")
        assert_refused(await array.run("plan", "--weight", "n1=much"), 2, "'much' is not a weight")
        assert_refused(await array.run("plan", "--intent", "n1"), 2, "'n1' is not NODE=VALUE")
        assert_refused(await array.run("apply", stale["id"]), 1, "the plan is stale")


async def test_configurations_are_pushed_and_rolled_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with running_array(monkeypatch) as array:
        document = yaml.safe_load((await array.client.get("/configuration")).text)
        document["nodes"][0]["weight"] = 3
        path = tmp_path / "array.yaml"
        path.write_text(yaml.safe_dump(document))
        assert await array.ok("push", path, "--dry-run") == f"{path}: would be accepted; in force is version 1\n"
        assert_refused(await array.run("push", path, "--base", "7"), 1, 'at "1", the request was made for "7" (412)')
        assert (await array.json("push", path, "--base", "1", "-m", "[bold]n1 first"))["version"] == 2
        assert "[bold]n1 first" in await array.ok("versions")
        assert [row["version"] for row in await array.json("versions")] == [2, 1]
        assert await array.ok("rollback") == "in force: version 1\n"
        assert (await array.json("rollback", "2"))["version"] == 2
        assert_refused(await array.run("rollback", "9"), 2, "there is no version 9")
        path.write_text("nodes: [")
        assert_refused(await array.run("push", path), 2, "not YAML")
        path.write_bytes(b"\xff")
        assert_refused(await array.run("push", path), 2, f"{path}: not UTF-8")


async def test_events_are_followed_until_the_controller_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_array(monkeypatch) as array:
        process = await start(array.url, "events", "--follow", "--json")
        assert process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            assert json.loads(await process.stdout.readline())["id"] == 1
    done = await finish(process)
    assert done.status in (0, 2)
    assert all(json.loads(line)["id"] for line in done.out.splitlines())
    assert done.err == "" or "the connection broke" in done.err


class Terminal:
    """What a command shows on one."""

    def __init__(self) -> None:
        self._end, self.of_child = os.openpty()
        os.set_blocking(self._end, False)
        self.shown = bytearray()
        asyncio.get_running_loop().add_reader(self._end, self.read)

    def read(self) -> None:
        try:
            self.shown.extend(os.read(self._end, 65_536))
        except OSError:  # nothing is left
            asyncio.get_running_loop().remove_reader(self._end)

    async def wait_for(self, text: bytes) -> None:
        async def is_there() -> bool:
            return text in self.shown

        await eventually(is_there, f"{text!r} on the terminal")

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._end)
        os.close(self.of_child)
        os.close(self._end)


@pytest.fixture
async def terminal() -> AsyncIterator[Terminal]:
    found = Terminal()
    yield found
    found.close()


@pytest.mark.parametrize("command", [("top",), ("events", "--follow")])
async def test_what_goes_on_ends_on_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, terminal: Terminal, command: tuple[str, ...]
) -> None:
    async with running_array(monkeypatch) as array:
        process = await start(array.url, *command, stdout=terminal.of_child)
        await terminal.wait_for(b"n1")
        process.send_signal(signal.SIGINT)
        done = await finish(process)
        terminal.read()
        shown = terminal.shown
        assert (done.status, done.err) == (0, "")
        if command == ("top",):
            assert shown.index(b"\x1b[?1049h") < shown.index(b"\x1b[?1049l"), "the screen is as it was"
            assert shown.rindex(b"\x1b[?25l") < shown.rindex(b"\x1b[?25h"), "the cursor is back"


async def test_top_goes_on_when_controllers_change(monkeypatch: pytest.MonkeyPatch, terminal: Terminal) -> None:
    configuration = make_configuration(buckets=256)
    async with running_array(monkeypatch, configuration) as array:
        process = await start(array.url, "top", "--interval", "0.2", stdout=terminal.of_child)
        await terminal.wait_for(b"3/3 nodes up")
    await terminal.wait_for(b"can't be reached")

    async def is_asked_again() -> bool:
        return terminal.shown[terminal.shown.rindex(b"can't be reached") :].count(b"3/3 nodes up") > 1

    async with running_array(monkeypatch, configuration):
        await eventually(is_asked_again, "looks that are not the last one")
        process.send_signal(signal.SIGINT)
        assert (await finish(process)).status == 0


async def test_tokens_are_made_and_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = await finish(await start("", "token", "ann", "operator"))
    assert made.status == 0
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(made.err)
    configuration = make_configuration(buckets=256)
    controller = configuration.controller.model_copy(update={"tokens": tokens})
    configuration = configuration.model_copy(update={"controller": controller})
    good, wrong, absent = tmp_path / "good", tmp_path / "wrong", tmp_path / "absent"
    good.write_text(made.out)
    wrong.write_text(make_token("ann", Role.ADMIN)[0])
    async with running_array(monkeypatch, configuration, up=False) as array:
        assert len(await array.json("nodes", "--token-file", good)) == 3
        assert_refused(await array.run("nodes"), 2, "a bearer token is needed (401)")
        assert_refused(await array.run("nodes", "--token-file", wrong), 2, "the bearer token is not known (401)")
        assert_refused(await array.run("versions", "--token-file", absent), 2, f"{absent}: can't be read")
        assert_refused(await array.run("rollback", "--token-file", good), 2, "ann is operator, this needs admin (403)")


async def test_a_controller_that_is_not_there(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    for command in (["status"], ["nodes", "--json"], ["top"], ["events", "--follow"], ["drain", "n1"]):
        assert_refused(await finish(await start(url, *command)), 2, "can't be reached")
    assert_refused(await finish(await start("controller:8080", "nodes")), 2, "not the URL of a controller")
    (tmp_path / "ca.pem").write_text("none")
    assert_refused(await finish(await start(url, "nodes", "--ca", tmp_path / "ca.pem")), 2, "no PEM file")


async def test_what_is_no_controller_is_said_to_be_none() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\n<br>")
        writer.close()

    port = free_port()
    async with await asyncio.start_server(answer, "127.0.0.1", port):
        done = await finish(await start(f"http://127.0.0.1:{port}", "nodes"))
    assert_refused(done, 2, "the answer is not JSON: this is no controller")


async def test_a_follower_sends_readers_on_with_their_token(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "token").write_text("secret")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if head.startswith("PUT"):
            status, more, body = "503 Service Unavailable", "", '{"detail": "this controller follows; b leads"}'
        elif "/leader" not in head:
            status, more, body = "307 Temporary Redirect", f"Location: http://localhost:{port}/leader?\r\n", ""
        else:
            status, more = "200 OK", ""
            body = json.dumps([] if "authorization: bearer secret\r\n" in head.lower() else [{}])
        text = f"HTTP/1.1 {status}\r\n{more}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
        writer.write(text.encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port):
        url = f"http://127.0.0.1:{port}"
        read = await finish(await start(url, "nodes", "--json", "--token-file", tmp_path / "token"))
        assert (read.status, read.out) == (0, "[]\n")
        assert_refused(await finish(await start(url, "drain", "n1")), 1, "this controller follows; b leads (503)")


async def test_names_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_array(monkeypatch, up=False) as array:
        context = typer.Context(typer.main.get_command(app))
        context.params = {"url": array.url}
        found = await asyncio.to_thread(commands._complete_node, context, "n")
        assert found == ["n1", "n2", "n3"]
        assert await asyncio.to_thread(commands._complete_vserver, context, "x") == []
    assert await asyncio.to_thread(commands._complete_node, context, "") == []
