"""Listening sockets of a node (shell)."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from typing import NamedTuple

from pentaflow.addresses import with_port
from pentaflow.config import Vserver
from pentaflow.errors import ConfigurationError, HostError

BACKLOG = 4096


class Address(NamedTuple):
    """Where a vserver listens."""

    host: str
    port: int

    @classmethod
    def of(cls, vserver: Vserver) -> Address:
        """A vserver's."""
        return cls(str(vserver.vip), vserver.port)

    def __str__(self) -> str:
        return with_port(self.host, self.port)


def bind_all(host: str, port: int, count: int, place: str) -> list[socket.socket]:
    """Sockets that listen on one address, among which the kernel spreads connections (SO_REUSEPORT, socket(7)).

    Args:
        host: an IP address.
        port: a TCP port.
        count: how many.
        place: whose they are.

    Raises:
        ConfigurationError: that is no IP address.
        HostError: it cannot be listened on; somebody else's socket there counts, even if it could be shared.
    """
    _bind(host, port, place, shared=False).close()
    with ExitStack() as opened:
        sockets = [opened.enter_context(_bind(host, port, place, shared=True)) for _ in range(count)]
        for listener in sockets:
            listener.listen(BACKLOG)
        opened.pop_all()
    return sockets


def _bind(host: str, port: int, place: str, *, shared: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0]
    except socket.gaierror:
        raise ConfigurationError(place, f"{host} is not an IP address") from None
    bound = socket.socket(family, kind, protocol)
    bound.setblocking(False)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise HostError(place, f"cannot listen on {with_port(host, port)}: {_why(error)}") from None
    return bound


def _why(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use"
        case errno.EADDRNOTAVAIL:
            return "no interface of this host has that address (a VIP belongs on the loopback)"
        case errno.EACCES:
            return "the port needs root or CAP_NET_BIND_SERVICE"
        case _:
            return str(error.strerror)
