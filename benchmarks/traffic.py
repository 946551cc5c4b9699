"""Small packets through a VIP: offered, and counted where the node is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from benchmarks import vip
from benchmarks.frames import ACK, SYN, tcp_frame
from benchmarks.generator import Generator
from benchmarks.network import received_packets, wait_until
from benchmarks.rate_search import Step
from benchmarks.targets import Target
from controller.addresses import vip_mac

FLOWS = 1024
FIRST_SOURCE_PORT = 20_000
SETTINGS = {"SYN, 64 octets": SYN, "established, 64 octets": ACK}
_QUIET_S = 0.05


def client_frames(flags: int) -> list[bytes]:
    """One packet of each of `FLOWS` client ports to the VIP."""
    return [
        tcp_frame(
            src_mac=vip.CLIENT_MAC,
            dst_mac=vip_mac(vip.VIP),
            src=vip.CLIENT,
            src_port=FIRST_SOURCE_PORT + flow,
            dst=vip.VIP,
            dst_port=vip.SERVICE,
            flags=flags,
        )
        for flow in range(FLOWS)
    ]


class Lane:
    """From a generator to where its packets are counted."""

    def __init__(self, generator: Generator, counted_at: str) -> None:
        self._generator = generator
        self._counted_at = counted_at

    def offer(self, rate_pps: float | None, seconds: float) -> Step:
        """Offer packets for some time, None: as fast as possible; rates are over that time, queues not awaited."""
        before, began = received_packets(self._counted_at), time.perf_counter()
        sent = self._generator.send(rate_pps=rate_pps, seconds=seconds)
        after, ended = received_packets(self._counted_at), time.perf_counter()
        wait_until("nothing is on its way any more", self._is_drained)
        return Step(offered_pps=sent / (ended - began), delivered_pps=(after - before) / (ended - began))

    def _is_drained(self) -> bool:
        before = received_packets(self._counted_at)
        time.sleep(_QUIET_S)
        return received_packets(self._counted_at) == before


@contextmanager
def lanes(target: Target) -> Iterator[dict[str, Lane]]:
    """The running scheduler, and a lane for each of `SETTINGS`."""
    with vip.wire(target) as (client, node), ExitStack() as cleanup:
        ready = {}
        for setting, flags in SETTINGS.items():
            generator = cleanup.enter_context(closing(Generator(client, client_frames(flags))))
            ready[setting] = Lane(generator, node)
        yield ready
