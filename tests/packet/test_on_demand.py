"""A bucket without a slot: the controller is asked, as often as the vserver allows; else the packet is dropped [D7]."""

from __future__ import annotations

import finsy as fy
import pytest

from support.control import Entity
from support.packets import (
    BUCKETS,
    CLIENT,
    LAYER_2,
    NODE1,
    VSERVER_ID,
    Row,
    admitted,
    bucket,
    drop_reasons,
    hash_bucket,
    slot,
    tcp_to_vip,
    vserver,
    with_destination,
)
from support.scheduler import Scheduler
from support.targets import CPU_PORT, Target

pytestmark = pytest.mark.root

REASON_UNASSIGNED = 2
SPORT = 40000
SYN = tcp_to_vip(sport=SPORT)
TIME_SLOT_NS = 16_384_000
LIMIT = 5
AMPLE = 1000


def state(*, limit: int, vserver_id: int = VSERVER_ID, buckets: int = BUCKETS) -> tuple[Entity, ...]:
    """A vserver none of whose buckets has a slot."""
    return (
        *LAYER_2,
        admitted(),
        vserver(packet_in_limit=limit, vserver_id=vserver_id, buckets=buckets),
        slot(0, NODE1),
    )


def question(frame: bytes, number: int, *, port: int = CLIENT.port) -> fy.P4PacketIn:
    metadata = {"ingress_port": port, "reason": REASON_UNASSIGNED, "vserver_id": VSERVER_ID, "bucket": number}
    return fy.P4PacketIn(frame, metadata=metadata)


ROWS = [
    *(
        Row(
            sentence=f"the controller gets the packet with its vserver and bucket ({sport})",
            state=state(limit=AMPLE),
            frame=tcp_to_vip(sport=sport),
            packet_in=question(tcp_to_vip(sport=sport), hash_bucket(sport)),
        )
        for sport in (40000, 40001)
    ),
    Row(
        sentence="tagged, as it came",
        state=(*state(limit=AMPLE), admitted(vlan=20)),
        frame=tcp_to_vip(sport=SPORT, vlan=20),
        packet_in=question(tcp_to_vip(sport=SPORT, vlan=20), hash_bucket(SPORT)),
    ),
    Row(
        sentence="a vserver that does not want to be asked has it dropped",
        state=state(limit=0),
        frame=SYN,
        dropped="UNASSIGNED_BUCKET",
    ),
    Row(
        sentence="an assigned bucket is no question",
        state=(*state(limit=AMPLE), bucket(hash_bucket(SPORT), 0)),
        frame=SYN,
        out={NODE1.port: with_destination(SYN, NODE1.mac)},
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.sentence)
def test_row(target: Target, row: Row) -> None:
    assert row.run(target) == row.expected()


def test_what_the_controller_submits_does_not_come_back(target: Target) -> None:
    target.set_state(*state(limit=AMPLE))
    outcome = target.run(CPU_PORT, SYN)
    assert outcome.frames == {}
    assert outcome.packet_ins == []
    assert list(outcome.drops) == [drop_reasons()["UNASSIGNED_BUCKET"]]


def test_the_controller_assigns_the_bucket_and_sends_the_packet_on(target: Target) -> None:
    target.set_state(*state(limit=AMPLE))
    [asked] = target.run(CLIENT.port, SYN).packet_ins
    target.control.insert(bucket(asked.metadata["bucket"], 0))
    assert target.run(CPU_PORT, asked.payload).frames == {NODE1.port: [with_destination(SYN, NODE1.mac)]}


def test_every_packet_is_a_question_or_counted(target: Target) -> None:
    target.set_state(*state(limit=1))
    for _ in range(20):
        outcome = target.run(CLIENT.port, SYN)
        counted = outcome.drops == {drop_reasons()["PACKET_IN_LIMIT"]: (1, len(SYN))}
        assert (outcome.packet_ins, counted) in [([question(SYN, hash_bucket(SPORT))], False), ([], True)]


def asked(scheduler: Scheduler, *, count: int, now_ns: int) -> int:
    """How many of so many packets go to the controller."""
    return sum(output.port == CPU_PORT for _ in range(count) for output in scheduler.run(SYN, now_ns=now_ns))


def test_the_limit_holds_in_each_time_slot() -> None:
    scheduler = Scheduler(*state(limit=LIMIT))
    limited = drop_reasons()["PACKET_IN_LIMIT"]
    for number in (1, 2, 3, 70_000):
        before = scheduler.drops(limited)
        start = number * TIME_SLOT_NS
        assert asked(scheduler, count=3, now_ns=start) == 3
        assert asked(scheduler, count=LIMIT, now_ns=start + TIME_SLOT_NS - 1000) == LIMIT - 3
        assert scheduler.drops(limited) - before == 3


def test_vservers_have_limits_of_their_own() -> None:
    scheduler = Scheduler(*state(limit=LIMIT), vserver(port=8443, vserver_id=VSERVER_ID + 1, packet_in_limit=1))
    assert asked(scheduler, count=LIMIT + 1, now_ns=0) == LIMIT
    other = tcp_to_vip(dport=8443)
    assert [output.port for _ in range(2) for output in scheduler.run(other)] == [CPU_PORT]


def test_no_question_is_sent_when_there_is_no_vserver() -> None:
    scheduler = Scheduler(*state(limit=LIMIT))
    assert scheduler.run(tcp_to_vip(dport=80)) == []
