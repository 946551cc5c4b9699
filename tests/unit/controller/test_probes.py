"""The clock and the sending of probes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from controller.entries import CPU_PORT
from controller.prober import Observation, PacketOut, Prober
from controller.probes import Probes
from controller.tcp_probe import TcpFlags, encode_segment, maybe_decode_segment
from pentaflow.config import Configuration
from support.configurations import small_document


class Stream:
    """Stands for the switch's stream: keeps what was sent, holds writers up while it is `blocked`."""

    def __init__(self) -> None:
        self.sent: list[PacketOut] = []
        self.observed: list[Observation] = []
        self.changed = asyncio.Condition()
        self.open = asyncio.Event()
        self.open.set()
        document = small_document()
        document["controller"] = {"health": {"interval_ms": 20, "timeout_ms": 10}}
        configuration = Configuration.model_validate(document)
        prober = Prober(configuration, configuration.switches[0], key=1, now_ns=0)
        self.probes = Probes(prober, self.send, self.observed.append)

    async def send(self, packets: Sequence[PacketOut]) -> None:
        async with self.changed:
            self.sent += packets
            self.changed.notify_all()
        if packets:
            await self.open.wait()

    async def first(self, flags: TcpFlags) -> PacketOut:
        """The first segment sent that has just these flags."""

        def found() -> list[PacketOut]:
            segments = [(packet, maybe_decode_segment(packet.frame)) for packet in self.sent]
            return [packet for packet, segment in segments if segment and segment.flags == flags]

        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(found)
        return found()[0]

    async def first_echo(self) -> PacketOut:
        """The first echo sent."""
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: any(packet.port == CPU_PORT for packet in self.sent))
        return next(packet for packet in self.sent if packet.port == CPU_PORT)


def answer(packet: PacketOut) -> bytes:
    """The SYN-ACK to a SYN."""
    syn = maybe_decode_segment(packet.frame)
    assert syn is not None
    turned = replace(syn, src=syn.dst, dst=syn.src, src_port=syn.dst_port, dst_port=syn.src_port)
    return encode_segment(replace(turned, ack=(syn.seq + 1) & 0xFFFF_FFFF, flags=TcpFlags.SYN | TcpFlags.ACK))


async def test_answers_are_read_while_sending_is_held_up_and_reset_afterwards() -> None:
    stream = Stream()
    stream.open.clear()
    running = asyncio.create_task(stream.probes.run())
    syn = await stream.first(TcpFlags.SYN)
    stream.probes.receive(answer(syn))
    assert [o.outcome.failure for o in stream.observed] == [""]
    assert not any(packet.port == CPU_PORT for packet in stream.sent)
    stream.open.set()
    assert (await stream.first(TcpFlags.RST)).port == syn.port
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_silence_is_reported_when_the_echo_is_back() -> None:
    stream = Stream()
    running = asyncio.create_task(stream.probes.run())
    echo = await stream.first_echo()
    assert stream.observed == []
    stream.probes.receive(echo.frame)
    assert {o.outcome.failure for o in stream.observed} == {"no answer within 10 ms"}
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
