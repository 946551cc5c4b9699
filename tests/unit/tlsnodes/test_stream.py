"""Plain streams and the poller, over loopback."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.streams import Recorder, attached, run_idle, run_until
from tlsnodes.stream.poller import Poller
from tlsnodes.stream.stream import Stream, StreamState

BLOB = bytes(range(256)) * 4096 * 8  # 8 MiB


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller()
    yield poller
    poller.close()


def reset(peer: socket.socket) -> None:
    """Close with a RST."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_bytes_both_ways_and_the_end(poller: Poller) -> None:
    recorder, peer = attached(poller)
    with peer:
        assert recorder.stream.state == StreamState.OPEN
        peer.sendall(b"ping")
        run_until(poller, lambda: recorder.received == b"ping")
        assert not recorder.stream.readable
        recorder.stream.put(b"po")
        recorder.stream.put(b"ng")
        recorder.stream.flush()
        assert peer.recv(100) == b"pong"  # gathered: one send

        peer.sendall(b"last")
        peer.shutdown(socket.SHUT_WR)
        run_until(poller, recorder.is_in(StreamState.PEER_CLOSED))
        assert recorder.received == b"pinglast"
        recorder.send(b"answer")
        recorder.stream.finish()
        assert (peer.recv(100), peer.recv(100)) == (b"answer", b"")
        recorder.stream.close()
        assert (recorder.stream.state, recorder.stream.fileno()) == (StreamState.CLOSED, -1)
        assert recorder.calls == []


def test_bytewise(poller: Poller) -> None:
    recorder, peer = attached(poller)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with peer:
        for byte in b"one by one":
            peer.sendall(bytes([byte]))
            run_idle(poller)
        run_until(poller, lambda: recorder.received == b"one by one")
    recorder.stream.close()


def test_more_than_the_shared_buffer_arrives_whole(poller: Poller) -> None:
    recorder, peer = attached(poller)

    def send() -> None:
        peer.sendall(BLOB)
        peer.close()

    sender = threading.Thread(target=send)
    sender.start()
    run_until(poller, recorder.is_in(StreamState.PEER_CLOSED))
    sender.join()
    assert recorder.received == BLOB
    recorder.stream.close()


def test_what_the_socket_does_not_take_is_kept_and_sent_later(poller: Poller) -> None:
    recorder, peer = attached(poller)
    stream = recorder.stream
    with peer:
        recorder.send(BLOB)
        assert stream.unsent > 0
        before = stream.unsent
        recorder.send(b"tail")  # appended, however often
        assert stream.unsent == before + 4
        stream.finish()
        received = bytearray()
        reader = threading.Thread(target=lambda: received.extend(b"".join(iter(lambda: peer.recv(1 << 20), b""))))
        reader.start()
        run_until(poller, lambda: stream.unsent == 0)
        reader.join()
        assert recorder.calls == ["writable"]
        assert received == BLOB + b"tail"
    stream.close()


def test_a_reader_that_stops_early_goes_on_when_it_likes(poller: Poller) -> None:
    recorder, peer = attached(poller)
    recorder.reading = False
    with peer:
        peer.sendall(b"x" * 1000)
        run_until(poller, lambda: recorder.stream.readable)
        run_idle(poller)  # no further call: nothing spins
        assert recorder.received == b""
        peer.close()
        run_until(poller, lambda: recorder.stream.hung_up)
        recorder.read()
        assert recorder.received == b"x" * 1000
        assert recorder.stream.state == StreamState.PEER_CLOSED
    recorder.stream.close()


def test_a_reset_is_a_loss_told_once(poller: Poller) -> None:
    recorder, peer = attached(poller)
    reset(peer)
    run_until(poller, lambda: bool(recorder.calls))
    run_idle(poller)
    assert recorder.calls == ["lost: Connection reset by peer"]
    assert recorder.stream.state == StreamState.FAILED
    recorder.send(b"nobody there")
    assert recorder.stream.unsent == 0
    recorder.stream.close()
    recorder.stream.close()


def test_what_came_before_a_reset_is_read(poller: Poller) -> None:
    recorder, peer = attached(poller)
    peer.sendall(b"all of it")
    reset(peer)
    run_until(poller, recorder.is_in(StreamState.FAILED))
    assert recorder.received == b"all of it"
    recorder.stream.close()


def test_a_failed_write_is_told_by_the_poller_not_by_the_write(poller: Poller) -> None:
    recorder, peer = attached(poller)
    recorder.reading = False
    reset(peer)
    while recorder.stream.state == StreamState.OPEN:
        recorder.send(b"x")
    assert recorder.calls == []
    run_until(poller, lambda: bool(recorder.calls))
    assert len(recorder.calls) == 1
    recorder.stream.close()


def test_abort_resets(poller: Poller) -> None:
    recorder, peer = attached(poller)
    with peer:
        recorder.send(b"x")
        recorder.stream.abort()
        assert peer.recv(100) == b"x"
        with pytest.raises(ConnectionResetError):
            peer.recv(100)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_connect(poller: Poller, family: socket.AddressFamily) -> None:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as server:
        recorder = Recorder()
        recorder.stream.connect(poller, socket.inet_pton(family, host), server.getsockname()[1])
        assert recorder.stream.state == StreamState.HANDSHAKING
        run_until(poller, recorder.is_in(StreamState.OPEN))
        assert recorder.calls == ["open"]
        with server.accept()[0] as peer:
            recorder.send(b"hello")
            assert peer.recv(100) == b"hello"
            peer.sendall(b"welcome")
            run_until(poller, lambda: recorder.received == b"welcome")
    recorder.stream.close()


