"""Session ids of applications: whoever shows one reaches the server that it is bound to, at whatever node [P2]."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.session_stores import Backend, redis_backend, sqlite_backend
from support.tlsnode import Handler, RunningNode, node_document, running_node, scripted_server

WAIT_S = 60.0
SESSION_IDS: dict[str, Any] = {"parameter": "sid", "header": "X-Session", "cookie": "APPLICATION", "lifetime_s": 600}
SERVERS = ("w1", "w2", "w3")


def named(name: str) -> Handler:
    """A server that sets its session id where the target says: `/set/field?…`, `/set/location?…`, `/set/cookie?…`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", head)
            body = await reader.readexactly(int(length[1])) if length else b""
            while b"Transfer-Encoding: chunked" in head:
                size = int(await reader.readuntil(b"\r\n"), 16)
                body += (await reader.readexactly(size + 2))[:size]
                if not size:
                    break
            field = b""
            if told := re.match(rb"\w+ /set/(\w+)/(\w+)", head):
                field = {
                    b"field": b"X-Session: %b\r\n",
                    b"location": b"Location: /next;sid=%b?a=1\r\n",
                    b"cookie": b"Set-Cookie: APPLICATION=%b; Path=/\r\n",
                }[told[1]] % told[2]
            text = name.encode() + b" " + body
            writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (field, len(text), text))

    return serve


