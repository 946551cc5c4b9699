"""A node as a process, real clients that talk to it, and servers that behave as a test wants."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.certificates import make_certificate
from support.ports import free_port
from support.processes import assert_no_crash

_ROOT = Path(__file__).parents[2]
SECRET = bytes(range(32))


def node_document(
    folder: Path,
    servers: Sequence[tuple[str, str, int]],
    *,
    cookie_mode: str = "authenticated",
    policy: str = "round_robin",
    timeouts: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Vserver "web" on a free port of 127.0.0.1 and node "node1"; `servers`: (name, address, port), ids from 1."""
    certificate, key = make_certificate().write(folder)
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_text(SECRET.hex())
    cookie = {"session_cookie": "SESSION", "mode": cookie_mode, "secret_file": str(secret)}
    return {
        "switches": [{"name": "s1", "grpc": "127.0.0.1:9559", "ports": [1], "probe_address": "192.0.2.254"}],
        "nodes": [
            {
                "name": "node1",
                "id": 1,
                "mac": "02:00:00:00:00:01",
                "ports": {"s1": 1},
                "management": f"127.0.0.1:{free_port()}",
            }
        ],
        "vservers": [
            {
                "name": "web",
                "id": 1,
                "vip": "127.0.0.1",
                "port": free_port(),
                "tls": {"certificate": str(certificate), "key": str(key)},
                "pool": "servers",
                "persistence": {"cookie": cookie},
                "timeouts": timeouts or {},
            }
        ],
        "pools": [
            {
                "name": "servers",
                "policy": policy,
                "servers": [
                    {"name": name, "id": number, "address": f"{address}:{port}"}
                    for number, (name, address, port) in enumerate(servers, 1)
                ],
            }
        ],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Curl:
    """What curl saw."""

    exit_status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output."""
        return self.stdout.decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningNode:
    """A node that serves.

    Attributes:
        process: `pentaflow node`.
        port: of the vserver, on 127.0.0.1.
        management: host:port of the status document.
        ca: the file that clients trust.
        log: what the node printed.
    """

    process: asyncio.subprocess.Process
    port: int
    management: str
    ca: Path
    log: Path

    def url(self, path: str) -> str:
        """Of something on the vserver."""
        return f"https://127.0.0.1:{self.port}{path}"

    async def curl(self, *arguments: str | Path, stdin: bytes | None = None) -> Curl:
        """Run curl, which trusts the node's certificate and may take a minute; paths become URLs."""
        process = await asyncio.create_subprocess_exec(
            "curl",
            *("--silent", "--show-error", "--noproxy", "*", "--max-time", "60", "--cacert", str(self.ca)),
            *(self.url(a) if isinstance(a, str) and a.startswith("/") else str(a) for a in arguments),
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await process.communicate(stdin)
        assert process.returncode is not None
        return Curl(exit_status=process.returncode, stdout=stdout, stderr=stderr)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TLS connection of Python's, to send what curl would not."""
        trust = ssl.create_default_context(cafile=self.ca)
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=trust)

    async def send(self, data: bytes) -> bytes:
        """Send `data` over a new connection; all that comes until the node closes."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            return await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.transport.abort()

    async def status(self) -> dict[str, Any]:
        """The status document."""
        result = await self.curl(f"http://{self.management}/status")
        document = json.loads(result.stdout)
        assert isinstance(document, dict)
        return document

    async def vserver_status(self) -> dict[str, Any]:
        """The only vserver's part of the status document."""
        (vserver,) = (await self.status())["vservers"]
        assert isinstance(vserver, dict)
        return vserver


@asynccontextmanager
async def running_node(
    document: dict[str, Any],
    folder: Path,
    *,
    workers: int = 1,
    options: Sequence[str] = (),
    ca: Path | None = None,
) -> AsyncIterator[RunningNode]:
    """Run `pentaflow node` with this configuration; at the end it is told to stop, and killed if it does not.

    Whatever happens to its clients and servers, no worker may crash.

    Clients trust `ca`, which is the first vserver's own certificate unless given.
    """
    configuration = folder / "array.yaml"
    configuration.write_text(json.dumps(document))
    log = folder / "node.log"
    vserver = document["vservers"][0]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from pentaflow.cli import main; main()", "node", str(configuration), "node1"),
            *("--workers", str(workers), *options),
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )
    node = RunningNode(
        process=process,
        port=vserver["port"],
        management=document["nodes"][0]["management"],
        ca=ca or Path(vserver["tls"]["certificate"]),
        log=log,
    )
    try:
        async with asyncio.timeout(90):
            while not await _accepts(node.management):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.02)
        yield node
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 15)
            except TimeoutError:
                process.kill()
                await process.wait()
    assert_no_crash(log)


async def _accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.transport.abort()
    return True


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def scripted_server(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A back end that does what `handler` does with each connection, which is closed after it; yields the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()
        tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()


async def wait_until(condition: Callable[[], bool], *, timeout_s: float = 30) -> None:
    """Wait for a condition; AssertionError when it does not come true."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "the condition did not come true"
        await asyncio.sleep(0.01)
