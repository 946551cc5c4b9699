"""P4Runtime 1.5, "Packet I/O" and "Stream Error Reporting"."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from finsy.proto import p4r
from google.protobuf import any_pb2

from softswitch.p4runtime.status import Code
from support.p4rt import (
    CLONE,
    CLONE_EGRESS,
    CLONE_EGRESS_DROP,
    CPU_PORT,
    DIGEST,
    FORWARD,
    LOOKUP,
    MULTICAST,
    P4INFO,
    REFLECT,
    Client,
    Target,
    action,
    clone_session,
    counter,
    departs,
    encode,
    entry,
    exact_one,
    frame,
    group,
    packet_out,
    replica,
    running_softswitch,
)


def packet_in(payload: bytes, *, ingress_port: int, reason: int) -> p4r.PacketIn:
    metadata = ((1, ingress_port), (2, 0), (3, reason))
    return p4r.PacketIn(
        payload=payload,
        metadata=[p4r.PacketMetadata(metadata_id=key, value=encode(value)) for key, value in metadata],
    )


async def test_a_packet_out_goes_through_the_pipeline_and_may_come_back(primary: Client) -> None:
    await primary.send(packet=packet_out(frame(), act=REFLECT))
    assert await primary.receive("packet") == packet_in(frame(), ingress_port=CPU_PORT, reason=1)


async def test_packets_stay_in_order(primary: Client) -> None:
    payloads = [frame(payload=bytes([number])) for number in range(200)]
    for payload in payloads:
        await primary.send(packet=packet_out(payload, act=REFLECT))
    assert [(await primary.receive("packet")).payload for _ in payloads] == payloads


@pytest.mark.parametrize("length", [0, 1, 13, 1500, 9000, 60000])
async def test_payloads_of_any_length(primary: Client, length: int) -> None:
    payload = bytes(index % 251 for index in range(length))
    await primary.send(packet=packet_out(payload, act=REFLECT))
    assert (await primary.receive("packet")).payload == payload


async def test_entries_act_on_packet_outs_and_count_them(primary: Client) -> None:
    await primary.insert(exact_one(1, action=action("two", CPU_PORT, 0xBEEF)))
    await primary.send(packet=packet_out(frame(dst=1), act=LOOKUP, port=3))
    assert await primary.receive("packet") == packet_in(frame(dst=1), ingress_port=CPU_PORT, reason=0xBEEF)
    [got] = await primary.read(entry("exact_one", counter_data=p4r.CounterData()))
    octets = len(frame()) + 3  # and the packet_out header
    assert got.table_entry.counter_data == p4r.CounterData(packet_count=1, byte_count=octets)
    [cell] = await primary.read(counter(3))
    assert cell.counter_entry.data == p4r.CounterData(packet_count=1, byte_count=octets)


async def test_a_multicast_group_makes_copies(primary: Client) -> None:
    await primary.insert(group(9, replica(CPU_PORT, 1), replica(CPU_PORT, 2)))
    await primary.send(packet=packet_out(frame(), act=MULTICAST, port=9))
    for _ in range(2):
        assert (await primary.receive("packet")).payload == frame()


async def test_a_clone_of_a_dropped_packet_comes_to_the_controller(primary: Client) -> None:
    await primary.insert(clone_session(9, replica(CPU_PORT, 1), replica(CPU_PORT, 2)))
    await primary.send(packet=packet_out(frame(), act=CLONE, port=9))
    for _ in range(2):
        assert await primary.receive("packet") == packet_in(frame(), ingress_port=0, reason=5)


async def test_a_clone_of_egress_has_the_headers_that_egress_left_and_its_field_list(primary: Client) -> None:
    await primary.insert(clone_session(9, replica(CPU_PORT, 1), replica(CPU_PORT, 2)))
    await primary.send(packet=packet_out(frame(), act=CLONE_EGRESS, port=9))
    changed = frame(ethertype=0x5678)
    assert await primary.receive("packet") == packet_in(changed, ingress_port=CPU_PORT, reason=6)
    for _ in range(2):
        assert await primary.receive("packet") == packet_in(changed, ingress_port=0, reason=7)


async def test_a_clone_of_a_packet_that_egress_drops_comes_to_the_controller(primary: Client) -> None:
    await primary.insert(clone_session(9, replica(CPU_PORT, 1)))
    await primary.send(packet=packet_out(frame(), act=CLONE_EGRESS_DROP, port=9))
    assert await primary.receive("packet") == packet_in(frame(ethertype=0x5678), ingress_port=0, reason=7)


async def test_a_clone_of_egress_without_a_session_is_none(primary: Client) -> None:
    await primary.send(packet=packet_out(frame(), act=CLONE_EGRESS, port=9))
    await primary.send(packet=packet_out(frame(), act=REFLECT))
    assert [(await primary.receive("packet")).payload for _ in range(2)] == [frame(ethertype=0x5678), frame()]


def _missing(message: p4r.PacketOut) -> None:
    del message.metadata[0]


def _unknown(message: p4r.PacketOut) -> None:
    message.metadata[0].metadata_id = 7


def _twice(message: p4r.PacketOut) -> None:
    message.metadata.add().CopyFrom(message.metadata[0])


def _extra(message: p4r.PacketOut) -> None:
    message.metadata.add(metadata_id=7, value=b"\1")


def _too_wide(message: p4r.PacketOut) -> None:
    message.metadata[0].value = b"\x02\x00"


def _empty(message: p4r.PacketOut) -> None:
    message.metadata[0].value = b""


@departs("drops or pads bad packet-outs in silence")
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_missing, "'egress_port' of the packet-out is missing"),
        (_unknown, "missing"),
        (_twice, "given twice"),
        (_extra, "no metadata 7"),
        (_too_wide, "bit<9>"),
        (_empty, "empty"),
    ],
)
async def test_a_bad_packet_out_is_reported_and_dropped(
    primary: Client, spoil: Callable[[p4r.PacketOut], None], words: str
) -> None:
    bad = packet_out(frame(payload=b"bad"), act=REFLECT)
    spoil(bad)
    await primary.send(packet=bad)
    error = await primary.receive("error")
    assert error.canonical_code == Code.INVALID_ARGUMENT
    assert words in error.message
    assert error.packet_out.packet_out == bad
    await primary.send(packet=packet_out(frame(), act=REFLECT))
    assert (await primary.receive("packet")).payload == frame()


@departs("drops it in silence")
async def test_a_backups_packet_out_is_reported_and_dropped(primary: Client, target: Target) -> None:
    async with Client(target) as backup:
        await backup.become(Code.ALREADY_EXISTS, 0)
        await backup.send(packet=packet_out(frame(), act=REFLECT))
        error = await backup.receive("error")
        assert error.canonical_code == Code.PERMISSION_DENIED
        assert error.HasField("packet_out")


@departs("drops it in silence")
async def test_a_packet_out_without_a_pipeline_is_reported(target: Target) -> None:
    async with Client(target) as client:
        await client.become(Code.OK, 1)
        await client.send(packet=packet_out(frame(), act=REFLECT))
        assert (await client.receive("error")).canonical_code == Code.FAILED_PRECONDITION


@departs("ignores it")
async def test_architecture_specific_messages_are_unimplemented(primary: Client) -> None:
    await primary.send(other=any_pb2.Any(type_url="type.example/message"))
    error = await primary.receive("error")
    assert error.canonical_code == Code.UNIMPLEMENTED
    assert error.HasField("other")


async def test_packet_ins_go_to_the_primary_only(primary: Client, target: Target) -> None:
    async with Client(target) as newer:
        await newer.become(Code.OK, 2)
        assert (await primary.receive("arbitration")).status.code == Code.ALREADY_EXISTS
        await newer.send(packet=packet_out(frame(), act=REFLECT))
        assert (await newer.receive("packet")).payload == frame()
        await primary.arbitrate(3)
        assert (await primary.receive("arbitration")).status.code == Code.OK


async def test_metadata_are_canonical(primary: Client) -> None:
    await primary.send(packet=packet_out(frame(), act=REFLECT))
    values = {item.metadata_id: item.value for item in (await primary.receive("packet")).metadata}
    assert values == {1: b"\x01\xfe", 2: b"\0", 3: b"\1"}
    assert [field.bitwidth for field in P4INFO.controller_packet_metadata[1].metadata] == [9, 7, 16]


async def test_packets_for_ports_that_are_not_there_are_counted() -> None:
    async with running_softswitch({}) as target, Client(target) as client:
        await client.commit()
        await client.send(packet=packet_out(frame(), act=FORWARD, port=4))
        await client.send(packet=packet_out(frame(), act=DIGEST))
        await client.send(packet=packet_out(frame(), act=REFLECT))
        await client.receive("packet")
        assert target.switch is not None
        assert {drop.name: count for drop, count in target.switch.drops.items()} == {"UNKNOWN_PORT": 1}
