"""Clients that resume their TLS sessions: Python's, and OpenSSL's own."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.tlsnode import wait_until

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class ResumingClient:
    """A client of any certificate that shows with each connection the newest ticket that it has got."""

    def __init__(self, version: ssl.TLSVersion) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        self._context.minimum_version = self._context.maximum_version = version
        self.session: ssl.SSLSession | None = None

    def request(self, port: int) -> bool:
        """One request over a new connection; whether its session was resumed."""
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
            self._context.wrap_socket(plain, session=self.session) as secure,
        ):
            secure.sendall(_REQUEST)
            answer = b""
            while part := secure.recv(65_536):
                answer += part
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            if secure.session is not None and secure.session.has_ticket:
                self.session = secure.session
            return bool(secure.session_reused)


@dataclass(slots=True)
class Resumptions:
    """How connections of resuming clients began; the first of each client, which has no ticket, is not among them."""

    resumed: int = 0
    full: int = 0
    failures: list[str] = field(default_factory=list)


@asynccontextmanager
async def resuming_load(ports: Sequence[int], clients: int = 4) -> AsyncIterator[Resumptions]:
    """Clients of both versions that come again and again, each time to another port."""
    counts, is_over = Resumptions(), False

    async def come_again(number: int) -> None:
        client = ResumingClient(VERSIONS[number % len(VERSIONS)])
        turn = number
        while not is_over:
            is_first = client.session is None
            try:
                is_resumed = await asyncio.to_thread(client.request, ports[turn % len(ports)])
            except (OSError, AssertionError) as error:
                counts.failures.append(repr(error))
                is_resumed = False
            if not is_first:
                counts.resumed += is_resumed
                counts.full += not is_resumed
            turn += 1
            await asyncio.sleep(0.02)

    tasks = [asyncio.create_task(come_again(number)) for number in range(clients)]
    try:
        yield counts
    finally:
        is_over = True
        await asyncio.gather(*tasks)


async def come_again(load: Resumptions, times: int) -> None:
    """Wait until so many more sessions have been resumed."""
    enough = load.resumed + times
    await wait_until(lambda: load.resumed >= enough, timeout_s=60)


async def s_client(port: int, *options: str | Path) -> str:
    """What `openssl s_client` says that sends a request and waits for the end of its answer."""
    process = await asyncio.create_subprocess_exec(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-ign_eof", *map(str, options)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(_REQUEST), 60)
    return output.decode(errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSession:
    """What identifies a session, in hexadecimal; empty: it does not have that."""

    session_id: str
    ticket: str


async def session_of(path: Path) -> KeptSession:
    """What a session that `s_client -sess_out` has written shows a server when it is resumed."""
    process = await asyncio.create_subprocess_exec(
        *("openssl", "sess_id", "-noout", "-text", "-in", path), stdout=asyncio.subprocess.PIPE
    )
    text = (await asyncio.wait_for(process.communicate(), 60))[0].decode()
    session_id = re.search(r"Session-ID: (\w*)", text)
    assert session_id, text
    _, _, dump = text.partition("TLS session ticket:\n")
    lines = re.findall(r"^ +[0-9a-f]{4} - ((?:[0-9a-f]{2}[ -]){1,16})", dump, re.MULTILINE)
    return KeptSession(session_id=session_id[1], ticket=re.sub("[ -]", "", "".join(lines)))
