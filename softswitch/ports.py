"""Ports on Linux interfaces: AF_PACKET sockets with virtio-net headers.

With `PACKET_VNET_HDR` the kernel hands over segmentation-offload super-packets whole and leaves checksums deferred; see
`softswitch.offload`. An interface may go and come back: its port is closed meanwhile, and retried.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import socket
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

from pentaflow.errors import HostError
from softswitch.c_backend.batches import Batches
from softswitch.offload import NO_OFFLOAD, VLAN_TAG_LENGTH, restore_vlan_tag, shift_offsets

BATCH = 64
RETRY_S = 0.5

# linux/if_packet.h, linux/if_ether.h, linux/if.h, linux/sockios.h: Python's socket module lacks these.
_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_MR_PROMISC = 1
_PACKET_AUXDATA = 8
_PACKET_VNET_HDR = 15
_PACKET_IGNORE_OUTGOING = 23
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_SIOCGIFFLAGS = 0x8913
_IFF_UP = 1
_TP_STATUS_VLAN_VALID = 1 << 4
_TP_STATUS_VLAN_TPID_VALID = 1 << 6
_ETH_P_8021Q = 0x8100
_MSG_TRUNC = int(socket.MSG_TRUNC)  # an enum's & takes longer than the packet

_AUXDATA = struct.Struct("=IIIHHHH")  # status, len, snaplen, mac, net, vlan_tci, vlan_tpid
_ANCILLARY_LENGTH = socket.CMSG_SPACE(_AUXDATA.size)
_VNET_HEADER_LENGTH = len(NO_OFFLOAD)
_MAX_FRAME_LENGTH = 65536 + 256  # the largest super-packet, and its link-layer headers
_QUEUE_OCTETS = 4 << 20

ReceiveFrame = Callable[[int, memoryview, bytes], None]


class Drop(Enum):
    """Why a frame was dropped at a port; in the order of native code's `enum pf_reason`."""

    TRUNCATED = "longer than any super-packet"
    QUEUE_FULL = "send queue full"
    TOO_LONG = "longer than the interface's MTU"
    PORT_DOWN = "interface down or gone"
    REFUSED = "refused by the interface"


_SEND_ERRORS: Mapping[int | None, Drop] = {
    errno.EAGAIN: Drop.QUEUE_FULL,
    errno.ENOBUFS: Drop.QUEUE_FULL,
    errno.EMSGSIZE: Drop.TOO_LONG,
    errno.ENETDOWN: Drop.PORT_DOWN,
    errno.ENXIO: Drop.PORT_DOWN,
    errno.ENODEV: Drop.PORT_DOWN,
}


@dataclass(slots=True)
class PortCounters:
    """What went through a port; `went_down` counts the times that its interface did."""

    rx_packets: int = 0
    rx_octets: int = 0
    tx_packets: int = 0
    tx_octets: int = 0
    went_down: int = 0
    drops: Counter[Drop] = field(default_factory=Counter)


@dataclass(slots=True)
class _Port:
    number: int
    interface: str
    socket: socket.socket | None = None
    counters: PortCounters = field(default_factory=PortCounters)


