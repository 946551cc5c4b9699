"""TCP ports for servers that tests start."""

from __future__ import annotations

import itertools
import socket

# Below Linux's ephemeral ports (32,768 on): none of these becomes the near end of a connection in the meantime.
_candidates = itertools.cycle(range(20_000, 32_000))


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that nothing listens on now; another one each time."""
    for port in _candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise AssertionError("cycle() does not end")
