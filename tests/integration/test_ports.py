"""AF_PACKET ports between veths in a network namespace of their own (S3)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

import pytest

from pentaflow.errors import HostError
from softswitch.offload import NO_OFFLOAD
from softswitch.ports import BATCH, Drop, Ports

pytestmark = pytest.mark.root

WAIT_S = 10.0
SOL_PACKET = 263
PACKET_VNET_HDR = 15
_SERIAL = itertools.count()


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@dataclass
class Rig:
    """Interfaces s1 and s2, the switch's, with peers t1 and t2 in the namespaces of the same names."""

    names: tuple[str, str]
    namespaces: tuple[str, str]
    frames: list[tuple[int, bytes, bytes]] = field(default_factory=list)

    def open_ports(self) -> Ports:
        """Ports 1 and 2, which forward to each other."""
        opened = Ports(
            dict(enumerate(self.names, 1)),
            receive=lambda port, frame, header: self._forward(opened, port, bytes(frame), header),
            after_batch=lambda: None,
        )
        return opened

    def _forward(self, ports: Ports, port: int, frame: bytes, header: bytes) -> None:
        self.frames.append((port, frame, header))
        ports.send(3 - port, frame, header)

    def plug(self, number: int) -> None:
        """Create one veth pair, its far end in its namespace."""
        name, namespace = self.names[number], self.namespaces[number]
        ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        ip("link", "set", name, "up")
        ip("-n", namespace, "link", "set", "eth0", "up")
        ip("-n", namespace, "address", "add", f"10.7.0.{number + 1}/24", "dev", "eth0")

    def unplug(self, number: int) -> None:
        ip("link", "del", self.names[number])

    def command(self, number: int, *command: str) -> list[str]:
        """A command line that runs in the namespace at the end of port `number` + 1."""
        return ["ip", "netns", "exec", self.namespaces[number], *command]


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Two plugged ports; all of it is removed at the end."""
    if os.geteuid() != 0:
        pytest.skip("needs root for interfaces")
    tag = f"{os.getpid() % 100000}x{next(_SERIAL)}"
    rig = Rig(names=(f"p{tag}a", f"p{tag}b"), namespaces=(f"pf{tag}a", f"pf{tag}b"))
    with contextlib.ExitStack() as cleanup:
        for number, namespace in enumerate(rig.namespaces):
            ip("netns", "add", namespace)
            cleanup.callback(ip, "netns", "del", namespace)
            # Quiet: no router solicitations between the frames of a test.
            quiet = "for i in all default; do echo 1 > /proc/sys/net/ipv6/conf/$i/disable_ipv6; done"
            subprocess.run(rig.command(number, "sh", "-c", quiet), check=True)
            rig.plug(number)
        yield rig


@pytest.fixture
async def ports(rig: Rig) -> AsyncIterator[Ports]:
    """The rig's ports, forwarding."""
    ports = rig.open_ports()
    try:
        yield ports
    finally:
        ports.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - counters have no event to wait for
            await asyncio.sleep(0.005)


async def run(*command: str) -> str:
    """Run a command to its end; returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(30):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode()
    return output.decode()


@contextlib.asynccontextmanager
async def background(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


SERVER = """
import hashlib, socket, sys
listener = socket.create_server((sys.argv[1], 7000))
print("ready", flush=True)
connection, _ = listener.accept()
digest, length = hashlib.sha256(), 0
while data := connection.recv(1 << 16):
    digest.update(data)
    length += len(data)
