"""The access log [N8]: one JSON object a line for each request, answered or refused (shell: it writes a file)."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pentaflow.errors import HostError
from tlsnodes.access_line import encode_access

MAX_WAITING_BYTES = 1 << 20
"""What waits for the next `AccessLog.flush`; when it is more, that is made at once, or lines are lost."""


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
        chosen_by: why that one, as in the status document.
        bytes_in: of the request's body.
        bytes_out: of the response as the client got it, its head included.
        first_byte_s: from the request's head to that of the response; None when there was none.
        duration_s: from the request's head to the end of the response.
        retries: servers that were tried before.
        refused: why the node answered itself, or cut the connection; empty otherwise.
        request_id: empty where requests have none.
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
    chosen_by: str
    bytes_in: int
    bytes_out: int
    first_byte_s: float | None
    duration_s: float
    retries: int
    refused: str
    request_id: bytes


class AccessLog:
    """A file that lines are appended to; several processes may share it, since each write is of whole lines.

    Args:
        descriptor: of the file, from `open_access_log`; it is closed with the log.
    """

    def __init__(self, descriptor: int) -> None:
        self.lost = 0
        self._file = descriptor
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._is_stuck = False
        self._second = 0
        self._time = b""

    def add(self, access: Access) -> None:
        """Note a request; it is written with the next `flush`."""
        if self._waiting_bytes >= MAX_WAITING_BYTES:
            if not self._is_stuck:
                self.flush()
            if self._waiting_bytes >= MAX_WAITING_BYTES:
                self.lost += 1
                return
        second = int(access.ended_at)
        if second != self._second:
            self._second = second
            self._time = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
        line = encode_access(access, self._time)
        self._waiting.append(line)
        self._waiting_bytes += len(line)

    def flush(self) -> None:
        """Write what waits; what the file does not take waits on, since requests go first."""
        if not self._waiting:
            return
        data = b"".join(self._waiting)
        try:
            written = os.write(self._file, data)
        except OSError:
            written = 0
        rest = data[written:]
        self._waiting = [rest] if rest else []
        self._waiting_bytes = len(rest)
        self._is_stuck = bool(rest)

    def go_on_in(self, descriptor: int) -> None:
        """Write what waits, and the next lines to another file: this one was renamed."""
        self.flush()
        os.close(self._file)
        self._file = descriptor

    def close(self) -> None:
        """Write what waits, and end."""
        self.flush()
        os.close(self._file)


def open_access_log(path: Path) -> int:
    """The descriptor of a file to append to, made with mode 0640, or of a pipe or device, which nobody waits for.

    Raises:
        HostError: it can't be opened.
    """
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
    except OSError as error:
        raise HostError("access log", f"cannot open {path}: {error.strerror}") from None
