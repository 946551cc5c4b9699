"""Learning: one digest for a new station, none for a known one, and another when it moves."""

from __future__ import annotations

import itertools
import queue

import finsy as fy
import pytest
from scapy.packet import Raw

from support.control import Entity
from support.packets import LAYER_2, SERVER, ethernet, station
from support.targets import CPU_PORT, WAIT_S, Target

pytestmark = pytest.mark.root

numbers = itertools.count(1)


@pytest.fixture
def mac() -> int:
    """A station that the switch has not seen yet."""
    return 0x02_00_00_AA_00_00 + next(numbers)


def send(target: Target, mac: int, port: int, *, vlan: int | None = None) -> None:
    target.run(port, bytes(ethernet(mac.to_bytes(6).hex(":"), SERVER.mac, vlan=vlan) / Raw(b"hello")))


def learnt(target: Target) -> list[tuple[int, int, int]]:
    """All (VLAN, MAC, port) learnt until now: those before a new station that is seen last."""
    last = 0x02_00_00_BB_00_00 + next(numbers)
    send(target, last, 1)
    found: list[tuple[int, int, int]] = []
    while True:
        digest = target.control.digests.get(timeout=WAIT_S)
        target.control.acknowledge(digest)
        for item in digest:
            if item["src_mac"] == last:
                return found
            found.append((item["vlan_id"], item["src_mac"], item["ingress_port"]))


def known_station(mac: int, port: int, *, vlan: int = 0) -> Entity:
    match = fy.Match(vlan_id=vlan, src_mac=mac, ingress_port=port)
    return fy.P4TableEntry("smac", match=match, action=fy.Action("known"))


@pytest.fixture(autouse=True)
def layer_2(target: Target) -> None:
    target.set_state(*LAYER_2, station(SERVER))
    learnt(target)


def test_a_new_station_is_learnt_once_however_much_it_sends(target: Target, mac: int) -> None:
    for _ in range(5):
        send(target, mac, 2)
    assert learnt(target) == [(0, mac, 2)]


def test_a_known_station_is_not_learnt_again(target: Target, mac: int) -> None:
    target.control.insert(known_station(mac, 2))
    send(target, mac, 2)
    assert learnt(target) == []


def test_a_station_on_another_port_is_learnt_anew(target: Target, mac: int) -> None:
    target.control.insert(known_station(mac, 2))
    send(target, mac, 3)
    assert learnt(target) == [(0, mac, 3)]


def test_a_station_in_another_vlan_is_learnt_there(target: Target, mac: int) -> None:
    target.control.insert(known_station(mac, 2))
    send(target, mac, 2, vlan=20)
    assert learnt(target) == [(20, mac, 2)]


def test_many_stations_are_learnt_each_once(target: Target) -> None:
    macs = [0x02_00_00_CC_00_00 + number for number in range(20)]
    for mac in macs * 2:
        send(target, mac, 4)
    assert learnt(target) == [(0, mac, 4) for mac in macs]


def test_a_group_address_is_not_learnt(target: Target) -> None:
    send(target, 0x03_00_00_00_00_01, 2)
    assert learnt(target) == []


def test_frames_that_the_controller_submits_teach_nothing(target: Target, mac: int) -> None:
    send(target, mac, CPU_PORT)
    assert learnt(target) == []


def test_frames_for_a_vip_teach_too(target: Target, mac: int) -> None:
    target.control.insert(
        fy.P4TableEntry("admit", match=fy.Match(vlan_id=0, dst_mac=SERVER.mac), action=fy.Action("admit_to_scheduler"))
    )
    send(target, mac, 2)
    assert learnt(target) == [(0, mac, 2)]


def test_no_digest_is_left_over(target: Target, mac: int) -> None:
    send(target, mac, 2)
    assert learnt(target) == [(0, mac, 2)]
    with pytest.raises(queue.Empty):
        target.control.digests.get_nowait()
