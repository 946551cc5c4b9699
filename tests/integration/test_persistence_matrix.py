"""Every way to come back to the array, from a real client: which server answers, and whether TLS is resumed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.persistence_matrix import Asked, Case, Keys, Landing, Method, Outcome, Server, cases, expected
from support.redis import RedisServer, running_redis
from support.resumption import s_client
from support.tlsnode import Handler, node_document, scripted_server, wait_until
from support.worker_array import WorkerProcess, worker_array
from tlsnodes.persistence.affinity import ChosenBy

KEYS = {Keys.CURRENT: (b"a" * 80,), Keys.RETIRING: (b"b" * 80, b"a" * 80), Keys.GONE: (b"c" * 80,)}
LANDINGS = dict(zip(Landing, range(3), strict=True))
OWN = "w1"
NAME = "www.example.test"
AT_ONCE = 4
IDS = 64
"""Session ids that belong to OWN: one for each return, since who comes back to a server that is gone gets another."""


def named(name: str) -> Handler:
    """A server that sets its session cookie with each response."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: SESSION=%b\r\n\r\n" % name.encode())

    return serve


@asynccontextmanager
async def array(folder: Path, store: RedisServer) -> AsyncIterator[tuple[dict[str, Any], list[WorkerProcess]]]:
    """Two vservers with the same three servers, at two workers of one node and one of another."""
    async with AsyncExitStack() as stack:
        servers = []
        for name in (OWN, "w2", "w3"):
            port = await stack.enter_async_context(scripted_server(named(name)))
            servers.append((name, "127.0.0.1", port))
        document = node_document(folder, servers)
        (node,) = document["nodes"]
        document["nodes"].append(node | {"name": "node2", "id": 2, "mac": "02:00:00:00:00:02"})
        (web,) = document["vservers"]
        web["persistence"] |= {"ticket": {}, "explain_header": "X-Chosen"}
        web["persistence"]["session_id"] = {"parameter": "sid"}
        web["persistence"]["tls_session_ids"] = {"secret_file": secret(folder, b"a")}
        document["vservers"].append(web | {"name": "shop", "id": 2, "port": web["port"] + 1})
        document["store"] = {"redis": store.url, "timeout_ms": 5000}
        yield document, await stack.enter_async_context(worker_array(document, ["node1", "node1", "node2"]))


def secret(folder: Path, content: bytes) -> str:
    """The path of a file with a secret."""
    path = folder / f"{content.hex()}.secret"
    path.touch(mode=0o600)
    path.write_text((content * 32).hex())
    return str(path)


