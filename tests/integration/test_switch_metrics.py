"""The switch's metrics, as Prometheus would read them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest
from finsy.proto import p4r
from prometheus_client.parser import text_string_to_metric_families

from pentaflow.errors import HostError
from softswitch.switch import Switch, SwitchOptions
from support.p4rt import (
    DEVICE_ID,
    DIGEST,
    FORWARD,
    REFLECT,
    WAIT_S,
    Client,
    Target,
    exact_one,
    frame,
    packet_out,
    running_softswitch,
)
from support.targets import Cable, laid_cable, run

ANYWHERE = ("127.0.0.1", 0)
_SERIAL = itertools.count()


async def fetch(target: Target) -> httpx.Response:
    assert target.switch is not None
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.get(f"http://127.0.0.1:{target.switch.metrics_port}/metrics")


async def scrape(target: Target) -> Callable[..., float]:
    """All samples; the function that is returned gives one by its name without the prefix, and its labels."""
    response = await fetch(target)
    assert response.status_code == 200
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }

    def value(name: str, **labels: str) -> float:
        return samples[f"pentaflow_switch_{name}", frozenset({"device_id": str(DEVICE_ID), **labels}.items())]

    return value


async def until(target: Target, condition: Callable[[Callable[..., float]], bool]) -> Callable[..., float]:
    """The first samples that fulfil a condition."""
    async with asyncio.timeout(WAIT_S):
        while not condition(value := await scrape(target)):  # noqa: ASYNC110 - counters have no event to wait for
            await asyncio.sleep(0.005)
    return value


@pytest.fixture
async def primary() -> AsyncIterator[Client]:
    """The primary of a switch without ports that runs the conformance program."""
    async with running_softswitch({}, metrics=ANYWHERE) as target, Client(target) as client:
        await client.commit()
        yield client


async def test_before_there_is_a_controller() -> None:
    async with running_softswitch({}, metrics=ANYWHERE) as target:
        value = await scrape(target)
    assert value("engine_info", engine="none") == 1
    assert value("primary_present") == 0


async def test_they_are_off_by_default() -> None:
    async with running_softswitch({}) as target:
        assert target.switch is not None
        assert target.switch.metrics_port is None


async def test_names_and_types_are_prometheus_own(primary: Client) -> None:
    response = await fetch(primary.target)
    assert response.headers["content-type"].startswith("text/plain")
    types = {family.name: family.type for family in text_string_to_metric_families(response.text)}
    assert types["pentaflow_switch_port_receive_packets"] == "counter"
    assert types["pentaflow_switch_table_entries"] == "gauge"
    assert all(name.startswith("pentaflow_switch_") for name in types)


async def test_tables_and_the_engine(primary: Client) -> None:
    await primary.insert(exact_one(1), exact_one(2))
    value = await scrape(primary.target)
    assert value("table_entries", table="ConformanceIngress.exact_one") == 2
    assert value("table_size", table="ConformanceIngress.exact_one") == 1024
    assert value("primary_present") == 1
    await primary.delete(exact_one(1))
    assert (await scrape(primary.target))("table_entries", table="ConformanceIngress.exact_one") == 1


async def test_what_is_told_to_the_controller_and_what_is_not(primary: Client) -> None:
    await primary.send(packet=packet_out(frame(), act=REFLECT))
    await primary.receive("packet")
    await primary.send(packet=packet_out(frame(), act=DIGEST))  # nobody has asked for digests
    await primary.send(packet=packet_out(frame(), act=FORWARD, port=9))  # there is no port 9
    await primary.send(packet=p4r.PacketOut(payload=b"no metadata"))
    await primary.receive("error")
    value = await scrape(primary.target)
    assert value("stream_messages_sent_total", kind="packet_in") == 1
    assert value("stream_messages_sent_total", kind="stream_error") == 1
    assert value("digests_dropped_total", reason="unconfigured") == 1
    assert value("drops_total", reason="unknown_port") == 1
    assert value("clones_dropped_total") == 0
    assert value("stream_messages_dropped_total", kind="packet_in", reason="no_primary") == 0


async def test_a_scraper_that_does_not_read_holds_nothing_up(primary: Client) -> None:
    assert primary.target.switch is not None
    port = primary.target.switch.metrics_port
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    try:
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        assert (await scrape(primary.target))("primary_present") == 1
        await primary.send(packet=packet_out(frame(), act=REFLECT))
        assert (await primary.receive("packet")).payload == frame()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_an_address_in_use_is_an_error_with_its_place() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HostError, match=f"--metrics 127.0.0.1:{port}: cannot listen: .*in use"):
            Switch(SwitchOptions(grpc_address="127.0.0.1:0", metrics=("127.0.0.1", port)))


@pytest.fixture
def interface() -> Iterator[tuple[str, str]]:
    """Names for a veth pair: the switch's end, and the far one."""
    if os.geteuid() != 0:
        pytest.skip("needs root for interfaces")
    tag = f"pm{os.getpid() % 100_000}x{next(_SERIAL)}"
    yield f"{tag}s", f"{tag}t"
    with contextlib.suppress(Exception):
        run("ip", "link", "del", f"{tag}s")


@pytest.mark.root
async def test_ports(interface: tuple[str, str]) -> None:
    near, far = interface
    port = {"port": "1", "interface": near}
    with laid_cable(near, far) as cable:
        async with running_softswitch({1: near}, metrics=ANYWHERE) as target, Client(target) as client:
            cable.send(frame())
            value = await until(target, lambda value: value("drops_total", reason="no_pipeline") == 1)
            assert value("port_up", **port) == 1

            await client.commit()
            cable.send(frame())
            await client.receive("packet")
            await client.send(packet=packet_out(frame(), act=FORWARD, port=1))
            value = await until(target, lambda value: value("port_transmit_packets_total", **port) == 1)
            assert value("port_receive_packets_total", **port) == 2
            assert value("port_receive_bytes_total", **port) == 2 * len(frame())
            assert value("port_transmit_bytes_total", **port) == len(frame())
            assert value("port_drops_total", **port, reason="queue_full") == 0


@pytest.mark.root
async def test_a_port_that_disappears_and_returns(interface: tuple[str, str]) -> None:
    near, far = interface
    port = {"port": "1", "interface": near}
    run("ip", "link", "add", near, "type", "veth", "peer", "name", far)
    run("ip", "link", "set", near, "up")
    async with running_softswitch({1: near}, metrics=ANYWHERE) as target, Client(target) as client:
        await client.commit()
        run("ip", "link", "del", near)
        value = await until(target, lambda value: value("port_up", **port) == 0)
        assert value("port_went_down_total", **port) == 1
        await client.send(packet=packet_out(frame(), act=FORWARD, port=1))
        await until(target, lambda value: value("port_drops_total", **port, reason="port_down") == 1)

        with laid_cable(near, far) as cable:
            await until(target, lambda value: value("port_up", **port) == 1)
            await _check_forwards(client, cable)
            value = await scrape(target)
            assert value("port_went_down_total", **port) == 1
            assert value("port_receive_packets_total", **port) >= 1


async def _check_forwards(client: Client, cable: Cable) -> None:
    cable.send(frame(src=7))
    while (await client.receive("packet")).payload != frame(src=7):
        pass
    await client.send(packet=packet_out(frame(dst=7), act=FORWARD, port=1))
    await asyncio.to_thread(_receive_until, cable, frame(dst=7))


def _receive_until(cable: Cable, wanted: bytes) -> None:
    while cable.receive() != wanted:
        pass
