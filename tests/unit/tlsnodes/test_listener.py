"""The listener, over loopback."""

from __future__ import annotations

import errno
import os
import resource
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support.streams import run_idle, run_until
from tlsnodes.stream.listener import Listener
from tlsnodes.stream.poller import Poller


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller()
    yield poller
    poller.close()


class Accepted:
    """Remembers what a listener hands out, and closes it in the end."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.addresses: list[tuple[bytes, int]] = []
        self.starved: list[int] = []
        self.pause_at: tuple[int, Listener] | None = None

    def on_accepted(self, fd: int, address: bytes, port: int) -> None:
        self.sockets.append(socket.socket(fileno=fd))
        self.addresses.append((address, port))
        if self.pause_at and len(self.sockets) == self.pause_at[0]:
            self.pause_at[1].pause()

    def on_starved(self, error: int) -> None:
        self.starved.append(error)


@pytest.fixture
def accepted() -> Iterator[Accepted]:
    accepted = Accepted()
    yield accepted
    for sock in accepted.sockets:
        sock.close()


def listening(poller: Poller, accepted: Accepted, family: socket.AddressFamily = socket.AF_INET) -> Listener:
    sock = socket.create_server(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family, backlog=200)
    listener = Listener(poller, sock)
    listener.handler = accepted
    return listener


def address_of(listener: Listener) -> tuple[str, int]:
    with socket.socket(fileno=os.dup(listener.fileno())) as sock:
        name = sock.getsockname()
    return name[0], name[1]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_accepted_sockets_are_ready_for_use(poller: Poller, accepted: Accepted, family: socket.AddressFamily) -> None:
    listener = listening(poller, accepted, family)
    with socket.create_connection(address_of(listener)) as client:
        run_until(poller, lambda: bool(accepted.sockets))
        name = client.getsockname()
        assert accepted.addresses == [(socket.inet_pton(family, name[0]), name[1])]
        ours = accepted.sockets[0]
        assert not os.get_blocking(ours.fileno())
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not os.get_inheritable(ours.fileno())
    listener.close()


def test_a_burst_takes_several_turns(poller: Poller, accepted: Accepted) -> None:
    listener = listening(poller, accepted)
    with ExitStack() as clients:
        for _ in range(100):
            clients.enter_context(socket.create_connection(address_of(listener)))
        poller.run()
        assert 0 < len(accepted.sockets) < 100
        run_until(poller, lambda: len(accepted.sockets) == 100)
    listener.close()


def test_pausing_leaves_connections_to_the_backlog(poller: Poller, accepted: Accepted) -> None:
    listener = listening(poller, accepted)
    accepted.pause_at = (2, listener)
    with ExitStack() as clients:
        for _ in range(5):
            clients.enter_context(socket.create_connection(address_of(listener)))
        run_idle(poller)
        assert len(accepted.sockets) == 2
        assert listener.paused
        listener.resume()
        listener.resume()
        run_until(poller, lambda: len(accepted.sockets) == 5)
    listener.close()
    listener.resume()
    assert listener.paused


def test_without_file_descriptors_it_pauses_and_does_not_spin(poller: Poller, accepted: Accepted) -> None:
    listener = listening(poller, accepted)
    with socket.create_connection(address_of(listener)):
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with os.fdopen(os.dup(0)) as free:
            lowest = free.fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
        try:
            poller.run()
            assert accepted.starved == [errno.EMFILE]
            assert listener.paused
            poll = select.poll()
            poll.register(poller.fileno())
            assert poll.poll(0) == []
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        listener.resume()
        run_until(poller, lambda: len(accepted.sockets) == 1)
    listener.close()


def test_nobody_to_take_them(poller: Poller, accepted: Accepted) -> None:
    listener = listening(poller, accepted)
    listener.handler = None
    with socket.create_connection(address_of(listener)) as client:
        client.settimeout(10)
        run_idle(poller)
        assert client.recv(1) == b""
    listener.close()