def test_connect_to_a_closed_port(poller: Poller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    recorder = Recorder()
    recorder.stream.connect(poller, socket.inet_aton("127.0.0.1"), port)
    run_until(poller, lambda: bool(recorder.calls))
    assert recorder.calls == ["lost: Connection refused"]
    recorder.stream.close()


def test_connect_where_there_is_no_way(poller: Poller) -> None:
    recorder = Recorder()
    recorder.stream.connect(poller, socket.inet_aton("255.255.255.255"), 1)
    run_until(poller, lambda: bool(recorder.calls))
    assert recorder.calls[0].startswith("lost: ")
    recorder.stream.close()


def test_a_packed_address_is_asked_for(poller: Poller) -> None:
    with pytest.raises(ValueError, match="4 or 16 bytes, not 9"):
        Stream().connect(poller, b"127.0.0.1", 80)


def test_what_cannot_be_watched_is_closed(poller: Poller) -> None:
    stream = Stream()
    with Path("/dev/null").open("rb") as file:  # epoll takes no such file (EPERM)
        number = os.dup(file.fileno())
    with pytest.raises(OSError, match="epoll_ctl"):
        stream.attach(poller, number)
    assert stream.state == StreamState.CLOSED
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_stream_has_one_socket_in_its_life(poller: Poller) -> None:
    recorder, peer = attached(poller)
    recorder.stream.close()
    one, two = socket.socketpair()
    with peer, two, pytest.raises(ValueError, match="one socket"):
        recorder.stream.attach(poller, one.detach())


class Closer(Recorder):
    """Closes another stream when it is called, and opens a new one in its place."""

    other: Closer | None = None
    fresh: Recorder | None = None
    peer: socket.socket | None = None

    def on_readable(self) -> None:
        super().on_readable()
        if self.other is not None and self.other.stream.state != StreamState.CLOSED:
            self.other.stream.close()
            ours, self.peer = socket.socketpair()
            ours.setblocking(False)
            self.fresh = Recorder()
            self.fresh.stream.attach(POLLERS[-1], ours.detach())


POLLERS: list[Poller] = []


def test_closing_others_of_the_same_batch_and_reusing_their_number(poller: Poller) -> None:
    POLLERS.append(poller)
    pairs = [socket.socketpair() for _ in range(2)]
    first, second = Closer(), Closer()
    for recorder, (ours, _) in zip((first, second), pairs, strict=True):
        ours.setblocking(False)
        recorder.stream.attach(poller, ours.detach())
    first.other, second.other = second, first
    run_idle(poller)
    number = {first.stream.fileno(), second.stream.fileno()}
    for _, peer in pairs:
        peer.sendall(b"x")
    run_idle(poller)
    called, closed = (first, second) if first.fresh else (second, first)
    assert called.received == b"x"
    assert closed.received == b""
    assert closed.fresh is None  # it was not called after it was closed, nor was its successor for it
    assert called.fresh is not None
    assert called.fresh.stream.fileno() in number
    assert called.fresh.received == b""
    for _, peer in pairs:
        peer.close()
    assert called.peer is not None
    called.peer.close()
    POLLERS.clear()


def test_many_ready_streams_take_several_turns(poller: Poller) -> None:
    pairs = [attached(poller) for _ in range(150)]
    run_idle(poller)
    for _, peer in pairs:
        peer.sendall(b"x")
    poller.run()
    served = sum(recorder.received == b"x" for recorder, _ in pairs)
    assert 0 < served < 150
    run_idle(poller)
    assert all(recorder.received == b"x" for recorder, _ in pairs)
    for recorder, peer in pairs:
        recorder.stream.close()
        peer.close()


async def test_the_poller_in_an_asyncio_loop(poller: Poller) -> None:
    loop = asyncio.get_running_loop()
    loop.add_reader(poller.fileno(), poller.run)
    recorder, peer = attached(poller)
    done = asyncio.Event()

    class Echo(Recorder):
        def on_readable(self) -> None:
            super().on_readable()
            if self.stream.state == StreamState.PEER_CLOSED:
                done.set()

    Echo(recorder.stream)
    peer.close()
    await asyncio.wait_for(done.wait(), 10)
    loop.remove_reader(poller.fileno())
    assert abs(poller.now - loop.time()) < 10
    recorder.stream.close()


def test_streams_and_file_descriptors_go_with_their_last_reference(poller: Poller) -> None:
    gc.collect()  # what other tests have left must not go meanwhile
    before = open_descriptors()
    pairs = [attached(poller) for _ in range(3)]
    gone = [weakref.ref(recorder) for recorder, _ in pairs]
    pairs[0][0].stream.close()
    for _, peer in pairs:
        peer.close()
    run_idle(poller)
    poller.close()  # lets go of the others
    pairs.clear()
    del _, peer
    gc.collect()
    assert [reference() for reference in gone] == [None] * 3
    assert open_descriptors() == before - 2  # the poller's own two are closed as well


def test_who_is_closed_lives_until_the_turn_is_over(poller: Poller) -> None:
    recorder, peer = attached(poller)
    stream = weakref.ref(recorder.stream)
    recorder.stream.close()  # which also calls the poller, if it is not there
    del recorder
    assert stream() is not None
    run_idle(poller)
    assert stream() is None
    peer.close()