class Ports:
    """The ports of a switch, on the running event loop.

    Args:
        interfaces: port number to interface name.
        receive: called with port number, frame (valid during the call only) and virtio-net header.
        after_batch: called after each run of frames from one port.
        batches: the ports as native code sees them, None when there is none.
        forward: forwards what waits at a port through `batches`, when it can: returns 0 or the errno of receiving, None
            when `receive` must be given the frames instead.

    Raises:
        HostError: an interface is not there, or the process lacks CAP_NET_RAW.
    """

    def __init__(
        self,
        interfaces: Mapping[int, str],
        *,
        receive: ReceiveFrame,
        after_batch: Callable[[], None],
        batches: Batches | None = None,
        forward: Callable[[int], int | None] = lambda _: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self._after_batch = after_batch
        self._batches = batches
        self._forward = forward
        self._header = bytearray(_VNET_HEADER_LENGTH)
        self._buffer = bytearray(VLAN_TAG_LENGTH + _MAX_FRAME_LENGTH)
        self._frame = memoryview(self._buffer)
        self._parts = [memoryview(self._header), self._frame[VLAN_TAG_LENGTH:]]
        self._ports = {number: _Port(number, interface) for number, interface in interfaces.items()}
        self._retries: dict[int, asyncio.TimerHandle] = {}
        try:
            for port in self._ports.values():
                self._open_first(port)
        except HostError:
            self.close()
            raise

    @property
    def counters(self) -> Mapping[int, PortCounters]:
        """Counters by port number."""
        return {number: self._total(port) for number, port in self._ports.items()}

    def _total(self, port: _Port) -> PortCounters:
        """What went through a port in Python and in native code."""
        if self._batches is None:
            return port.counters
        own, native = port.counters, self._batches.port(port.number)
        return PortCounters(
            rx_packets=own.rx_packets + native.rx_packets,
            rx_octets=own.rx_octets + native.rx_octets,
            tx_packets=own.tx_packets + native.tx_packets,
            tx_octets=own.tx_octets + native.tx_octets,
            went_down=own.went_down,
            drops=own.drops + Counter(dict(zip(Drop, native.drops, strict=True))),
        )

    def interface(self, number: int) -> str:
        """The name of the port's interface."""
        return self._ports[number].interface

    def is_up(self, number: int) -> bool:
        """Whether the port's interface is there and up."""
        return self._ports[number].socket is not None

    def send(self, number: int, frame: bytes, header: bytes = NO_OFFLOAD, *, shift: int = 0) -> bool:
        """Send a frame; one that the port can't take is dropped and counted.

        Args:
            number: the port; one that the switch does not have takes nothing.
            frame: from the destination address on.
            header: the virtio-net header that the frame came with.
            shift: how much longer the frame got since.

        Returns:
            whether the frame was sent.
        """
        port = self._ports.get(number)
        if port is None:
            return False
        if port.socket is None:
            port.counters.drops[Drop.PORT_DOWN] += 1
            return False
        try:
            port.socket.sendmsg((shift_offsets(header, shift) if shift else header, frame))
        except OSError as error:
            port.counters.drops[_SEND_ERRORS.get(error.errno, Drop.REFUSED)] += 1
            return False
        port.counters.tx_packets += 1
        port.counters.tx_octets += len(frame)
        return True

    def close(self) -> None:
        """Close all ports."""
        for retry in self._retries.values():
            retry.cancel()
        self._retries.clear()
        for port in self._ports.values():
            self._shut(port)

    def _open_first(self, port: _Port) -> None:
        place = f"port {port.number}"
        try:
            if not self._open(port):
                self._retry_later(port)
        except PermissionError:
            raise HostError(place, "opening a packet socket needs CAP_NET_RAW: run as root") from None
        except OSError as error:
            raise HostError(place, f"interface '{port.interface}' can't be opened: {error.strerror or error}") from None

    def _open(self, port: _Port) -> bool:
        """Open the port's socket; returns False when the interface is down, raises OSError when it is not there."""
        packet_socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            index = socket.if_nametoindex(port.interface)
            if not _is_up(packet_socket, port.interface):
                packet_socket.close()
                return False
            for option in (_PACKET_VNET_HDR, _PACKET_AUXDATA, _PACKET_IGNORE_OUTGOING):
                packet_socket.setsockopt(_SOL_PACKET, option, 1)
            for option, fallback in (
                (_SO_RCVBUFFORCE, socket.SO_RCVBUF),
                (_SO_SNDBUFFORCE, socket.SO_SNDBUF),
            ):
                try:
                    packet_socket.setsockopt(socket.SOL_SOCKET, option, _QUEUE_OCTETS)
                except PermissionError:
                    packet_socket.setsockopt(socket.SOL_SOCKET, fallback, _QUEUE_OCTETS)
            membership = struct.pack("=iHH8s", index, _PACKET_MR_PROMISC, 0, b"")
            packet_socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
            packet_socket.bind((port.interface, _ETH_P_ALL))
        except OSError:
            packet_socket.close()
            raise
        port.socket = packet_socket
        if self._batches is not None:
            self._batches.port(port.number).fd = packet_socket.fileno()
        self._loop.add_reader(packet_socket, partial(self._readable, port))
        return True

    def _shut(self, port: _Port) -> None:
        if port.socket is not None:
            self._loop.remove_reader(port.socket)
            if self._batches is not None:
                self._batches.port(port.number).fd = -1
            port.socket.close()
            port.socket = None

    def _retry_later(self, port: _Port) -> None:
        self._retries[port.number] = self._loop.call_later(RETRY_S, self._retry, port)

    def _retry(self, port: _Port) -> None:
        try:
            opened = self._open(port)
        except OSError:
            opened = False
        if opened:
            del self._retries[port.number]
        else:
            self._retry_later(port)

    def _readable(self, port: _Port) -> None:
        if port.socket is None:
            return
        error = self._forward(port.number)
        if error is None:
            self._read_batch(port, port.socket.recvmsg_into)
        elif error:
            self._went_down(port)
        self._after_batch()

    def _read_batch(self, port: _Port, receive_into: Callable[..., tuple[int, list[Any], int, Any]]) -> None:
        counters = port.counters
        number = port.number
        try:
            for _ in range(BATCH):
                length, ancillary, flags, _ = receive_into(self._parts, _ANCILLARY_LENGTH)
                length -= _VNET_HEADER_LENGTH
                if flags & _MSG_TRUNC:
                    counters.drops[Drop.TRUNCATED] += 1
                    continue
                header = bytes(self._header)
                start = VLAN_TAG_LENGTH
                status, _, _, _, _, tci, tpid = _AUXDATA.unpack(ancillary[0][2])
                if status & _TP_STATUS_VLAN_VALID:
                    restore_vlan_tag(self._buffer, tpid if status & _TP_STATUS_VLAN_TPID_VALID else _ETH_P_8021Q, tci)
                    header = shift_offsets(header, VLAN_TAG_LENGTH)
                    start = 0
                counters.rx_packets += 1
                counters.rx_octets += length + VLAN_TAG_LENGTH - start
                self._receive(number, self._frame[start : VLAN_TAG_LENGTH + length], header)
        except BlockingIOError:
            pass
        except OSError:
            self._went_down(port)

    def _went_down(self, port: _Port) -> None:
        """Receiving failed: ENETDOWN when the interface goes down or away. What the socket was bound to may never come
        back.
        """
        port.counters.went_down += 1
        self._shut(port)
        self._retry_later(port)


def _is_up(any_socket: socket.socket, interface: str) -> bool:
    request = struct.pack("16sH14x", interface.encode(), 0)
    flags: int = struct.unpack_from("=H", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)[0]
    return bool(flags & _IFF_UP)
