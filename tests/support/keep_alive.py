"""Long-lived TLS connections with a request each second on every one of them; run on a client's host.

`python -m support.keep_alive ADDRESS PORT HOSTNAME CA COUNT` prints a line when all have had an answer. SIGTERM has
each make a last request and closes it in order, and prints what became of them: a JSON list with an object for each
(`Kept`).
"""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass

INTERVAL_S = 1.0
TIMEOUT_S = 5.0


@dataclass(slots=True, kw_only=True)
class Kept:
    """A connection: its local port, the node that answered first, its requests, why it broke (empty: it did not)."""

    port: int = 0
    node: str = ""
    requests: int = 0
    failure: str = ""


class Clients:
    """All connections of this process."""

    def __init__(self, address: str, port: int, hostname: str, authority: str, count: int) -> None:
        self._address, self._port, self._hostname = address, port, hostname
        self._tls = ssl.create_default_context(cafile=authority)
        self.stopping = asyncio.Event()
        self.all = [Kept() for _ in range(count)]

    async def keep(self, kept: Kept) -> None:
        """One connection, until told to stop or it fails."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await asyncio.open_connection(
                    self._address, self._port, ssl=self._tls, server_hostname=self._hostname
                )
            kept.port = writer.get_extra_info("sockname")[1]
            is_last = False
            while not is_last:
                is_last = self.stopping.is_set()
                async with asyncio.timeout(TIMEOUT_S):
                    node = await self._ask(reader, writer)
                kept.node = kept.node or node
                kept.requests += 1
                if kept.requests == 1 and all(each.requests for each in self.all):
                    print("open", flush=True)
                with suppress(TimeoutError):
                    async with asyncio.timeout(0 if is_last else INTERVAL_S):
                        await self.stopping.wait()
            writer.close()
            async with asyncio.timeout(TIMEOUT_S):
                await writer.wait_closed()
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            kept.failure = repr(error)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """The node that answers; ValueError unless it is with 200 on a connection that stays open."""
        writer.write(f"GET /kept HTTP/1.1\r\nHost: {self._hostname}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.splitlines()
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        if status.split()[1] != "200" or fields.get("connection", "").lower() == "close":
            raise ValueError(head)
        await reader.readexactly(int(fields["content-length"]))
        return fields["via"].rpartition(",")[2].split()[1]


async def run(address: str, port: str, hostname: str, authority: str, count: str) -> None:
    clients = Clients(address, int(port), hostname, authority, int(count))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, clients.stopping.set)
    await asyncio.gather(*map(clients.keep, clients.all))
    print(json.dumps([asdict(kept) for kept in clients.all]))


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
