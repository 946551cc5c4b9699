"""Python's TLS on a socket beside a poller that the same test runs: nothing blocks."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress

from support.certificates import make_certificate
from support.streams import run_idle, run_until
from tlsnodes.stream.poller import Poller


def client_settings(kind: str = "ec") -> ssl.SSLContext:
    """A client that trusts the certificates of `make_certificate`, whatever name they are for."""
    settings = ssl.create_default_context(cadata=make_certificate(kind=kind).certificate_pem.decode())
    settings.check_hostname = False
    return settings


class TlsPeer:
    """The other end of a stream.

    Args:
        step: the ciphertext goes to the stream in pieces of so many bytes.
    """

    def __init__(
        self,
        poller: Poller,
        peer: socket.socket,
        settings: ssl.SSLContext,
        *,
        name: str | None = "www.example.test",
        session: ssl.SSLSession | None = None,
        server_side: bool = False,
        step: int | None = None,
    ) -> None:
        self._poller = poller
        self.socket = peer
        peer.setblocking(False)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._step = step
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = settings.wrap_bio(
            self._in, self._out, server_hostname=None if server_side else name, session=session, server_side=server_side
        )
        self.ended = False

    def handshake(self) -> None:
        """Until our side of it is over, and the stream's as far as our bytes take it.

        Raises:
            ssl.SSLError: the stream's alert, or our own.
        """
        done = False

        def step() -> bool:
            nonlocal done
            with suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
                done = True
            self.push()
            self.pull()
            return done

        run_until(self._poller, step)

    def push(self) -> None:
        """Send what our TLS has made."""
        for part in pieces(self.take_ciphertext(), self._step):
            self.socket.sendall(part)
            run_idle(self._poller)

    def take_ciphertext(self) -> bytes:
        """What our TLS has made and nobody has sent."""
        return self._out.read()

    def pull(self) -> bytes:
        """Give our TLS what has come; returns the ciphertext."""
        run_idle(self._poller)
        got = b""
        with suppress(BlockingIOError):
            while part := self.socket.recv(65_536):
                self._in.write(part)
                got += part
            self.ended = True
            self._in.write_eof()
        return got

    def send(self, data: bytes) -> None:
        self.tls.write(data)
        self.push()

    def read(self) -> bytes:
        """All plaintext that has come."""
        self.pull()
        parts = []
        with suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while part := self.tls.read(65_536):
                parts.append(part)
        return b"".join(parts)

    def expect(self, data: bytes) -> None:
        """This plaintext comes next, and no more than it."""
        received = bytearray()

        def step() -> bool:
            received.extend(self.read())
            return len(received) >= len(data) or self.ended

        run_until(self._poller, step)
        assert received == data

    def close(self) -> None:
        """Send close_notify."""
        with suppress(ssl.SSLWantReadError, ssl.SSLSyscallError):
            self.tls.unwrap()
        self.push()


def pieces(data: bytes, step: int | None) -> Iterator[bytes]:
    """Of `step` bytes; all of it for None."""
    step = step or max(1, len(data))
    return (data[i : i + step] for i in range(0, len(data), step))
