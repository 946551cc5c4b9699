"""Clients that behave at random: well, or in one of the ways that hurt. What each does follows from the seed.

Every request carries a token of its own, and the servers of `tell` answer with it, so that an answer that went to the
wrong client is seen. What clients of a passthrough vserver get is the server's own answer, so its servers tell no lies.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from support.hostile_node import connect_raw, connect_with_little_room
from support.tlsnode import RunningNode

TIMEOUT_S = 60.0
HUGE = 8_000_000  # more than kernels hold between two programs
_OVER = (OSError, EOFError, ssl.SSLError)  # the connection broke, on one side or the other

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True)
class Seen:
    """What the clients saw: behaviours, and what none of them may see."""

    behaved: Counter[str] = field(default_factory=Counter)
    answers: int = 0
    wrong: list[str] = field(default_factory=list)


async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that answers with the request's token, in the manner that its path asks for: see `_MANNERS`."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        _, token, manner = lines[0].split(b" ")[1].split(b"/")
        body = token
        for line in lines:
            if line.lower().startswith(b"content-length:"):
                body = await reader.readexactly(int(line.partition(b":")[2]))
        body *= 1 + len(token) % 3
        match manner:
            case b"large":
                body = token * 20_000
            case b"huge":  # and the connection is over, which nobody was told
                body = token * (HUGE // len(token))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                return
            case b"tunnel":
                writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
                    if len(token) % 2:  # it is the server that ends it
                        return
                return
            case b"late":
                await asyncio.sleep(0.02)
            case b"early":
                writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3)
            case b"short":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(body) + 1) + body)
                return
            case b"reset":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(body) * 2) + body)
                writer.transport.abort()
                return
            case b"gone":
                writer.transport.abort()
                return
            case b"junk":
                writer.write(b"%b\r\n\r\n" % token)
                return
            case b"twice":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body) * 2)
                continue
        if manner == b"chunked":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()


_GOOD = (b"plain", b"large", b"late", b"early", b"chunked")
_MANNERS = (*_GOOD, b"short", b"reset", b"gone", b"junk", b"twice")


class _Client:
    def __init__(self, node: RunningNode, seed: int, number: int, seen: Seen, passed: bool) -> None:
        self.node = node
        self.passed = passed
        self.random = random.Random(seed * 1_000_003 + number)
        self.number = number
        self.seen = seen
        self.requests = 0

    def token(self) -> bytes:
        self.requests += 1
        return b"c%dr%de" % (self.number, self.requests)

    def request(self, token: bytes, manner: bytes) -> bytes:
        if self.random.random() < 0.3:
            return b"POST /%b/%b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (
                token,
                manner,
                len(token),
                token,
            )
        return b"GET /%b/%b HTTP/1.1\r\nHost: a\r\n\r\n" % (token, manner)

    async def take_answer(self, reader: asyncio.StreamReader, token: bytes) -> None:
        """One whole answer, which is the node's own or has nothing but this request's token."""
        head = await reader.readuntil(b"\r\n\r\n")
        while head.startswith(b"HTTP/1.1 103 "):
            head = await reader.readuntil(b"\r\n\r\n")
        if b"Transfer-Encoding: chunked\r\n" in head:
            body = b""
            while size := int(await reader.readline(), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        else:
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = await reader.readexactly(int(length.partition(b":")[2]))
        self.seen.answers += 1
        if head.startswith(b"HTTP/1.1 200 "):
            if body.replace(token, b"") or not body:
                self.seen.wrong.append(f"{token!r} was answered with {body[:100]!r}")
        elif not head.startswith(b"HTTP/1.1 502 ") or b" server " not in body:
            self.seen.wrong.append(f"{token!r} was answered with {head!r}")

    # ---- behaviours

    async def well(self) -> None:
        """Some requests on one connection, each waited for."""
        reader, writer = await self.node.connect()
        try:
            for _ in range(self.random.randint(1, 6)):
                token = self.token()
                writer.write(self.request(token, self.random.choice(_GOOD)))
                await self.take_answer(reader, token)
        except _OVER as error:  # servers lie to others only
            self.seen.wrong.append(f"a client that did nothing wrong: {error!r}")
        finally:
            writer.transport.abort()

    async def with_bad_servers(self) -> None:
        """The same, at servers that lie."""
        reader, writer = await self.node.connect()
        with suppress(*_OVER):
            for _ in range(self.random.randint(1, 6)):
                token = self.token()
                writer.write(self.request(token, self.random.choice(_MANNERS)))
                await self.take_answer(reader, token)
        writer.transport.abort()

    async def ahead(self) -> None:
        """Requests sent ahead of their answers, all or none of which are read."""
        reader, writer = await self.node.connect()
        tokens = [self.token() for _ in range(self.random.randint(2, 8))]
        writer.write(b"".join(self.request(token, self.random.choice(_GOOD)) for token in tokens))
        with suppress(*_OVER):
            for token in tokens[: self.random.choice((0, 1, len(tokens)))]:
                await self.take_answer(reader, token)
        writer.transport.abort()

    async def slowly(self) -> None:
        """An answer that fills all buffers, and whose server closes behind it; then another one, of a new server."""
        reader, writer = await connect_with_little_room(self.node)
        try:
            for manner in (b"huge",) if self.passed else (b"huge", b"plain"):
                token = self.token()
                writer.write(self.request(token, manner))
                await self.take_answer(reader, token)
        except _OVER as error:
            self.seen.wrong.append(f"a client that is slow: {error!r}")
        finally:
            writer.transport.abort()

    async def tunnel(self) -> None:
        """Another protocol, which echoes, and which either side leaves at any point."""
        reader, writer = await self.node.connect()
        token = self.token()
        writer.write(b"GET /%b/tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n" % token)
        with suppress(*_OVER):
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101 "):
                self.seen.wrong.append(f"{token!r} was answered with {head!r}")
            sent = token * self.random.randint(1, 20_000)
            writer.write(sent)
            echo = await reader.readexactly(self.random.randint(0, len(sent)))
            if not sent.startswith(echo):
                self.seen.wrong.append(f"{token!r} was echoed as {echo[:100]!r}")
        await self.leave(writer)

    async def gone_in_handshake(self) -> None:
        """A part of what opens a handshake, or garbage."""
        _, writer = await connect_raw(self.node)
        opening = ssl.MemoryBIO()
        tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), opening, server_hostname="a")
        with suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = opening.read() if self.random.random() < 0.7 else self.random.randbytes(300)
        writer.write(hello[: self.random.randint(0, len(hello))])
        await self.leave(writer)

    async def gone_in_head(self) -> None:
        """A part of a request's head."""
        await self.send_and_leave(lambda request: request[: self.random.randint(1, 20)])

    async def gone_in_body(self) -> None:
        """A request and a part of its body, framed either way."""
        framing = self.random.choice((b"Content-Length: 90000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nffff\r\n"))
        token = self.token()
        head = b"POST /%b/plain HTTP/1.1\r\nHost: a\r\n" % token + framing
        await self.send_and_leave(lambda _: head + b"x" * self.random.randint(0, 60_000))

    async def gone_waiting(self) -> None:
        """A whole request, and nothing of its answer."""
        await self.send_and_leave(lambda request: request)

    async def gone_reading(self) -> None:
        """A large answer, of which the beginning is read."""
        reader, writer = await self.node.connect()
        token = self.token()
        writer.write(self.request(token, b"large"))
        with suppress(*_OVER):
            data = await reader.readexactly(self.random.randint(1, 100_000))
            if token not in data and len(data) > 1000:
                self.seen.wrong.append(f"{token!r} was answered with {data[:100]!r}")
        await self.leave(writer)

    async def send_and_leave(self, part: Callable[[bytes], bytes]) -> None:
        _, writer = await self.node.connect()
        writer.write(part(self.request(self.token(), self.random.choice(_MANNERS))))
        if self.random.random() < 0.5:
            await asyncio.sleep(self.random.random() * 0.03)
        await self.leave(writer)

    async def leave(self, writer: asyncio.StreamWriter) -> None:
        """With a reset, or in order."""
        if self.random.random() < 0.5:
            writer.transport.abort()
            return
        writer.close()
        with suppress(*_OVER, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 5)
        writer.transport.abort()

    async def behave(self) -> None:
        behaviours: list[Callable[[], Awaitable[None]]] = [
            *(self.well, self.well, self.ahead, self.slowly, self.tunnel, self.gone_in_handshake),
            *(self.gone_in_head, self.gone_in_body, self.gone_waiting, self.gone_reading),
        ]
        if not self.passed:
            behaviours.append(self.with_bad_servers)
        behaviour = self.random.choice(behaviours)
        self.seen.behaved[behaviour.__name__] += 1
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await behaviour()
        except TimeoutError:
            self.seen.wrong.append(f"client {self.number} ({behaviour.__name__}) waited for {TIMEOUT_S:g} s")
        except OSError as error:
            self.seen.wrong.append(f"client {self.number} ({behaviour.__name__}) could not connect: {error!r}")


async def storm(
    node: RunningNode, *, seed: int, clients: int, at_once: int = 60, first: int = 0, passed: bool = False
) -> Seen:
    """So many clients, one after the other, `at_once` at a time, numbered from `first`.

    Args:
        passed: the vserver passes TLS on.
    """
    seen = Seen()
    numbers = iter(range(first, first + clients))

    async def clients_in_turn() -> None:
        for number in numbers:
            await _Client(node, seed, number, seen, passed).behave()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(clients_in_turn())
    return seen
