"""Packet-out and packet-in: the controller's own port."""

from __future__ import annotations

import finsy as fy
import pytest
from scapy.packet import Raw

from support.packets import (
    LAYER_2,
    SERVER,
    VIP,
    Row,
    admitted,
    drop_reasons,
    ethernet,
    known,
    station,
    tcp_to_vip,
)
from support.targets import CPU_PORT, PORTS, Outcome, Target

pytestmark = pytest.mark.root

REASON_ADDRESSED = 1
CONTROLLER_MAC = "02:51:0a:00:00:fe"
TO_CONTROLLER = bytes(ethernet(SERVER.mac, CONTROLLER_MAC) / Raw(b"an answer to a probe"))
TO_SERVER = bytes(ethernet(CONTROLLER_MAC, SERVER.mac) / Raw(b"a probe"))


def controller_station(vlan: int = 0) -> fy.P4TableEntry:
    match = fy.Match(vlan_id=vlan, dst_mac=CONTROLLER_MAC)
    return fy.P4TableEntry("dmac", match=match, action=fy.Action("forward", port=CPU_PORT))


def packet_in(frame: bytes, *, port: int) -> fy.P4PacketIn:
    metadata = {"ingress_port": port, "reason": REASON_ADDRESSED, "vserver_id": 0, "bucket": 0}
    return fy.P4PacketIn(frame, metadata=metadata)


@pytest.mark.parametrize("port", PORTS)
def test_packet_out_leaves_one_port_as_it_is(target: Target, port: int) -> None:
    target.set_state(*LAYER_2, station(SERVER), known(SERVER))
    frame = tcp_to_vip()
    outcome = target.outcome(CPU_PORT, lambda: target.control.packet_out(frame, egress_port=port))
    assert outcome == Outcome(frames={port: [frame]})


def test_packet_out_to_the_controller_comes_straight_back(target: Target) -> None:
    target.set_state(*LAYER_2)
    outcome = target.outcome(CPU_PORT, lambda: target.control.packet_out(TO_CONTROLLER, egress_port=CPU_PORT))
    assert outcome == Outcome(packet_ins=[packet_in(TO_CONTROLLER, port=CPU_PORT)])


def test_packet_out_may_be_no_ethernet_that_anybody_knows(target: Target) -> None:
    target.set_state(*LAYER_2)
    frame = bytes(range(15))
    outcome = target.outcome(CPU_PORT, lambda: target.control.packet_out(frame, egress_port=1))
    assert outcome == Outcome(frames={1: [frame]})


@pytest.mark.parametrize("port", PORTS)
def test_frames_for_the_controller_come_with_port_and_reason(target: Target, port: int) -> None:
    row = Row(
        sentence="",
        state=(*LAYER_2, controller_station()),
        port=port,
        frame=TO_CONTROLLER,
        packet_in=packet_in(TO_CONTROLLER, port=port),
    )
    assert row.run(target) == row.expected()


def test_a_tagged_frame_comes_with_its_tag(target: Target) -> None:
    frame = bytes(ethernet(SERVER.mac, CONTROLLER_MAC, vlan=20) / Raw(b"tagged"))
    target.set_state(*LAYER_2, controller_station(vlan=20))
    assert target.run(SERVER.port, frame) == Outcome(packet_ins=[packet_in(frame, port=SERVER.port)])


def test_submitted_frames_are_bridged(target: Target) -> None:
    target.set_state(*LAYER_2, station(SERVER))
    assert target.run(CPU_PORT, TO_SERVER) == Outcome(frames={SERVER.port: [TO_SERVER]})


# Linux hands on no Ethernet frame that short, nor one whose tag is cut short, so the controller has to send them.
SCRAPS = {
    "empty": b"",
    "five bytes": bytes(ethernet(SERVER.mac, VIP.mac))[:5],
    "a tag cut short": bytes(ethernet(SERVER.mac, VIP.mac))[:12] + b"\x81\x00\x00",
}


@pytest.mark.parametrize("frame", SCRAPS.values(), ids=SCRAPS)
def test_a_submitted_scrap_is_malformed(target: Target, frame: bytes) -> None:
    target.set_state(*LAYER_2, admitted())
    outcome = target.run(CPU_PORT, frame)
    assert outcome.frames == {}
    assert outcome.packet_ins == []
    assert [(index, packets) for index, (packets, _) in outcome.drops.items()] == [(drop_reasons()["MALFORMED"], 1)]
