"""The controller assigns buckets on demand, on a real switch: a client's own first packet reaches a node [B2] [D7]."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from controller.buckets import UNASSIGNED
from support.array_rest import address_of, all_up, get, make_configuration
from support.targets import PORTS, REPOSITORY, SWITCH, Cable, command_of, laid_cable, stop, wait_for_grpc
from support.virtual_array import VirtualArray, running_controller, status_server
from support.virtual_client import answered, send_syn

pytestmark = pytest.mark.root


@pytest.fixture
def array() -> VirtualArray:
    return VirtualArray(
        make_configuration(health={"timeout_ms": 2000}, assignment="on_demand", packet_in_limit_per_s=100_000)
    )


@pytest.fixture
def cables(array: VirtualArray, tmp_path: Path) -> Iterator[Mapping[int, Cable]]:
    """The cables to the ports of the target that SWITCH names."""
    if os.geteuid() != 0:
        pytest.skip("needs root for interfaces")
    with contextlib.ExitStack() as cleanup:
        prefix = f"pfd{os.getpid() % 1_000_000}"
        interfaces = {port: f"{prefix}p{port}" for port in PORTS}
        laid = {
            port: cleanup.enter_context(laid_cable(interface, f"{prefix}t{port}"))
            for port, interface in interfaces.items()
        }
        address, log = address_of(array.configuration), tmp_path / f"{SWITCH}.log"
        command = command_of(SWITCH, address, interfaces)
        output = cleanup.enter_context(log.open("wb"))
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT)
        cleanup.callback(stop, process)
        wait_for_grpc(address, process, log)
        yield laid


@contextlib.contextmanager
def wired(array: VirtualArray, cables: Mapping[int, Cable]) -> Iterator[None]:
    """The virtual nodes and the client are at the other ends of the cables."""
    array.ports(
        {},
        receive=lambda port, frame, _: cables[port].send(bytes(frame)),
        after_batch=lambda: None,
        batches=None,
        forward=None,
    )
    loop = asyncio.get_running_loop()
    for port, cable in cables.items():
        loop.add_reader(cable.fileno(), hand_over, array, port, cable)
    try:
        yield
    finally:
        for cable in cables.values():
            loop.remove_reader(cable.fileno())


def hand_over(array: VirtualArray, port: int, cable: Cable) -> None:
    """A frame has left the switch."""
    array.send(port, cable.receive())


async def test_a_first_syn_is_answered_by_the_node_that_its_bucket_is_given_to(
    array: VirtualArray, cables: Mapping[int, Cable]
) -> None:
    configuration = array.configuration
    with wired(array, cables):
        async with (
            status_server(configuration.nodes[0].management),
            running_controller(configuration) as client,
        ):
            await all_up(client)
            ports = range(40_000, 40_010)
            for port in ports:
                send_syn(array, port)
            found = await answered(array, len(ports))
            assert sorted(found) == list(ports)
            assert {name for names in found.values() for name in names} == {"n1", "n2", "n3"}
            slots = (await get(client, "/vservers/web/buckets"))["slots"]
            assert 3 <= sum(slot != UNASSIGNED for slot in slots) <= len(ports)
