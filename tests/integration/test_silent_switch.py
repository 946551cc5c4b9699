"""A switch that is cut off in silence: no connection breaks, and nothing comes any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from support.array_rest import address_of, all_up, get, has_event, make_configuration
from support.ports import free_port
from support.virtual_array import VirtualArray, eventually, running_controller, running_switch, status_server


class Relay:
    """A cable between controller and switch that can be cut; what is sent meanwhile comes late, as with TCP."""

    def __init__(self, port: int) -> None:
        self.whole = asyncio.Event()
        self.whole.set()
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while octets := await source.read(65_536):
            await self.whole.wait()
            sink.write(octets)
        sink.close()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def relay(port: int, to_port: int) -> AsyncIterator[Relay]:
    found = Relay(to_port)
    async with await asyncio.start_server(found.accept, "127.0.0.1", port):
        yield found
        await found.close()


async def test_it_is_lost_after_a_heartbeat_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.southbound.HEARTBEAT_INTERVAL_S", 0.1)
    monkeypatch.setattr("controller.reading.HEARTBEAT_TIMEOUT_S", 0.5)
    configuration = make_configuration(buckets=256)
    array = VirtualArray(configuration)
    monkeypatch.setattr("softswitch.switch.Ports", array.ports)
    switch_port = free_port()
    async with (
        status_server(configuration.nodes[0].management),
        running_switch(f"127.0.0.1:{switch_port}"),
        relay(int(address_of(configuration).rpartition(":")[2]), switch_port) as cable,
        running_controller(configuration) as client,
    ):
        await all_up(client)
        cable.whole.clear()
        (lost,) = await has_event(client, "switch_lost")
        assert lost["reason"] == "no heartbeat: DEADLINE_EXCEEDED"
        cable.whole.set()

        async def is_back() -> bool:
            return bool((await get(client, "/health"))["ready"])

        await eventually(is_back, "the switch is back")
        assert len(await has_event(client, "switch_reconciled", 2)) == 2
