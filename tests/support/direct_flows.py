"""Flows to a VIP from ports of the test's choice, over TCP (plain HTTP) and UDP; run on a client's host.

`python -m support.direct_flows ADDRESS TCP_PORT UDP_PORT FIRST_PORT COUNT ROUNDS` asks on each flow, each second; for
ROUNDS 0 until SIGTERM. It prints one JSON object: for each protocol, by source port, the names that answered, in a row
without repetitions, and the failure, which ends a flow.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import struct
import sys
from dataclasses import dataclass, field
from typing import Any

INTERVAL_S = 1.0
TIMEOUT_S = 5.0
# RST instead of FIN: the port may be used again at once.
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass
class Flow:
    """One source port of one protocol."""

    port: int
    servers: list[str] = field(default_factory=list)
    failure: str = ""

    def answered(self, server: str) -> None:
        if self.servers[-1:] != [server]:
            self.servers.append(server)


class Flows:
    """All flows of this process."""

    def __init__(self, address: str, tcp_port: int, udp_port: int, rounds: int) -> None:
        self._address, self._tcp_port, self._udp_port = address, tcp_port, udp_port
        self._rounds = rounds
        self.stopping = asyncio.Event()

    async def keep_tcp(self, flow: Flow) -> None:
        """One connection with many requests."""
        try:
            with _socket(socket.SOCK_STREAM, flow.port) as sock:
                loop = asyncio.get_running_loop()
                async with asyncio.timeout(TIMEOUT_S):
                    await loop.sock_connect(sock, (self._address, self._tcp_port))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                reader, writer = await asyncio.open_connection(sock=sock)
                for _ in self._turns():
                    async with asyncio.timeout(TIMEOUT_S):
                        writer.write(b"GET / HTTP/1.1\r\nHost: direct\r\n\r\n")
                        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
                        flow.answered((await reader.readexactly(length)).decode().strip())
                    await self._pause()
                writer.close()
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            flow.failure = repr(error)

    async def keep_udp(self, flow: Flow) -> None:
        """One datagram after the other, each answered before the next."""
        try:
            with _socket(socket.SOCK_DGRAM, flow.port) as sock:
                loop = asyncio.get_running_loop()
                await loop.sock_connect(sock, (self._address, self._udp_port))
                for number in self._turns():
                    await loop.sock_sendall(sock, b"%d" % number)
                    async with asyncio.timeout(TIMEOUT_S):
                        server, _, echoed = (await loop.sock_recv(sock, 2048)).decode().partition(" ")
                    if echoed != str(number):
                        raise ValueError(f"{number} came back as {echoed}")
                    flow.answered(server)
                    await self._pause()
        except (OSError, ValueError, TimeoutError) as error:
            flow.failure = repr(error)

    def _turns(self) -> Any:
        number = 0
        while not self.stopping.is_set() and (not self._rounds or number < self._rounds):
            yield number
            number += 1

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(INTERVAL_S if self._rounds != 1 else 0):
                await self.stopping.wait()
        except TimeoutError:
            pass


def _socket(kind: socket.SocketKind, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))
    return sock


async def run(address: str, tcp_port: str, udp_port: str, first_port: str, count: str, rounds: str) -> None:
    flows = Flows(address, int(tcp_port), int(udp_port), int(rounds))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, flows.stopping.set)
    ports = range(int(first_port), int(first_port) + int(count))
    tcp, udp = [Flow(port) for port in ports], [Flow(port) for port in ports]
    await asyncio.gather(*map(flows.keep_tcp, tcp), *map(flows.keep_udp, udp))
    found = {"plain": tcp, "echo": udp}
    print(json.dumps({name: {f.port: [f.servers, f.failure] for f in its} for name, its in found.items()}))


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