@pytest.fixture(params=[sqlite_backend, redis_backend], ids=["sqlite", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with request.param(tmp_path) as found:
        yield found


class Array:
    """Nodes with the same servers and store."""

    def __init__(self, nodes: list[RunningNode], servers: dict[str, AsyncExitStack]) -> None:
        self.nodes = nodes
        self._servers = servers

    async def ask(self, node: int, *arguments: str) -> str:
        """The name of the server that answers, and why that one, as in `w1 policy`."""
        return chosen((await self.nodes[node].curl("--fail", "--include", *arguments)).stdout)

    async def stop(self, name: str) -> None:
        """A server goes."""
        await self._servers[name].aclose()

    async def counts(self, node: int) -> dict[str, int]:
        counts = (await self.nodes[node].vserver_status())["session_ids"]
        return {name: count for name, count in counts.items() if count and name != "none"}

    async def until(self, node: int, condition: Callable[[dict[str, Any]], object]) -> None:
        """The store, as a node sees it, is as wanted."""
        async with asyncio.timeout(WAIT_S):
            while True:
                if condition((await self.nodes[node].status())["store"]):
                    return
                await asyncio.sleep(0.05)

    async def check_logs(self) -> None:
        for node in self.nodes:
            assert "internal error" not in await asyncio.to_thread(node.log.read_text)


def chosen(response: bytes) -> str:
    found = re.search(rb"X-Chosen: (\w+); by=(\w+)", response)
    assert found, response
    return f"{found[1].decode()} {found[2].decode()}"


@asynccontextmanager
async def running_array(
    folder: Path,
    backend: Backend,
    *,
    nodes: int = 2,
    workers: int = 1,
    timeout_ms: int = 5000,
    timeouts: dict[str, float] | None = None,
    **persistence: Any,
) -> AsyncIterator[Array]:
    store = "redis" if backend.restart else "sqlite"
    async with AsyncExitStack() as stack:
        stacks = {name: await stack.enter_async_context(AsyncExitStack()) for name in SERVERS}
        servers = [
            (name, "127.0.0.1", await own.enter_async_context(scripted_server(named(name))))
            for name, own in stacks.items()
        ]
        running = []
        for number in range(nodes):
            home = folder / f"n{number}"
            home.mkdir(parents=True)
            document = node_document(home, servers, timeouts=timeouts)
            document["nodes"][0]["id"] = number + 1
            (vserver,) = document["vservers"]
            cookie = {"cookie": vserver["persistence"]["cookie"] | {"mode": "plain"}}
            vserver["persistence"] = {"session_id": SESSION_IDS, "explain_header": "X-Chosen", **persistence}
            if persistence.get("source") is None:
                vserver["persistence"] |= cookie
            document["store"] = {"timeout_ms": timeout_ms, store: backend.where}
            running.append(await stack.enter_async_context(running_node(document, home, workers=workers)))
        array = Array(running, stacks)
        yield array
        await array.check_logs()


async def test_an_id_is_bound_by_its_first_request_for_all_nodes(tmp_path: Path, backend: Backend) -> None:
    async with running_array(tmp_path, backend, workers=2) as array:
        first = await array.ask(0, "/a;sid=one/b?c=d")
        assert first.endswith(" policy")
        own = first.replace("policy", "session_id")
        for _ in range(4):
            for node in range(2):
                assert await array.ask(node, "/?x=y&sid=one") == own
                assert await array.ask(node, "--header", "x-session: one", "/") == own
        assert await array.counts(0) == {"learnt": 1, "honoured": 8}
        assert await array.counts(1) == {"honoured": 8}
        metrics = await array.nodes[1].curl(f"http://{array.nodes[1].management}/metrics")
        assert 'session_ids_total{outcome="honoured",vserver="web"} 8.0' in metrics.text


async def test_of_nodes_that_see_an_id_at_once_all_agree(tmp_path: Path, backend: Backend) -> None:
    async with running_array(tmp_path, backend, workers=2) as array:
        for number in range(8):
            answers = await asyncio.gather(*(array.ask(i % 2, f"/?sid=at-once-{number}") for i in range(6)))
            assert len({answer.split()[0] for answer in answers}) == 1, answers
            assert sum(answer.endswith(" policy") for answer in answers) == 1, answers


@pytest.mark.parametrize("way", ["field", "location", "cookie"])
async def test_an_id_is_bound_to_the_server_that_sets_it(tmp_path: Path, backend: Backend, way: str) -> None:
    async with running_array(tmp_path, backend) as array:
        made = {}
        for number in range(4):
            session_id = f"{way}{number}"
            made[session_id] = (await array.ask(0, f"/set/{way}/{session_id}")).split()[0]
        assert set(made.values()) == set(SERVERS)
        await array.until(0, lambda store: not store["pending"])
        for session_id, server in made.items():
            for node in (1, 0):
                assert await array.ask(node, f"/;sid={session_id}") == f"{server} session_id"
        assert (await array.counts(0))["learnt_from_response"] == 4


async def test_who_takes_an_id_over_gets_it_for_all_nodes(tmp_path: Path, backend: Backend) -> None:
    """Its server is gone: found by a request to it, and known when the next one comes."""
    async with running_array(tmp_path, backend) as array:
        own = None
        ids = []
        for number in range(100):
            answer = await array.ask(0, f"/?sid=id{number}")
            own = own or answer
            if answer == own:
                ids.append(f"id{number}")
            if len(ids) == 2:
                break
        assert own
        name = own.split()[0]
        for session_id in ids:
            assert await array.ask(1, f"/?sid={session_id}") == f"{name} session_id"
        await array.stop(name)
        for session_id in ids:
            answer = await array.ask(0, f"/?sid={session_id}")
            assert answer.endswith(" policy")
            assert not answer.startswith(name)
            await array.until(1, lambda store: store["copies"] == 1)  # the other node has dropped its own
            for node in range(2):
                assert await array.ask(node, f"/?sid={session_id}") == answer.replace("policy", "session_id")
        counts = await array.counts(0)
        assert (counts["server_down"], counts["replaced"]) == (1, 2)


async def test_what_is_no_id_counts_as_absent(tmp_path: Path) -> None:
    with sqlite_backend(tmp_path) as backend:
        async with running_array(tmp_path, backend, nodes=1) as array:
            for arguments in (
                ("/?sid=" + "x" * 257,),
                ("/?sid=a%00b",),
                ("/;sid=a?sid=b",),
                ("--header", "X-Session: a", "--header", "x-session: b", "/"),
                ("/?sid=",),
                ("/?xsid=1",),
            ):
                answers = [await array.ask(0, *arguments) for _ in SERVERS]
                assert sorted(answers) == [f"{name} policy" for name in SERVERS], arguments
            assert await array.counts(0) == {"too_long": 3, "malformed": 3, "ambiguous": 6}


async def test_the_cookie_goes_before_the_id_and_the_address_behind_it(tmp_path: Path) -> None:
    with sqlite_backend(tmp_path) as backend:
        async with running_array(tmp_path, backend, nodes=1) as array:
            assert await array.ask(0, "--cookie", "SpServer=3", "/?sid=x") == "w3 cookie"
            await array.until(0, lambda store: store["copies"])
            assert await array.ask(0, "/?sid=x") == "w3 session_id", "the id was learnt, too"
            assert await array.ask(0, "--cookie", "SpServer=1", "/?sid=x") == "w1 cookie"
            assert await array.ask(0, "/?sid=x") == "w3 session_id", "who is first, stays"
        async with running_array(tmp_path / "other", backend, nodes=1, source=True) as array:
            assert (await array.ask(0, "/?sid=y")).endswith(" source")
            assert (await array.ask(0, "/?sid=y")).endswith(" session_id")


async def test_a_store_that_hangs_holds_up_only_those_who_ask_it(tmp_path: Path, backend: Backend) -> None:
    async with running_array(tmp_path, backend, nodes=1) as array:
        (node,) = array.nodes
        known = (await array.ask(0, "/?sid=known")).split()[0]
        clients = [await node.connect() for _ in range(4)]
        backend.hang()
        for (_, writer), target in zip(clients, (b"/?sid=gone", b"/?sid=new", b"/", b"/?sid=known"), strict=True):
            writer.write(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % target)
        (_, gone), *others = clients
        gone.transport.abort()
        waits, plain, bound = (
            asyncio.create_task(asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)) for reader, _ in others
        )
        first, _ = await asyncio.wait((waits, plain, bound), return_when=asyncio.FIRST_COMPLETED)
        assert first & {plain, bound}, "the one that asks the store was answered before the others"
        assert chosen(await plain).endswith(" policy")
        assert chosen(await bound) == f"{known} session_id"
        assert chosen(await waits).endswith(" policy")
        backend.go_on()
        for _, writer in others:
            writer.transport.abort()


async def test_without_the_store_a_worker_goes_on_by_itself(tmp_path: Path, backend: Backend) -> None:
    async with running_array(tmp_path, backend, nodes=1, timeout_ms=100) as array:
        backend.hang()
        answers = []
        for number in range(6):
            answers.append(await array.ask(0, f"/?sid=id{number}"))
            assert answers[-1].endswith(" policy")
            assert await array.ask(0, f"/?sid=id{number}") == answers[-1].replace("policy", "session_id")
        backend.go_on()
        number = 0
        async with asyncio.timeout(WAIT_S):
            while (await array.nodes[0].status())["store"]["away"]:
                number += 1
                await array.ask(0, f"/?sid=back{number}")


async def test_a_response_that_is_due_does_not_wait_for_the_store(tmp_path: Path) -> None:
    with redis_backend(tmp_path) as backend:
        async with running_array(tmp_path, backend, nodes=1, timeouts={"response_s": 1.5}) as array:
            assert await array.ask(0, "/?sid=known")
            backend.hang()
            assert (await array.ask(0, "/?sid=new")).endswith(" policy")
            backend.go_on()


async def test_a_request_that_waits_keeps_its_body_and_those_behind_it(tmp_path: Path) -> None:
    body = bytes(range(256)) * 2000
    with redis_backend(tmp_path) as backend:
        async with running_array(tmp_path, backend, nodes=1) as array:
            (node,) = array.nodes
            given = ("--fail", "--data-binary", "@-", "--header", "Expect:")
            result = await node.curl(*given, "/?sid=length", stdin=body)
            assert result.stdout[len("w1 ") :] == body
            result = await node.curl(*given, "--header", "Transfer-Encoding: chunked", "/?sid=chunked", stdin=body)
            assert result.stdout[len("w1 ") :] == body
            answers = await asyncio.gather(*(node.send(pipelined(number)) for number in range(4)))
            assert [answer.count(b"HTTP/1.1 200") for answer in answers] == [10] * 4
            assert (await array.counts(0)) == {"learnt": 42}


def pipelined(number: int) -> bytes:
    return b"".join(
        b"GET /?sid=p%d-%d HTTP/1.1\r\nHost: localhost\r\n%b\r\n"
        % (number, i, b"Connection: close\r\n" if i == 9 else b"")
        for i in range(10)
    )
