"""Which server a client would get, and why: a real controller asks two real nodes, and is believed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.ports import free_port
from support.processes import pentaflow
from support.resumption import s_client, session_of
from support.tlsnode import node_document, scripted_server

pytestmark = pytest.mark.timeout(300)  # processes start one after the other

NODES = ("node1", "node2")
"""Each serves an address of its own on this machine, where they would share one."""
LEADING = "leading"


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + 90
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, f"waited for {what}"
        await asyncio.sleep(0.05)


async def begin_session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: SESSION=private\r\nContent-Length: 0\r\n\r\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """What runs: each node's port of vserver "web", the REST API, and where everything is logged."""

    folder: Path
    ports: dict[str, int]
    rest: httpx.AsyncClient
    management: dict[str, str]

    async def ask(self, secrets: dict[str, str] | None = None, **query: str) -> dict[str, Any]:
        """The answer about vserver "web", which must be one; `secrets`: fields of the header, without "Client-"."""
        response = await self.get("web", secrets, **query)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def get(self, vserver: str, secrets: dict[str, str] | None = None, **query: str) -> httpx.Response:
        headers = {f"Client-{name}": text for name, text in (secrets or {}).items()}
        return await self.rest.get(f"/sessions/{vserver}", headers=headers, params=query)

    async def visit(self, node: str, cookie: str = "") -> tuple[str, str, str]:
        """A request by a real client: the server's name, what chose it, and the cookie that names it."""
        options = ["--cookie", cookie] if cookie else []
        process = await asyncio.create_subprocess_exec(
            *("curl", "--silent", "--show-error", "--insecure", "--include", "--noproxy", "*", "--max-time", "60"),
            *(*options, f"https://127.0.0.1:{self.ports[node]}/"),
            stdout=asyncio.subprocess.PIPE,
        )
        text = (await process.communicate())[0].decode()
        chosen = re.search(r"X-Chosen: (\w+); by=(\w+)", text)
        named = re.search(r"Set-Cookie: (SpServer=[^;\s]+)", text, re.IGNORECASE)
        assert chosen, text
        assert named, text
        return chosen[1], chosen[2], named[1]

    async def cli(self, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pentaflow", *arguments),
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PENTAFLOW_URL": str(self.rest.base_url)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(stdin), 60)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


def steps(answer: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    return [(step["by"], step["verdict"], step["server"]) for step in answer["steps"]]


@asynccontextmanager
async def running_array(folder: Path) -> AsyncIterator[Array]:
    async with AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(scripted_server(begin_session)) for _ in range(3)]
        document = node_document(folder, [(f"w{i}", "127.0.0.1", port) for i, port in enumerate(ports, 1)])
        (node,), (web,) = document["nodes"], document["vservers"]
        document["nodes"] = [
            node | {"name": name, "id": i, "mac": f"02:00:00:00:00:0{i}", "management": f"127.0.0.1:{free_port()}"}
            for i, name in enumerate(NODES, 1)
        ]
        document["controller"] = {
            "rest": f"127.0.0.1:{free_port()}",
            "health": {"management": {"interval_ms": 100}, "damping": {"half_life_s": 1}},
        }
        web["persistence"] |= {
            "source": True,
            "explain_header": "X-Chosen",
            "ticket": {},
            "tls_session_ids": {"secret_file": web["persistence"]["cookie"]["secret_file"]},
        }
        document["store"] = {"timeout_ms": 1000}
        leading = {"name": LEADING, "id": 2, "vip": "127.0.0.1", "mode": "http", "redirect": {"to": "https"}}
        array = Array(
            folder=folder,
            ports={name: free_port() for name in NODES},
            rest=await stack.enter_async_context(
                httpx.AsyncClient(base_url=f"http://{document['controller']['rest']}", trust_env=False, timeout=30)
            ),
            management={node["name"]: node["management"] for node in document["nodes"]},
        )

        async def start(command: str, port: int, *arguments: str) -> None:
            path = folder / f"{arguments[0] if arguments else command}.yaml"
            vservers = [web | {"port": port}, leading | {"port": free_port()}]
            path.write_text(json.dumps(document | {"vservers": vservers}))
            await stack.enter_async_context(pentaflow(path.with_suffix(".log"), command, path, *arguments))

        for name in NODES:
            await start("node", array.ports[name], name, "--workers", "2", "--vips", "external")
        await start("controller", web["port"])

        async def both_answer() -> bool:
            try:
                return all([(await array.get("web", node=name)).status_code == 200 for name in NODES])
            except httpx.TransportError:
                return False

        await eventually(both_answer, "both nodes answer")
        yield array


async def test_what_is_said_of_a_client_is_what_becomes_of_it(tmp_path: Path) -> None:
    async with running_array(tmp_path) as array:
        server, by, cookie = await array.visit("node1")
        assert by == "source"
        token = cookie.removeprefix("SpServer=")

        # The same of every node, and true of a request that comes there.
        for name in NODES:
            bound = await array.ask({"Cookie": f"a=1; {cookie}"}, node=name)
            assert bound == {
                "node": name,
                "vserver": "web",
                "pool": "servers",
                "steps": [{"by": "cookie", "verdict": "honoured", "server": server}],
                "server": server,
                "chosen_by": "cookie",
                "policy": "round_robin",
                "refusal": None,
            }
            assert (await array.visit(name, cookie))[:2] == (server, "cookie")
            free = await array.ask(client="127.0.0.1", node=name)
            assert steps(free) == [("cookie", "none", None), ("ticket", "none", None), ("source", "honoured", server)]
            assert free["chosen_by"] == "source"

        async def some_node_answers() -> bool:  # unless the controller, on a busy machine, takes both to be down
            response = await array.get("web", {"Cookie": cookie})
            return response.status_code == 200 and response.json()["server"] == server

        await eventually(some_node_answers, "an answer of some node")

        forged = await array.ask({"Cookie": cookie[:-4] + ("AAAA" if cookie[-4:] != "AAAA" else "BBBB")}, node="node1")
        assert steps(forged) == [("cookie", "forged", None), ("ticket", "none", None), ("source", "not_asked", None)]
        assert (forged["server"], forged["refusal"]) == (None, None)

        # Nobody was counted for having been asked about.
        for name in NODES:
            metrics = (await array.rest.get(f"http://{array.management[name]}/metrics")).text
            visits = 1 + (name == "node1")
            assert f'pentaflow_node_requests_total{{vserver="web"}} {visits}.0' in metrics
            assert 'pentaflow_node_chosen_servers_total{by="cookie",vserver="web"} 1.0' in metrics
            assert 'pentaflow_node_affinities_total{outcome="honoured",vserver="web"} 1.0' in metrics
            assert 'pentaflow_node_affinities_total{outcome="forged",vserver="web"} 0.0' in metrics
            assert f'pentaflow_node_cookies_injected_total{{vserver="web"}} {visits}.0' in metrics

        status, out, err = await array.cli("why", "web", "--cookie", "-", "--node", "node2", stdin=cookie.encode())
        assert (status, err) == (0, "")
        assert f"web at node2: server {server} of pool servers, by cookie" in out
        status, out, err = await array.cli("why", "web", "--node", "node1", "--client", "127.0.0.1", "--json")
        assert (status, json.loads(out)["server"]) == (0, server)
        status, out, err = await array.cli("why", "web", "--client", "here")
        assert (status, out, err) == (2, "", "pentaflow: client: 'here' is not an IP address (422)\n")

        for log in ("controller.log", "node1.log", "node2.log"):
            assert token not in (tmp_path / log).read_text()


async def test_a_tls_session_is_read_by_who_can(tmp_path: Path) -> None:
    async with running_array(tmp_path) as array:
        source = (await array.ask(client="127.0.0.1", node="node1"))["server"]
        tickets = []
        for version in ("-tls1_2", "-tls1_3"):
            kept = tmp_path / f"session{version}"
            said = await s_client(array.ports["node1"], version, "-servername", "www.example", "-sess_out", kept)
            assert f"X-Chosen: {source}; by=source" in said
            ticket = (await session_of(kept)).ticket
            tickets.append(ticket)
            answer = await array.ask({"Ticket": ticket}, node="node1")
            assert steps(answer) == [("cookie", "none", None), ("ticket", "honoured", source)]
            assert (answer["server"], answer["chosen_by"]) == (source, "ticket")
            for name, verdict in (("WWW.example", "honoured"), ("other.example", "foreign_name")):
                answer = await array.ask({"Ticket": ticket}, node="node1", name=name)
                assert steps(answer)[1][:2] == ("ticket", verdict)
            answer = await array.ask({"Ticket": ticket}, node="node2")
            assert steps(answer)[1] == ("ticket", "unknown_key", None), "each node has keys of its own here"
            assert steps(await array.ask({"Ticket": ticket[:-2]}, node="node1"))[1] == ("ticket", "forged", None)
            said = await s_client(array.ports["node1"], version, "-servername", "www.example", "-sess_in", kept)
            assert f"X-Chosen: {source}; by=ticket" in said

        kept = tmp_path / "session"
        await s_client(array.ports["node1"], "-tls1_2", "-no_ticket", "-sess_out", kept)
        session_id = (await session_of(kept)).session_id

        async def is_shared() -> bool:
            answer = await array.ask({"Session-Id": session_id}, node="node1")
            return steps(answer)[1] == ("ticket", "honoured", source)

        await eventually(is_shared, "the store has the session")
        answer = await array.ask({"Session-Id": session_id}, node="node2")
        assert steps(answer)[1] == ("ticket", "unknown", None), "each node has a store of its own here"
        assert steps(await array.ask({"Session-Id": "00" * 32}, node="node1"))[1] == ("ticket", "forged", None)

        status, out, err = await array.cli("why", "web", "--ticket", "-", "--node", "node1", stdin=tickets[0].encode())
        assert (status, err) == (0, "")
        assert f"web at node1: server {source} of pool servers, by ticket" in out
        for log in ("controller.log", "node1.log", "node2.log"):
            assert not re.search("|".join([session_id, *tickets]), (tmp_path / log).read_text(), re.IGNORECASE)


async def test_what_can_not_be_answered_says_why(tmp_path: Path) -> None:
    async with running_array(tmp_path) as array:
        for vserver, secrets, query, status, sentence in (
            ("wbe", {}, {}, 404, "there is no vserver 'wbe'; did you mean 'web'?"),
            (LEADING, {}, {}, 422, "vserver leading redirects all clients and has no servers"),
            ("web", {}, {"client": "10.0.0.1:80"}, 422, "'10.0.0.1:80' is not an IP address"),
            ("web", {}, {"node": "node3"}, 404, "there is no node of vserver web 'node3'; did you mean"),
            ("web", {}, {"name": "www.example/"}, 422, "name: String should match pattern"),
            ("web", {"Cookie": "secret" * 2000}, {}, 422, "client-cookie: String should have at most 8192 characters"),
            ("web", {"Ticket": "secret"}, {}, 422, "client-ticket: not hexadecimal"),
            ("web", {"Ticket": ":"}, {}, 422, "client-ticket: Data should have at least 1 byte"),
            ("web", {"Session-Id": "ab" * 33}, {}, 422, "client-session-id: Data should have at most 32 bytes"),
        ):
            refused = await array.get(vserver, secrets, **query)
            assert refused.status_code == status, refused.text
            assert refused.headers["Content-Type"] == "application/problem+json"
            assert sentence in refused.json()["detail"]
            assert not re.search("secret|abab", refused.text)

        # A node says so itself, too.
        base = f"http://{array.management['node1']}/sessions"
        for path, question, status, sentence in (
            ("wbe", "{}", 404, "404 Not Found: this node has no vserver 'wbe'; did you mean 'web'?\n"),
            (
                LEADING,
                "{}",
                422,
                "422 Unprocessable Entity: vserver leading: redirects all clients and has no servers\n",
            ),
            (
                "web",
                '{"cookie": ["secret"]}',
                422,
                "422 Unprocessable Entity: cookie: Input should be a valid string\n",
            ),
            ("web", '{"secret', 422, "422 Unprocessable Entity: Invalid JSON"),
            ("web", "[]", 422, "422 Unprocessable Entity: Input should be an object"),
            ("web", '{"ticket": "secret"}', 422, "422 Unprocessable Entity: ticket: Data should be valid hex"),
            ("web", "x" * 140_000, 413, "a body of more than 131072 bytes"),
        ):
            answer = await array.rest.post(f"{base}/{path}", content=question)
            assert (answer.status_code, "secret" in answer.text) == (status, False)
            assert sentence in answer.text


async def test_a_node_that_does_not_answer_is_named(tmp_path: Path) -> None:
    document = node_document(tmp_path, [("w1", "127.0.0.1", free_port())])
    document["controller"] = {"rest": f"127.0.0.1:{free_port()}"}
    path = tmp_path / "controller.yaml"
    path.write_text(json.dumps(document))
    url = f"http://{document['controller']['rest']}"
    async with (
        pentaflow(tmp_path / "controller.log", "controller", path),
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as rest,
    ):

        async def leads() -> bool:
            try:
                return (await rest.get("/nodes")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(leads, "the controller leads")
        answer = await rest.get("/sessions/web?node=node1", headers={"Client-Cookie": "secret"})
        assert answer.status_code == 503
        assert answer.json()["detail"].startswith("node node1: ")
        assert "secret" not in answer.text + (tmp_path / "controller.log").read_text()
