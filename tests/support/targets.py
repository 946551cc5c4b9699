"""A real switch target for packet tests: a process, its P4Runtime end point, and veth pairs as its ports.

Which target: the environment variable SWITCH, `softswitch` (default) or `bmv2`. "Nothing comes out" is proved by marker
frames: one behind the packet on the same port, flooded to every other port and to the controller, and one from another
port, flooded back to the first. What a port gave before its last marker is all that the packet caused.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import finsy as fy
import grpc
import pytest

from support.control import ControlClient, Entity
from support.ports import free_port

REPOSITORY = Path(__file__).parents[2]
SWITCH = os.environ.get("SWITCH", "softswitch")
PORTS = (1, 2, 3, 4)
CPU_PORT = 510
DEVICE_ID = 1
MTU = 9000
WAIT_S = 10.0

MARKER_VLAN = 4094
MARKER_GROUP = 4094
MARKER_MAC = bytes.fromhex("02ffffffff01")
# Broadcast, tagged with the markers' VLAN, of the EtherType for local experiments (IEEE 802).
MARKER_HEAD = bytes.fromhex("ffffffffffff") + MARKER_MAC + struct.pack("!HHH", 0x8100, MARKER_VLAN, 0x88B5)

SOL_PACKET = 263
PACKET_AUXDATA = 8
PACKET_IGNORE_OUTGOING = 23
ETH_P_ALL = 3
# struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid
AUXDATA = struct.Struct("IIIHHHH")
TP_STATUS_VLAN_VALID = 1 << 4


class Cable:
    """One end of a veth pair, on which the test sends and receives frames; the other is a port of the switch."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._socket.bind((interface, 0))
        self._socket.settimeout(WAIT_S)

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def receive(self) -> bytes:
        """The next frame, with its VLAN tag (which Linux hands over beside the frame)."""
        frame, ancillary, _, _ = self._socket.recvmsg(65536, socket.CMSG_SPACE(AUXDATA.size))
        for level, kind, data in ancillary:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                status, _, _, _, _, tci, tpid = AUXDATA.unpack(data[: AUXDATA.size])
                if status & TP_STATUS_VLAN_VALID:
                    frame = frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
        return frame

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def laid_cable(switch_side: str, test_side: str) -> Iterator[Cable]:
    """A veth pair that is up, carries jumbo frames and on which Linux itself says nothing."""
    run("ip", "link", "add", switch_side, "type", "veth", "peer", "name", test_side)
    try:
        for interface in (switch_side, test_side):
            disable_ipv6 = Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6")
            if disable_ipv6.exists():
                disable_ipv6.write_text("1")
            run("ip", "link", "set", interface, "mtu", str(MTU), "up")
        with contextlib.closing(Cable(test_side)) as cable:
            yield cable
    finally:
        run("ip", "link", "del", switch_side)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one packet caused: frames out by port, packet-ins, and increments of `drops` (packets, octets) by index."""

    frames: Mapping[int, list[bytes]] = field(default_factory=dict)
    packet_ins: list[fy.P4PacketIn] = field(default_factory=list)
    drops: Mapping[int, tuple[int, int]] = field(default_factory=dict)


class Target:
    """A running switch with the Pentaflow pipeline, and hands on all its ports."""

    def __init__(self, control: ControlClient, cables: Mapping[int, Cable]) -> None:
        self.control = control
        self._cables = cables
        self._sequence = itertools.count()

    def set_state(self, *entities: Entity) -> None:
        """Make `entities` all there is on the switch, besides what markers need."""
        self.control.delete_everything()
        self.control.insert(
            fy.P4MulticastGroupEntry(MARKER_GROUP, replicas=[*PORTS, CPU_PORT]),
            fy.P4TableEntry(
                "flood", match=fy.Match(vlan_id=MARKER_VLAN), action=fy.Action("flood_to", group=MARKER_GROUP)
            ),
            *(
                fy.P4TableEntry(
                    "smac",
                    match=fy.Match(vlan_id=MARKER_VLAN, src_mac=int.from_bytes(MARKER_MAC), ingress_port=port),
                    action=fy.Action("known"),
                )
                for port in PORTS
            ),
            *entities,
        )

    def send(self, port: int, frame: bytes) -> None:
        """Send a frame into a port; CPU_PORT: packet-out, submitted to ingress."""
        if port == CPU_PORT:
            self.control.packet_out(frame, submit_to_ingress=True)
        else:
            self._cables[port].send(frame)

    def run(self, port: int, frame: bytes) -> Outcome:
        """Send a frame into a port and collect everything that comes of it."""
        return self.outcome(port, lambda: self.send(port, frame))

    def outcome(self, port: int, act: Callable[[], None]) -> Outcome:
        """Collect everything that comes of `act`, which lets the switch receive something on `port`."""
        before = self._drops()
        act()
        other = next(p for p in PORTS if p != port)
        frames: dict[int, list[bytes]] = {}
        packet_ins: list[fy.P4PacketIn] = []
        for origin in (port, other):
            marker = MARKER_HEAD + next(self._sequence).to_bytes(48)
            self.send(origin, marker)
            for destination in PORTS:
                if destination != origin:
                    frames.setdefault(destination, []).extend(self._frames_until(destination, marker))
            if origin != CPU_PORT:
                packet_ins += self._packet_ins_until(marker)
        after = self._drops()
        return Outcome(
            frames={number: received for number, received in frames.items() if received},
            packet_ins=packet_ins,
            drops={
                index: (after[index][0] - before[index][0], after[index][1] - before[index][1])
                for index in after
                if after[index] != before[index]
            },
        )

    def _frames_until(self, port: int, marker: bytes) -> list[bytes]:
        return list(iter(self._cables[port].receive, marker))

    def _packet_ins_until(self, marker: bytes) -> list[fy.P4PacketIn]:
        received = []
        while (packet := self.control.packet_ins.get(timeout=WAIT_S)).payload != marker:
            received.append(packet)
        return received

    def _drops(self) -> dict[int, tuple[int, int]]:
        entries = self.control.read(fy.P4CounterEntry("drops"))
        return {entry.index: (entry.packet_count, entry.byte_count) for entry in entries}

    def direct_counters(self, table: str) -> dict[int, tuple[int, int]]:
        """Packets and octets of the entries of `bucket` or `slot` that were hit, by bucket or slot number."""
        wildcard = fy.P4TableEntry(table, counter_data=fy.P4CounterData())
        counters = {}
        for entry in self.control.read(wildcard):
            if entry.match and entry.counter_data.packet_count:
                counters[entry[table]] = (entry.counter_data.packet_count, entry.counter_data.byte_count)
        return counters


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def command_of(switch: str, address: str, interfaces: Mapping[int, str]) -> list[str]:
    """The command line that runs a target."""
    if switch == "bmv2":
        program = shutil.which("simple_switch_grpc")
        if not program:
            pytest.skip("simple_switch_grpc is not on PATH")
        ports = [text for port, interface in interfaces.items() for text in ("-i", f"{port}@{interface}")]
        own = ["--grpc-server-addr", address, "--cpu-port", str(CPU_PORT)]
        return [program, "--no-p4", "--device-id", str(DEVICE_ID), *ports, "--", *own]
    ports = [f"--port={port}={interface}" for port, interface in interfaces.items()]
    return [sys.executable, "-m", "pentaflow", "switch", "--grpc", address, "--device-id", str(DEVICE_ID), *ports]


@contextlib.contextmanager
def running_target(log: Path) -> Iterator[Target]:
    """Start the target that SWITCH names, with its cables; stop and remove all of it at the end."""
    if os.geteuid() != 0:
        pytest.skip("needs root for interfaces")
    with contextlib.ExitStack() as cleanup:
        prefix = f"pf{os.getpid() % 1_000_000}"
        interfaces = {port: f"{prefix}p{port}" for port in PORTS}
        cables = {
            port: cleanup.enter_context(laid_cable(interface, f"{prefix}t{port}"))
            for port, interface in interfaces.items()
        }
        address = f"127.0.0.1:{free_port()}"
        command = command_of(SWITCH, address, interfaces)
        output = cleanup.enter_context(log.open("wb"))
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT)
        cleanup.callback(stop, process)
        wait_for_grpc(address, process, log)
        control = cleanup.enter_context(ControlClient(address, DEVICE_ID))
        control.insert(fy.P4DigestEntry("learn_t", max_list_size=1, ack_timeout_ns=60_000_000_000))
        yield Target(control, cables)


def wait_for_grpc(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    with grpc.insecure_channel(address) as channel:
        ready = grpc.channel_ready_future(channel)
        for _ in range(300):
            if process.poll() is not None:
                raise AssertionError(f"the target ended with status {process.returncode}:\n{log.read_text()[-2000:]}")
            with contextlib.suppress(grpc.FutureTimeoutError):
                ready.result(timeout=0.1)
                return
    raise AssertionError(f"no gRPC server at {address} after 30 s:\n{log.read_text()[-2000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process by its id, politely first."""
    process.terminate()
    try:
        process.wait(WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
