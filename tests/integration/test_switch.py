"""The softswitch as a whole: how it starts and stops, and a stock P4Runtime client on it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, cast

import finsy as fy
import pytest

from pentaflow.errors import HostError
from softswitch.switch import SwitchOptions, run_switch
from support.p4rt import DEVICE_ID, PROGRAM, WAIT_S, running_softswitch
from support.ports import free_port


async def test_a_grpc_port_in_use_is_an_error_with_its_place() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(HostError, match=f"{address}: .*in use"):
            await run_switch(SwitchOptions(grpc_address=address))


async def test_two_switches_do_not_share_a_port() -> None:
    """gRPC would let both bind, with SO_REUSEPORT, and spread the clients over them."""
    async with running_softswitch({}) as target:
        with pytest.raises(HostError, match="in use"):
            await run_switch(SwitchOptions(grpc_address=target.address))


async def test_an_address_of_another_host_is_an_error() -> None:
    with pytest.raises(HostError, match=r"192\.0\.2\.1:9559"):
        await run_switch(SwitchOptions(grpc_address="192.0.2.1:9559"))


async def test_cancelling_frees_the_port() -> None:
    address = f"127.0.0.1:{free_port()}"
    for _ in range(2):
        started = asyncio.Event()
        task = asyncio.create_task(run_switch(SwitchOptions(grpc_address=address), started=started.set))
        async with asyncio.timeout(WAIT_S):
            await started.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_finsy_as_a_stock_client() -> None:
    """Pipeline, entries, packets and digests through finsy's own switch class."""
    async with running_softswitch({}) as target:
        options = fy.SwitchOptions(
            p4info=PROGRAM / "conformance.p4info.txtpb",
            p4blob=PROGRAM / "conformance.json",
            device_id=DEVICE_ID,
        )
        async with asyncio.timeout(WAIT_S), fy.Switch("sw1", target.address, options) as stock:
            # finsy declares its generators as coroutines of generators.
            switch = cast(Any, stock)
            await switch.delete_all()
            entry = fy.P4TableEntry(
                "exact_one",
                match=fy.Match(dst=1),
                action=fy.Action("two", port=510, value=7),
                idle_timeout_ns=60_000_000_000,
            )
            group = fy.P4MulticastGroupEntry(1, replicas=(1, 2))
            await switch.write([+entry, +group, +fy.P4DigestEntry("learn_t", max_list_size=1)])
            assert [read async for read in switch.read([fy.P4TableEntry("exact_one")])] == [entry]
            assert [read async for read in switch.read([fy.P4MulticastGroupEntry()])] == [group]

            ethernet = bytes.fromhex("000000000001 000000000002 1234")
            await switch.write([fy.P4PacketOut(ethernet, egress_port=0, pad=0, act=3)])
            async for packet in switch.read_packets():
                assert packet.payload == ethernet
                assert packet["reason"] == 7
                break
            await switch.write([fy.P4PacketOut(ethernet, egress_port=5, pad=0, act=2)])
            async for digest in switch.read_digests("learn_t"):
                assert [dict(message) for message in digest] == [{"src": 2, "port": 5}]
                break
            await switch.delete([entry, group])
            assert [read async for read in switch.read([fy.P4MulticastGroupEntry()])] == []
