"""Runs the probes of one switch in time (shell)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from controller.prober import Observation, PacketOut, Prober

Send = Callable[[Sequence[PacketOut]], Awaitable[None]]
Report = Callable[[Observation], None]


class Probes:
    """A prober with a clock, a way to send and someone to tell."""

    def __init__(self, prober: Prober, send: Send, report: Report) -> None:
        self._prober = prober
        self._send = send
        self._report = report

    async def run(self) -> None:
        """Probe until cancelled."""
        while (due_ns := self._prober.maybe_next_ns()) is not None:
            await asyncio.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
            await self._carry_out(*self._prober.run(time.monotonic_ns()))

    async def receive(self, frame: bytes) -> None:
        """A frame came that was addressed to the probe MAC."""
        await self._carry_out(*self._prober.receive(frame))

    async def _carry_out(self, packets: Sequence[PacketOut], observations: Sequence[Observation]) -> None:
        for observation in observations:
            self._report(observation)
        await self._send(packets)
