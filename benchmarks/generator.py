"""A packet generator that is faster than what it measures: `sendmmsg` on a packet socket, past the queueing layer."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from typing import Any

from cffi import FFI

BATCH = 64
PAUSE_S = 0.0002
# linux/if_packet.h
_SOL_PACKET = 263
_PACKET_QDISC_BYPASS = 20

_ffi = FFI()
# bits/socket.h and bits/types/struct_iovec.h of glibc; musl's differ.
_ffi.cdef("""
struct iovec { void *iov_base; size_t iov_len; };
struct msghdr {
    void *msg_name; unsigned int msg_namelen; struct iovec *msg_iov; size_t msg_iovlen;
    void *msg_control; size_t msg_controllen; int msg_flags;
};
struct mmsghdr { struct msghdr msg_hdr; unsigned int msg_len; };
int sendmmsg(int sockfd, struct mmsghdr *msgvec, unsigned int vlen, int flags);
""")
_libc: Any = _ffi.dlopen(None)


class Generator:
    """Sends the same frames out of an interface, round and round.

    Args:
        interface: where; it needs no address.
        frames: what; their number is cut to a multiple of `BATCH`.
    """

    def __init__(self, interface: str, frames: Sequence[bytes]) -> None:
        count = len(frames) // BATCH * BATCH
        self._buffers = [_ffi.from_buffer(frame) for frame in frames[:count]]
        self._vectors = _ffi.new("struct iovec[]", count)
        self._messages = _ffi.new("struct mmsghdr[]", count)
        for i, buffer in enumerate(self._buffers):
            self._vectors[i].iov_base = buffer
            self._vectors[i].iov_len = len(buffer)
            self._messages[i].msg_hdr.msg_iov = self._vectors + i
            self._messages[i].msg_hdr.msg_iovlen = 1
        self._count = count
        self._next = 0
        # Protocol 0: it sends only, and receives nothing.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        self._socket.bind((interface, 0))

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def send(self, *, rate_pps: float | None, seconds: float) -> int:
        """Send for some time at a rate, or, if it is None, as fast as possible; returns the number of frames sent."""
        sent = 0
        began = time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            due = BATCH if rate_pps is None else min(int(rate_pps * elapsed) - sent, BATCH)
            if due > 0:
                sent += self._send_some(due)
            else:
                time.sleep(PAUSE_S)
        return sent

    def _send_some(self, count: int) -> int:
        count = min(count, self._count - self._next)
        sent: int = _libc.sendmmsg(self._socket.fileno(), self._messages + self._next, count, 0)
        if sent < 0:
            raise OSError(_ffi.errno, os.strerror(_ffi.errno))
        self._next = (self._next + sent) % self._count
        return sent
