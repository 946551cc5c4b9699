"""A node under clients and servers that mean harm: what it is started with, and what is left of them afterwards."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.tlsnode import Handler, RunningNode, node_document, running_node, scripted_server

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST_REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
QUIET_S = 30.0


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that says ok to every request without a body."""
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)


@asynccontextmanager
async def node_before(
    folder: Path,
    handler: Handler,
    *,
    limits: dict[str, Any] | None = None,
    timeouts: dict[str, float] | None = None,
) -> AsyncIterator[RunningNode]:
    """A node with one worker in front of one scripted server; whatever happens to it, nothing is left at the end."""
    async with scripted_server(handler) as port:
        document = node_document(folder, [("only", "127.0.0.1", port)], timeouts=timeouts)
        document["vservers"][0]["limits"] = limits or {}
        async with running_node(document, folder) as node:
            yield node
            await until_quiet(node)
            assert "internal error" not in node.log.read_text()


async def until_status(node: RunningNode, found: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until the vserver's part of the status document is as wanted.

    Raises:
        AssertionError: it does not come to that.
    """
    deadline = asyncio.get_running_loop().time() + QUIET_S
    while not found(vserver := await node.vserver_status()):
        assert asyncio.get_running_loop().time() < deadline, f"it did not come to that: {vserver}"
        await asyncio.sleep(0.02)


async def until_quiet(node: RunningNode) -> None:
    """Wait until the node has no connection of a client and no request at a server."""
    await until_status(
        node,
        lambda vserver: not vserver["open_connections"] and not any(server["open"] for server in vserver["servers"]),
    )


async def worker_pid(node: RunningNode) -> int:
    """Of the only worker."""
    (worker,) = (await node.status())["workers"]
    pid = worker["pid"]
    assert isinstance(pid, int)
    return pid


def resident_mib(pid: int) -> float:
    """Memory of a process that is in use now."""
    return _memory_mib(pid, "VmRSS")


def forget_peak(pid: int) -> None:
    """Have `peak_mib` count from now on (proc(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mib(pid: int) -> float:
    """The most memory that a process has had in use."""
    return _memory_mib(pid, "VmHWM")


def _memory_mib(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"no {name}")


async def connect_with_little_room(
    node: RunningNode, *, room: int = 16_384, tls: bool = True
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection whose kernel and reader hold little, so that who reads slowly takes slowly."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", node.port))
    if not tls:
        return await asyncio.open_connection(sock=sock, limit=room)
    trust = ssl.create_default_context(cafile=node.ca)
    return await asyncio.open_connection(sock=sock, ssl=trust, server_hostname="127.0.0.1", limit=room)


async def connect_raw(
    node: RunningNode, address: str = "127.0.0.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection from one of this host's addresses, without a handshake."""
    return await asyncio.open_connection("127.0.0.1", node.port, local_addr=(address, 0))


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of a response with a length."""
    async with asyncio.timeout(30):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return head, await reader.readexactly(int(length.partition(b":")[2]))
