"""Batches of frames between ports in native code, and what they leave for Python (shell)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from softswitch.c_backend.engine import NativeEngine, declarations

_PACKET_IN_OCTETS = 4 << 20
_VNET_LENGTH = 10
_LENGTH_LENGTH = 4
_NO_CPU_PORT = 512


class Batches:
    """The ports as native code sees them; they outlast the pipeline that runs.

    Args:
        numbers: the port numbers.
        cpu_port: frames for this port are kept for `packet_ins`; None when there is none.
    """

    def __init__(self, numbers: Iterable[int], cpu_port: int | None) -> None:
        ffi = declarations()
        self._places = {number: place for place, number in enumerate(numbers)}
        self._ports = ffi.new("struct pf_port[]", max(len(self._places), 1))
        self._io = ffi.new("struct pf_ports *")
        self._packet_ins = ffi.new("uint8_t[]", _PACKET_IN_OCTETS)
        self._frames: Any = None
        self._buffer = ffi.buffer(self._packet_ins)
        self._io.ports = self._ports
        self._io.cpu_port = _NO_CPU_PORT if cpu_port is None else cpu_port
        self._io.packet_ins, self._io.packet_ins_capacity = self._packet_ins, _PACKET_IN_OCTETS
        for number in range(len(self._io.place)):
            self._io.place[number] = self._places.get(number, -1)
        for number, place in self._places.items():
            self._ports[place].number, self._ports[place].fd = number, -1

    @property
    def unknown_port(self) -> int:
        """How many frames were for ports that the switch does not have."""
        return int(self._io.unknown_port)

    @property
    def packet_ins_dropped(self) -> int:
        """How many frames for the controller found no room."""
        return int(self._io.packet_ins_dropped)

    def port(self, number: int) -> Any:
        """A port's `struct pf_port`: its socket `fd`, -1 while it is down, and its counters."""
        return self._ports[self._places[number]]

    def forward(self, engine: NativeEngine, number: int) -> int:
        """Run what waits at a port through the pipeline and send what comes of it.

        Returns:
            0, or the errno of receiving.
        """
        if self._frames is None:
            self._frames = engine.ffi.new("uint8_t[]", engine.lib.pf_frames_bytes())
            self._io.frames = self._frames
        self._io.most_copies = engine.most_copies
        error: int = engine.lib.pf_forward(engine.state, self._io, self._places[number], engine.outputs)
        if engine.state.digests_used:
            engine.take_digests()
        return error

    def packet_ins(self) -> Iterator[tuple[bytes, bytes]]:
        """The frames for the controller since the last time, with their virtio-net headers."""
        at, end = 0, int(self._io.packet_ins_used)
        self._io.packet_ins_used = 0
        while at < end:
            length = int.from_bytes(self._buffer[at : at + _LENGTH_LENGTH], sys.byteorder)
            at += _LENGTH_LENGTH
            yield self._buffer[at + _VNET_LENGTH : at + _VNET_LENGTH + length], self._buffer[at : at + _VNET_LENGTH]
            at += _VNET_LENGTH + length