connection.sendall(f"{length} {digest.hexdigest()}".encode())
"""
CLIENT = """
import hashlib, socket, sys
data = bytes(range(250)) * (int(sys.argv[2]) // 250)
connection = socket.create_connection((sys.argv[1], 7000), timeout=20)
connection.sendall(data)
connection.shutdown(socket.SHUT_WR)
answer = connection.makefile().read()
assert answer == f"{len(data)} {hashlib.sha256(data).hexdigest()}", answer
"""


FLOOD = """
import socket
flood = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
flood.bind(("eth0", 0))
while True:
    flood.send(bytes(60))
"""


async def transfer(rig: Rig, *, to: int = 1, network: str = "10.7.0", size: int = 250) -> None:
    """Send `size` bytes over TCP to the end of port `to` + 1 from the other; what arrives must be the same."""
    address = f"{network}.{to + 1}"
    async with background(*rig.command(to, "python3", "-c", SERVER, address)) as server:
        assert server.stdout is not None
        assert await server.stdout.readline() == b"ready\n"
        await run(*rig.command(1 - to, "python3", "-c", CLIENT, address, str(size)))


async def test_tcp_passes_whole_super_packets_with_deferred_checksums(rig: Rig, ports: Ports) -> None:
    await transfer(rig, size=20_000_000)
    flags = {header[0] & 1 for _, frame, header in rig.frames if frame[12:14] == b"\x08\0"}
    assert flags == {1}, "every TCP segment came with its checksum deferred"
    assert max(len(frame) for _, frame, _ in rig.frames) > 9000, "segmentation was left to the interface"
    assert not any(sum(counters.drops.values()) for counters in ports.counters.values())


async def test_everything_is_counted_in_both_directions(rig: Rig, ports: Ports) -> None:
    await transfer(rig, to=0)
    await transfer(rig, to=1)
    near, far = ports.counters.values()
    # How many segments and acknowledgements go each way is TCP's choice: what comes in at one port leaves at the other.
    assert near.rx_packets == far.tx_packets > 0
    assert far.rx_packets == near.tx_packets > 0
    for counters in (near, far):
        assert counters.rx_octets > 14 * counters.rx_packets


async def test_vlan_tags_are_put_back(rig: Rig) -> None:
    """The kernel takes the tag off and tells it beside the frame, and counts the checksum's place without it."""
    near, far = rig.names[0] + "n", rig.names[0] + "f"
    ip("link", "add", near, "type", "veth", "peer", "name", far)
    received: list[tuple[int, bytes, bytes]] = []
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(ip, "link", "del", near)
        for interface in (near, far):
            ip("link", "set", interface, "up")
        ports = Ports(
            {1: near},
            receive=lambda port, frame, header: received.append((port, bytes(frame), header)),
            after_batch=lambda: None,
        )
        cleanup.callback(ports.close)
        sender = cleanup.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
        sender.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        sender.bind((far, 0))
        for ethertype in (0x8100, 0x88A8):
            tag = struct.pack("!HH", ethertype, 0xB005)
            frame = bytes.fromhex("020000000001 020000000002") + tag + b"\x88\xb5" + bytes(range(60))
            # Without the tag a checksum would start at 30, with it at 34.
            sender.send(struct.pack("=BBHHHH", 1, 0, 0, 0, 34, 16) + frame)
            await until(lambda: any(item[1][12:16] == tag for item in received))  # noqa: B023 - awaited here
            [header] = [header for _, got, header in received if got == frame]
            assert struct.unpack("=BBHHHH", header) == (1, 0, 0, 0, 34, 16)
            assert ports.send(1, frame, header)


async def test_the_switch_does_not_hear_itself(rig: Rig, ports: Ports) -> None:
    frame = bytes(12) + b"\x88\xb5" + bytes(46)
    assert ports.send(1, frame)
    assert ports.send(2, frame)
    await transfer(rig)
    assert frame not in [received for _, received, _ in rig.frames]


async def test_frames_beyond_the_mtu_are_dropped_and_counted(rig: Rig, ports: Ports) -> None:
    ip("link", "set", rig.names[0], "mtu", "1000")
    assert not ports.send(1, bytes(1100))
    assert ports.send(1, bytes(1000))
    assert ports.counters[1].drops == {Drop.TOO_LONG: 1}
    assert ports.counters[1].tx_packets == 1


async def test_a_header_that_makes_no_sense_is_refused_and_counted(rig: Rig, ports: Ports) -> None:
    assert not ports.send(1, bytes(60), struct.pack("=BBHHHH", 1, 0, 0, 0, 65000, 16))
    assert ports.counters[1].drops == {Drop.REFUSED: 1}


async def test_a_port_that_is_not_there_takes_nothing(ports: Ports) -> None:
    assert not ports.send(9, bytes(60), NO_OFFLOAD)


async def test_a_full_send_queue_drops_and_counts(rig: Rig, ports: Ports) -> None:
    """The far end is slow: a token bucket holds on to what was sent."""
    bucket = ("tbf", "rate", "8kbit", "burst", "1600", "limit", "4000")
    await run("tc", "qdisc", "add", "dev", rig.names[0], "root", *bucket)
    results = [ports.send(1, bytes(1000)) for _ in range(20)]
    assert False in results
    assert ports.counters[1].drops[Drop.QUEUE_FULL] == results.count(False)


async def test_an_interface_may_go_down_and_come_back(rig: Rig, ports: Ports) -> None:
    ip("link", "set", rig.names[1], "down")
    await until(lambda: not ports.is_up(2))
    assert not ports.send(2, bytes(60))
    assert ports.counters[2].drops == {Drop.PORT_DOWN: 1}
    assert ports.is_up(1)
    ip("link", "set", rig.names[1], "up")
    await until(lambda: ports.is_up(2))
    assert ports.counters[2].went_down == 1
    await transfer(rig)


async def test_an_interface_may_be_removed_and_made_anew(rig: Rig, ports: Ports) -> None:
    rig.unplug(1)
    await until(lambda: not ports.is_up(2))
    rig.plug(1)
    await until(lambda: ports.is_up(2))
    await transfer(rig)


async def test_a_flood_leaves_room_for_other_work(rig: Rig, ports: Ports) -> None:
    """Frames are taken in bounded batches: timers of the same loop go on while one port always has more."""
    ticks = 0
    async with background(*rig.command(0, "python3", "-c", FLOOD)):
        await until(lambda: ports.counters[1].rx_packets > 0)
        enough = ports.counters[1].rx_packets + 100 * BATCH
        while ports.counters[1].rx_packets < enough:
            await asyncio.sleep(0)
            ticks += 1
    assert ticks >= 100


async def test_a_missing_interface_is_an_error_with_its_place(rig: Rig) -> None:
    with pytest.raises(HostError, match="port 2: interface 'pf-none' can't be opened: no interface"):
        Ports({1: rig.names[0], 2: "pf-none"}, receive=lambda *_: None, after_batch=lambda: None)


async def test_an_interface_that_is_down_at_the_start_comes_later(rig: Rig) -> None:
    ip("link", "set", rig.names[0], "down")
    ports = rig.open_ports()
    try:
        assert not ports.is_up(1)
        ip("link", "set", rig.names[0], "up")
        await until(lambda: ports.is_up(1))
    finally:
        ports.close()
