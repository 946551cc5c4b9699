"""A real Redis server on loopback."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.ports import free_port

WAIT_S = 30.0


class RedisServer:
    """One server, without files; may be killed, started again (empty), paused, and given commands."""

    def __init__(self, folder: Path, arguments: Sequence[str] = ()) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._log = folder / f"redis-{self.port}.log"
        given = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder))
        self._command = ["redis-server", *given, *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it serves."""
        with self._log.open("ab") as output:
            try:
                self._process = subprocess.Popen(self._command, stdout=output, stderr=subprocess.STDOUT)
            except FileNotFoundError:
                pytest.skip("redis-server is not installed")
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                self.command("PING")
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"Redis does not serve:\n{self._log.read_text()[-2000:]}")

    def command(self, *words: str) -> bytes:
        """What it answers to a command."""
        return self.command_bytes(*(word.encode() for word in words))

    def command_bytes(self, *words: bytes) -> bytes:
        """The same, with any bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S) as sock:
            sock.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words))
            return sock.recv(65_536)

    def only_key(self) -> bytes:
        """The key of the only record."""
        count, size, rest = self.command("KEYS", "*").split(b"\r\n", 2)
        assert count == b"*1"
        return rest[: int(size[1:])]

    def limit_memory(self, more: int) -> None:
        """So many bytes more than it has is all that it takes from now on."""
        used = next(line for line in self.command("INFO", "memory").split() if line.startswith(b"used_memory:"))
        self.command("CONFIG", "SET", "maxmemory", str(int(used.partition(b":")[2]) + more))

    def pause(self) -> None:
        """It hangs: connections are taken, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """It is gone, with all that it had."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running_redis(folder: Path, arguments: Sequence[str] = ()) -> Iterator[RedisServer]:
    """A server that runs, for as long as the context."""
    server = RedisServer(folder, arguments)
    server.start()
    try:
        yield server
    finally:
        server.kill()