def changed(folder: Path, document: dict[str, Any], server: Server, keys: Keys) -> dict[str, Any]:
    """The same with the client's server in another state, and the secret of session ids."""
    (pool,) = document["pools"]
    own, *others = pool["servers"]
    kept = {Server.UP: [own], Server.DRAINING: [own | {"weight": 0}], Server.GONE: []}[server]
    ids = {"secret_file": secret(folder, b"b" if keys is Keys.GONE else b"a")}
    vservers = [
        vserver | {"persistence": vserver["persistence"] | {"tls_session_ids": ids}} for vserver in document["vservers"]
    ]
    return document | {"pools": [pool | {"servers": kept + others}], "vservers": vservers}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client saw."""

    resumed: bool
    server: str
    by: ChosenBy
    text: str


def read(text: str) -> Answer:
    chosen = re.search(r"X-Chosen: (\w+); by=(\w+)", text)
    assert chosen is not None, text
    is_resumed = re.search(r"^Reused, TLS", text, re.MULTILINE) is not None
    return Answer(resumed=is_resumed, server=chosen[1], by=ChosenBy[chosen[2].upper()], text=text)


async def tls_request(port: int, name: str, *options: str | Path) -> Answer:
    return read(await s_client(port, "-servername", name, *options))


async def curl_request(port: int, *options: str, target: str = "/") -> Answer:
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--insecure", "--include", "--noproxy", "*", "--max-time", "60"),
        *(*options, f"https://127.0.0.1:{port}{target}"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return read(output.decode())


class Clients:
    """One of each method that belongs to OWN, as it was served at home."""

    def __init__(self, folder: Path, store: RedisServer) -> None:
        self._folder = folder
        self._store = store
        self._cookie = ""
        self._ids = [str(number) for number in range(IDS)]

    async def begin(self, home: WorkerProcess) -> None:
        """Have servers chosen by policy until it is OWN."""
        port = home.ports["web"]
        for method in Method:
            for number in range(1, 11):
                match method:
                    case Method.SESSION_ID:  # learnt from requests that go to OWN
                        await curl_request(port, *self._with_cookie(), target=f"/?sid=[0-{IDS - 1}]")
                        await self._shared(IDS)
                        break
                    case Method.COOKIE:
                        answer = await curl_request(port)
                        (self._cookie,) = re.findall(r"Set-Cookie: (SpServer=\S+)", answer.text, re.IGNORECASE)
                    case _:
                        kept = ("-sess_out", self._session(method))
                        answer = await tls_request(port, NAME, *_options(method), *kept)
                        if method is Method.SESSION_ID_1_2:
                            await self._shared(IDS + number)
                assert (answer.resumed, answer.by) == (False, ChosenBy.POLICY), answer.text
                if answer.server == OWN:
                    break
            else:
                raise AssertionError(f"the policy never chose {OWN}")

    async def _shared(self, records: int) -> None:
        await wait_until(lambda: self._store.command("DBSIZE") == b":%d\r\n" % records, timeout_s=60)

    def _with_cookie(self) -> tuple[str, str]:
        return ("--header", f"Cookie: {self._cookie}")

    async def come_back(self, case: Case, worker: WorkerProcess) -> Answer:
        port = worker.ports["shop" if case.asked is Asked.OTHER_VSERVER else "web"]
        if case.method is Method.COOKIE:
            return await curl_request(port, *self._with_cookie())
        if case.method is Method.SESSION_ID:
            return await curl_request(port, target=f"/?sid={self._ids.pop()}")
        name = "other.example.test" if case.asked is Asked.OTHER_NAME else NAME
        return await tls_request(port, name, *_options(case.method), "-sess_in", self._session(case.method))

    def _session(self, method: Method) -> Path:
        return self._folder / f"{method.name}.session"


def _options(method: Method) -> tuple[str, ...]:
    match method:
        case Method.SESSION_ID_1_2:
            return ("-tls1_2", "-no_ticket")
        case Method.TICKET_1_2:
            return ("-tls1_2",)
        case _:
            return ("-tls1_3",)


async def in_turn(tried: Sequence[tuple[Case, Landing]], clients: Clients, workers: list[WorkerProcess]) -> list[str]:
    """Try cases, some at once; what is not as expected, as sentences."""
    room = asyncio.Semaphore(AT_ONCE)

    async def try_one(case: Case, landing: Landing) -> str | None:
        async with room:
            answer = await clients.come_back(case, workers[LANDINGS[landing]])
        wanted = expected(case)
        # Who is not bound may get any server, its own included if that takes new clients.
        own = answer.server == OWN if wanted.own or case.server is not Server.UP else False
        seen = Outcome(resumed=answer.resumed, own=own, by=answer.by)
        return None if seen == wanted else f"{case}, {landing}: {seen}, not {wanted}"

    results = await asyncio.gather(*(try_one(case, landing) for case, landing in tried))
    return [result for result in results if result is not None]


async def test_whoever_comes_back_reaches_its_server_or_is_told_why_not(tmp_path: Path) -> None:
    with running_redis(tmp_path) as store:
        await check(tmp_path, store)


async def check(folder: Path, store: RedisServer) -> None:
    """Every case, from every landing."""
    async with array(folder, store) as (document, workers):
        for worker in workers:
            await worker.run(document, KEYS[Keys.CURRENT])
        clients = Clients(folder, store)
        await clients.begin(workers[0])
        wrong: list[str] = []
        tried = 0
        for server in Server:
            for keys in Keys:
                for worker in workers:
                    await worker.run(changed(folder, document, server, keys), KEYS[keys])
                now = [
                    (case, landing)
                    for case in cases()
                    for landing in Landing
                    if case.server is server and case.keys in (keys, None)
                ]
                wrong += await in_turn(now, clients, workers)
                tried += len(now)
        assert not wrong, "\n".join(wrong)
        assert tried == len(Landing) * (2 * 27 + 2 * (3 * 2 * 3) + 18)
