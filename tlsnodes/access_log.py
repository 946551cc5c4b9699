"""The access log [N8]: one JSON object a line for each request, answered or refused (shell: it writes a file)."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import NamedTuple

MAX_WAITING_BYTES = 1 << 20
"""What waits for the next `AccessLog.flush`; lines beyond it are written at once."""


class Access(NamedTuple):
    """One request, as the log tells it.

    Attributes:
        ended_at: seconds since the epoch.
        vserver: name.
        client: address and port.
        tls: version of TLS, empty without.
        method, host, target: of the request; empty where it could not be read.
        status: of the response; 0 when the client was gone before there was one.
        server: name; empty when none was chosen.
        bytes_in: of the request's body.
        bytes_out: of the response as the client got it, its head included.
        first_byte_s: from the request's head to that of the response; None when there was none.
        duration_s: from the request's head to the end of the response.
        retries: servers that were tried before.
        refused: why the node answered itself, or cut the connection; empty otherwise.
    """

    ended_at: float
    vserver: str
    client: str
    tls: str
    method: bytes
    host: bytes
    target: bytes
    status: int
    server: str
    bytes_in: int
    bytes_out: int
    first_byte_s: float | None
    duration_s: float
    retries: int
    refused: str


def encode_access(access: Access, time: str) -> str:
    """The line; `time` is `access.ended_at` up to the second, in ISO 8601."""
    first_byte = "null" if access.first_byte_s is None else f"{access.first_byte_s * 1000:.3f}"
    return (
        f'{{"time":"{time}.{int(access.ended_at % 1 * 1000):03d}Z","vserver":{_text(access.vserver)}'
        f',"client":{_text(access.client)},"tls":{_text(access.tls)},"method":{_text(access.method.decode("latin-1"))}'
        f',"host":{_text(access.host.decode("latin-1"))},"target":{_text(access.target.decode("latin-1"))}'
        f',"status":{access.status},"server":{_text(access.server)},"bytes_in":{access.bytes_in}'
        f',"bytes_out":{access.bytes_out},"first_byte_ms":{first_byte},"duration_ms":{access.duration_s * 1000:.3f}'
        f',"retries":{access.retries},"refused":{_text(access.refused)}}}\n'
    )


_text = encode_basestring_ascii


class AccessLog:
    """A file that lines are appended to; several processes may share it, since each write is of whole lines.

    Args:
        path: the file; it is made with mode 0640.

    Raises:
        OSError: it can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost = 0
        self._file = self._open()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._second = 0
        self._time = ""

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def add(self, access: Access) -> None:
        """Note a request; it is written with the next `flush`."""
        second = int(access.ended_at)
        if second != self._second:
            self._second = second
            self._time = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        line = encode_access(access, self._time).encode()
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        if self._waiting_bytes >= MAX_WAITING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits; what the file system does not take is lost and counted, since requests go first."""
        if not self._waiting:
            return
        lines, self._waiting, self._waiting_bytes = self._waiting, [], 0
        data = b"".join(lines)
        try:
            written = os.write(self._file, data)
        except OSError:
            written = 0
        if written < len(data):
            self.lost += data.count(b"\n", written)

    def reopen(self) -> None:
        """Go on in a new file of that name: the old one was renamed."""
        self.flush()
        fresh = self._open()
        os.close(self._file)
        self._file = fresh

    def close(self) -> None:
        """Write what waits, and end."""
        self.flush()
        os.close(self._file)
