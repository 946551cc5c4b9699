"""Batches in native code between veths in a network namespace of their own (S3, S4)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from softswitch.c_backend.batches import Batches
from softswitch.pipeline import Engine, Pipeline, Replica, load_pipeline
from softswitch.ports import Drop, Ports
from softswitch.tables import Entry
from support.pipelines import PENTAFLOW_JSON

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler (cc) on PATH"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for interfaces"),
]

WAIT_S = 10.0
CPU_PORT = 510
_SERIAL = itertools.count()
TO_A, FROM_B = bytes.fromhex("02000000000a"), bytes.fromhex("02000000000b")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Rig:
    """Ports 1 and 2 on veths, whose peers are raw sockets here, and a learning bridge between them in native code."""

    def __init__(self, cleanup: contextlib.ExitStack) -> None:
        tag = f"pb{os.getpid() % 100000}x{next(_SERIAL)}"
        self.interfaces = {1: f"{tag}s1", 2: f"{tag}s2"}
        self.peers: dict[int, socket.socket] = {}
        for number, interface in self.interfaces.items():
            peer = f"{tag}t{number}"
            ip("link", "add", interface, "type", "veth", "peer", "name", peer)
            cleanup.callback(subprocess.run, ["ip", "link", "del", peer], capture_output=True, check=False)
            for name in (interface, peer):
                ip("link", "set", name, "addrgenmode", "none", "mtu", "1500", "up")
            self.peers[number] = cleanup.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
            self.peers[number].bind((peer, 0x0003))
            self.peers[number].setblocking(False)
        self.pipeline: Pipeline = load_pipeline(PENTAFLOW_JSON.read_bytes(), "pentaflow", Engine.NATIVE)
        self.batches = Batches(self.interfaces, CPU_PORT)
        self.packet_ins: list[bytes] = []
        self.ports = Ports(
            self.interfaces,
            receive=lambda port, frame, header: None,
            after_batch=lambda: None,
            batches=self.batches,
            forward=self._forward,
        )
        cleanup.callback(self.ports.close)

    def _forward(self, port: int) -> int:
        assert self.pipeline.native is not None
        error = self.batches.forward(self.pipeline.native, port)
        self.packet_ins += [frame for frame, _ in self.batches.packet_ins()]
        return error

    def insert(self, table: str, match: tuple[int, ...], action: str, *params: int) -> None:
        found = next(t for name, t in self.pipeline.tables.items() if name.endswith(f".{table}"))
        name = next(name for name in found.actions if name.endswith(f".{action}"))
        found.insert(Entry(match=match, action=name, params=params), now_ns=0)

    def received(self, number: int) -> list[bytes]:
        """The frames that came out of a port and are of these tests."""
        frames = []
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, address = self.peers[number].recvfrom(70000)
                if address[2] != socket.PACKET_OUTGOING and frame[6:12] == FROM_B:
                    frames.append(frame)
        return frames


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    with contextlib.ExitStack() as cleanup:
        yield Rig(cleanup)


def frames_of(lengths: Iterator[int]) -> list[bytes]:
    return [TO_A + FROM_B + b"\x12\x34" + struct.pack("!I", number) + bytes(n) for number, n in enumerate(lengths)]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - counters have no event to wait for
            await asyncio.sleep(0.005)


async def test_frames_pass_whole_in_order_and_are_counted(rig: Rig) -> None:
    rig.insert("dmac", (0, int.from_bytes(TO_A)), "forward", 2)
    sent = frames_of(iter([46 + 3 * number for number in range(150)]))
    for frame in sent:
        rig.peers[1].send(frame)
    await until(lambda: rig.ports.counters[2].tx_packets == len(sent))
    assert rig.received(2) == sent
    counters = rig.ports.counters
    assert (counters[1].rx_packets, counters[1].rx_octets) == (len(sent), sum(map(len, sent)))
    assert counters[2].tx_octets == sum(map(len, sent))
    assert len(rig.pipeline.digests) == len(sent)


async def test_copies_for_the_controller_are_kept_for_python(rig: Rig) -> None:
    rig.insert("flood", (0,), "flood_to", 9)
    rig.pipeline.multicast_groups[9] = (Replica(2, 0), Replica(CPU_PORT, 0), Replica(77, 0))
    [frame] = frames_of(iter([46]))
    rig.peers[1].send(frame)
    await until(lambda: bool(rig.packet_ins))
    assert rig.received(2) == [frame]
    assert rig.packet_ins[0].endswith(frame)
    assert rig.batches.unknown_port == 1


async def test_what_cannot_be_sent_is_counted_and_the_rest_goes_on(rig: Rig) -> None:
    rig.insert("dmac", (0, int.from_bytes(TO_A)), "forward", 2)
    ip("link", "set", rig.interfaces[2], "mtu", "1000")
    sent = frames_of(iter([46, 1200, 46]))
    for frame in sent:
        rig.peers[1].send(frame)
    await until(lambda: rig.ports.counters[2].tx_packets == 2)
    assert rig.received(2) == [sent[0], sent[2]]
    assert rig.ports.counters[2].drops == {Drop.TOO_LONG: 1}


async def test_a_port_goes_down_and_comes_back(rig: Rig) -> None:
    rig.insert("dmac", (0, int.from_bytes(TO_A)), "forward", 2)
    [frame] = frames_of(iter([46]))
    ip("link", "set", rig.interfaces[2], "down")
    await until(lambda: not rig.ports.is_up(2))
    rig.peers[1].send(frame)
    await until(lambda: rig.ports.counters[2].drops == {Drop.PORT_DOWN: 1})
    ip("link", "set", rig.interfaces[2], "up")
    await until(lambda: rig.ports.is_up(2))
    rig.peers[1].send(frame)
    await until(lambda: rig.ports.counters[2].tx_packets == 1)
    assert rig.ports.counters[2].went_down == 1
    assert rig.received(2) == [frame]


async def test_frames_of_any_length_do_no_harm(rig: Rig) -> None:
    """Runts too: the kernel takes them from 14 octets on. It keeps some to itself, with a tag cut short."""
    rig.insert("dmac", (0, int.from_bytes(TO_A)), "forward", 2)
    for length in range(14, 90):
        for head in (bytes(12), bytes(12) + b"\x81\0\0\0\x08\0\x4f", bytes(12) + b"\x08\0\x4f"):
            rig.peers[1].send((head + bytes(length))[:length])
    [last] = frames_of(iter([46]))
    rig.peers[1].send(last)
    await until(lambda: rig.received(2) == [last])
