"""Runs the probes of one switch in time (shell)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from controller.prober import Observation, PacketOut, Prober

# Packets gather for a moment and go out together: the more of them a stream carries at once, the less each costs.
_GATHER_S = 0.005

Send = Callable[[Sequence[PacketOut]], Awaitable[None]]
Report = Callable[[Observation], None]


class Probes:
    """A prober with a clock, a way to send and someone to tell.

    What comes from the switch is read whether or not what goes to it is held up: else answers would wait behind probes.
    At most one answer waits for each probe, and no new probes are made before all is sent, so what waits is bounded.
    """

    def __init__(self, prober: Prober, send: Send, report: Report) -> None:
        self._prober = prober
        self._send = send
        self._report = report
        self._waiting: list[PacketOut] = []
        self._has_waiting = asyncio.Event()

    def replace(self, prober: Prober) -> None:
        """Go on with another prober; what the old one has sent is forgotten."""
        self._prober = prober
        self._has_waiting.set()

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            due_ns = self._prober.maybe_next_ns()
            try:
                async with asyncio.timeout(None if due_ns is None else max(0, due_ns - time.monotonic_ns()) / 1e9):
                    await self._has_waiting.wait()
                await asyncio.sleep(_GATHER_S)
            except TimeoutError:
                pass  # probes are due
            self._has_waiting.clear()
            probes, failures = self._prober.run(time.monotonic_ns())
            for failure in failures:
                self._report(failure)
            packets = self._waiting + probes
            self._waiting = []
            await self._send(packets)

    def receive(self, frame: bytes) -> None:
        """A frame came that was addressed to the probe MAC."""
        packets, observations = self._prober.receive(frame)
        for observation in observations:
            self._report(observation)
        if packets:
            self._waiting += packets
            self._has_waiting.set()
