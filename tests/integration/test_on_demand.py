"""Buckets on demand [B2] [D7]: real controller, real softswitch, virtual nodes: a client's first SYN finds a node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from finsy.proto import p4r

from controller.buckets import UNASSIGNED
from controller.entries import Key, Kind
from softswitch import switch as softswitch
from softswitch.p4runtime.status import Code, RequestError
from softswitch.p4runtime.table_entries import TableEntries
from support.array_rest import address_of, all_up, get, make_configuration
from support.virtual_array import (
    CODEC,
    Behaviour,
    VirtualArray,
    eventually,
    read_back,
    running_controller,
    running_switch,
    status_server,
)
from support.virtual_client import answered, answers, send_syn


@pytest.fixture
async def array(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[VirtualArray]:
    configuration = make_configuration(assignment="on_demand", packet_in_limit_per_s=100_000)
    array = VirtualArray(configuration)
    monkeypatch.setattr(softswitch, "Ports", array.ports)
    async with status_server(configuration.nodes[0].management):
        yield array


async def outcomes(client: httpx.AsyncClient) -> dict[str, int]:
    """What became of packets without a bucket, as the metrics say."""
    prefix = 'pentaflow_controller_on_demand_packets_total{outcome="'
    lines = [line for line in (await client.get("/metrics")).text.splitlines() if line.startswith(prefix)]
    found = {line.removeprefix(prefix).partition('"')[0]: int(float(line.rpartition(" ")[2])) for line in lines}
    return {outcome: count for outcome, count in found.items() if count}


async def slots(client: httpx.AsyncClient) -> list[int]:
    view: dict[str, Any] = await get(client, "/vservers/web/buckets")
    found: list[int] = view["slots"]
    return found


def refuse_first_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch has no room when the first bucket is inserted; after that it has."""
    write, refused = TableEntries.write, list[p4r.TableEntry]()
    bucket_table = CODEC.encode_entity(Key(Kind.BUCKET, (1, 0)), None).table_entry.table_id

    def refuse_once(self: TableEntries, kind: p4r.Update.Type.ValueType, message: p4r.TableEntry, now_ns: int) -> None:
        if message.table_id == bucket_table and not refused:
            refused.append(message)
            raise RequestError(Code.RESOURCE_EXHAUSTED, "the table is full")
        write(self, kind, message, now_ns)

    monkeypatch.setattr(TableEntries, "write", refuse_once)


async def test_the_first_syn_of_a_client_is_assigned_and_answered(array: VirtualArray) -> None:
    address = address_of(array.configuration)
    async with running_switch(address), running_controller(array.configuration) as client:
        await all_up(client)
        assert set(await slots(client)) == {UNASSIGNED}
        ports = range(40_000, 40_030)
        for port in ports:
            send_syn(array, port)
        found = await answered(array, len(ports))
        assert sorted(found) == list(ports)
        assigned = [slot for slot in await slots(client) if slot != UNASSIGNED]
        entries = await read_back(address)
        assert sorted(entry.params[0] for key, entry in entries.items() if key.kind is Kind.BUCKET) == sorted(assigned)
        assert {name for names in found.values() for name in names} == {"n1", "n2", "n3"}
        sent_on = len(ports)
        assert await outcomes(client) == {"sent_on": sent_on}
        for port in ports:
            send_syn(array, port)
        again = await answered(array, 2 * len(ports))
        assert all(names == found[port] * 2 for port, names in again.items()), "the same node for ever"
        assert await outcomes(client) == {"sent_on": sent_on}, "the switch knows the way by itself"


async def test_packets_of_one_bucket_that_come_at_once_all_go_to_its_node(array: VirtualArray) -> None:
    async with running_switch(address_of(array.configuration)), running_controller(array.configuration) as client:
        await all_up(client)
        for _ in range(5):
            send_syn(array, 40_000)
        found = await answered(array, 5)
        assert len(set(found[40_000])) == 1
        assert sum(slot != UNASSIGNED for slot in await slots(client)) == 1


async def test_a_node_that_is_down_is_given_nothing(array: VirtualArray) -> None:
    array.behaviour["n1"] = Behaviour.SILENT
    async with running_switch(address_of(array.configuration)), running_controller(array.configuration) as client:

        async def condition() -> bool:
            health: dict[str, str] = (await get(client, "/health"))["nodes"]
            return health == {"n1": "down", "n2": "up", "n3": "up"}

        await eventually(condition, "n1 down")
        ports = range(40_000, 40_020)
        for port in ports:
            send_syn(array, port)
        found = await answered(array, len(ports))
        assert {name for names in found.values() for name in names} == {"n2", "n3"}


async def test_a_restarted_controller_keeps_what_was_assigned(array: VirtualArray) -> None:
    address = address_of(array.configuration)
    async with running_switch(address):
        async with running_controller(array.configuration) as client:
            await all_up(client)
            for port in range(40_000, 40_010):
                send_syn(array, port)
            await answered(array, 10)
            before = await slots(client)
        async with running_controller(array.configuration) as client:
            await all_up(client)
            assert await slots(client) == before
            send_syn(array, 50_000)
            assert (await answered(array, 11))[50_000]


async def test_a_packet_whose_bucket_can_not_be_written_is_dropped_and_counted(
    array: VirtualArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switch is read back then, and the client's next SYN finds the node."""
    refuse_first_bucket(monkeypatch)
    async with running_switch(address_of(array.configuration)), running_controller(array.configuration) as client:
        await all_up(client)
        send_syn(array, 40_000)

        async def condition() -> bool:
            return await outcomes(client) == {"not_written": 1}

        await eventually(condition, "a packet that is dropped")
        await all_up(client)
        assert answers(array) == {}
        send_syn(array, 40_000)
        assert (await answered(array, 1))[40_000]
