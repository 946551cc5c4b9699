"""HTTP servers on the running event loop (shell)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from pentaflow.errors import HostError

_BACKLOG = 128


class HttpServer(uvicorn.Server):
    """uvicorn, but for its handling of signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the command line, which cancels what runs."""
        yield


def listen(host: str, port: int, place: str) -> socket.socket:
    """A listening TCP socket.

    Args:
        host: an address, or a name that has one.
        port: 0 lets the kernel choose.
        place: where the end point was given.

    Raises:
        HostError: it is in use, or not this host's.
    """
    try:
        return socket.create_server((host, port), backlog=_BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise HostError(place, f"cannot listen: {reason}") from None
