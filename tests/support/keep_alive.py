"""Long-lived TLS connections with a request each second on every one of them; run on a client's host.

`python -m support.keep_alive ADDRESS PORT HOSTNAME CA COUNT`; SIGTERM closes them in order and prints what became of
them: one JSON object with the number of requests, of connections for each node, and the failures.
"""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import sys
from collections import Counter

INTERVAL_S = 1.0
TIMEOUT_S = 5.0


class Clients:
    """All connections of this process."""

    def __init__(self, address: str, port: int, hostname: str, authority: str) -> None:
        self._address, self._port, self._hostname = address, port, hostname
        self._tls = ssl.create_default_context(cafile=authority)
        self.stopping = asyncio.Event()
        self.requests = 0
        self.nodes: Counter[str] = Counter()
        self.failures: list[str] = []

    async def keep_one(self) -> None:
        """One connection, until told to stop or it fails."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await asyncio.open_connection(
                    self._address, self._port, ssl=self._tls, server_hostname=self._hostname
                )
            first = True
            while not self.stopping.is_set():
                async with asyncio.timeout(TIMEOUT_S):
                    node = await self._ask(reader, writer)
                self.requests += 1
                if first:
                    self.nodes[node] += 1
                    first = False
                try:
                    async with asyncio.timeout(INTERVAL_S):
                        await self.stopping.wait()
                except TimeoutError:
                    continue
            writer.close()
            async with asyncio.timeout(TIMEOUT_S):
                await writer.wait_closed()
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            self.failures.append(repr(error))

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
    clients = Clients(address, int(port), hostname, authority)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, clients.stopping.set)
    await asyncio.gather(*(clients.keep_one() for _ in range(int(count))))
    print(json.dumps({"requests": clients.requests, "nodes": clients.nodes, "failures": clients.failures}))


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
