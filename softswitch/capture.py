"""What goes through an interface, written to a pcap file (draft-ietf-opsawg-pcap), as tcpdump would.

A socket of its own sees what the switch receives and what it sends, however that is done; super-packets are written
whole, with deferred checksums as they are. Timestamps are the kernel's, in nanoseconds.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from pathlib import Path

import structlog

from pentaflow.errors import ConfigurationError, HostError

BATCH = 64
RETRY_S = 0.5
SNAP_LENGTH = 65536 + 256  # the largest super-packet, and its link-layer headers

# linux/if_ether.h, linux/if_packet.h, asm-generic/socket.h: Python's socket module lacks these.
_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_PACKET_AUXDATA = 8
_SO_TIMESTAMPNS = 35
_TP_STATUS_VLAN_VALID = 1 << 4
_TP_STATUS_VLAN_TPID_VALID = 1 << 6
_ETH_P_8021Q = 0x8100

_AUXDATA = struct.Struct("=IIIHHHH")  # status, len, snaplen, mac, net, vlan_tci, vlan_tpid
_TIMESPEC = struct.Struct("=qq")
_ANCILLARY_LENGTH = socket.CMSG_SPACE(_AUXDATA.size) + socket.CMSG_SPACE(_TIMESPEC.size)
_MSG_TRUNC = int(socket.MSG_TRUNC)

_FILE_HEADER = struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, SNAP_LENGTH, 1)  # nanoseconds; LINKTYPE_ETHERNET
_RECORD = struct.Struct("=IIII")  # seconds, nanoseconds, captured and original length

log = structlog.get_logger(__name__)


class Capture:
    """A running capture, on the running event loop; `close` ends it.

    Args:
        interface: its name; it may go and come back.
        path: the file, made anew.
        max_octets: at this size the capture ends.

    Raises:
        ConfigurationError: the file can't be written.
        HostError: the interface is not there, or the process lacks CAP_NET_RAW.
    """

    def __init__(self, interface: str, path: Path, max_octets: int) -> None:
        self._interface = interface
        self._path = path
        self._left = max_octets - len(_FILE_HEADER)
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray(SNAP_LENGTH)
        self._retry: asyncio.TimerHandle | None = None
        self._socket: socket.socket | None = None
        try:
            self._socket = self._open()
        except PermissionError:
            raise HostError(f"pcap {path}", "opening a packet socket needs CAP_NET_RAW: run as root") from None
        except OSError as error:
            reason = error.strerror or error
            raise HostError(f"pcap {path}", f"interface '{interface}' can't be opened: {reason}") from None
        try:
            self._file = path.open("wb")
            self._file.write(_FILE_HEADER)
            self._file.flush()
        except OSError as error:
            self._shut()
            raise ConfigurationError(f"pcap {path}", f"can't be written: {error.strerror}") from None

    def _open(self) -> socket.socket:
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            packets.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            packets.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            packets.bind((self._interface, _ETH_P_ALL))
        except OSError:
            packets.close()
            raise
        self._loop.add_reader(packets, self._readable, packets)
        return packets

    def _shut(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _reopen(self) -> None:
        try:
            self._socket = self._open()
        except OSError:
            self._retry = self._loop.call_later(RETRY_S, self._reopen)

    def _readable(self, packets: socket.socket) -> None:
        records = []
        try:
            for _ in range(BATCH):
                length, ancillary, _, _ = packets.recvmsg_into([self._buffer], _ANCILLARY_LENGTH, _MSG_TRUNC)
                records.append(self._record(length, ancillary))
        except BlockingIOError:
            pass
        except OSError:  # the interface went down, or away
            self._shut()
            self._reopen()
        self._append(records)

    def _append(self, records: list[bytes]) -> None:
        """Write what fits; at the end of the file, or of the disk, the capture ends."""
        fitting = []
        for record in records:
            self._left -= len(record)
            if self._left < 0:
                break
            fitting.append(record)
        try:
            self._file.write(b"".join(fitting))
            self._file.flush()
        except OSError as error:
            log.error("capture ended", file=str(self._path), reason=error.strerror)
            self.close()
        else:
            if self._left < 0:
                log.warning("capture ended: its file is full", file=str(self._path))
                self.close()

    def _record(self, length: int, ancillary: list[tuple[int, int, bytes]]) -> bytes:
        """The frame in the buffer, of so many bytes on the wire, as the file has it."""
        seconds = nanoseconds = 0
        tag = b""
        for level, kind, data in ancillary:
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                status, _, _, _, _, tci, tpid = _AUXDATA.unpack(data)
                if status & _TP_STATUS_VLAN_VALID:
                    ethertype = tpid if status & _TP_STATUS_VLAN_TPID_VALID else _ETH_P_8021Q
                    tag = struct.pack("!HH", ethertype, tci)
            elif (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = _TIMESPEC.unpack(data)
        captured = bytes(self._buffer[:length])
        captured = (captured[:12] + tag + captured[12:])[:SNAP_LENGTH]
        return _RECORD.pack(seconds, nanoseconds, len(captured), length + len(tag)) + captured

    def close(self) -> None:
        """End the capture; harmless when it has ended."""
        if self._retry is not None:
            self._retry.cancel()
        self._shut()
        with suppress(OSError):  # it flushes what could not be written before
            self._file.close()
