"""Split buckets: what began before the split stays on the old slot, what begins now goes to the new one [D6]."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP

from support.control import Entity
from support.packets import (
    BUCKETS,
    CLIENT,
    HTTPS,
    LAYER_2,
    NODE1,
    NODE2,
    VIP,
    VSERVER_ID,
    Station,
    admitted,
    entry,
    slot,
    tcp_to_vip,
    to_vip,
    vserver,
    with_destination,
)
from support.scheduler import Scheduler
from support.targets import Target

pytestmark = pytest.mark.root

TICK_NS = 1_024_000
CELLS = 65_536
OLD, NEW = NODE1, NODE2
# A port that no test has used before: the filter is not emptied between tests.
ports = itertools.count(20_000)


def split(number: int, *, window: int) -> Entity:
    match = {"vserver_id": VSERVER_ID, "bucket": number}
    return entry("bucket", "split_slot", match, new_slot=1, old_slot=0, window=window)


def state(*, window: int, buckets: int = 1, protocol: int = 6) -> tuple[Entity, ...]:
    """A vserver all of whose buckets are split between OLD and NEW."""
    return (
        *LAYER_2,
        admitted(),
        vserver(buckets=buckets, protocol=protocol),
        *(split(number, window=window) for number in range(buckets)),
        slot(0, OLD),
        slot(1, NEW),
    )


AN_HOUR = 3600 * 1_000_000_000 // TICK_NS


def reaches(target: Target, node: Station, frame: bytes) -> bool:
    return target.run(CLIENT.port, frame).frames == {node.port: [with_destination(frame, node.mac)]}


def test_a_flow_that_begins_now_goes_to_the_new_slot(target: Target) -> None:
    target.set_state(*state(window=AN_HOUR))
    sport = next(ports)
    for flags in ("S", "A", "PA", "FA", "RA"):
        assert reaches(target, NEW, tcp_to_vip(sport=sport, flags=flags)), flags


def test_a_flow_that_is_older_than_the_split_stays(target: Target) -> None:
    target.set_state(*state(window=AN_HOUR))
    sport = next(ports)
    for flags in ("A", "PA", "SA", "FA", "RA"):
        assert reaches(target, OLD, tcp_to_vip(sport=sport, flags=flags)), flags


def test_flows_of_one_bucket_do_not_disturb_each_other(target: Target) -> None:
    target.set_state(*state(window=AN_HOUR, buckets=BUCKETS))
    old, new = next(ports), next(ports)
    assert reaches(target, OLD, tcp_to_vip(sport=old, flags="A"))
    assert reaches(target, NEW, tcp_to_vip(sport=new))
    assert reaches(target, OLD, tcp_to_vip(sport=old, flags="A"))
    assert reaches(target, NEW, tcp_to_vip(sport=new, flags="A"))


def test_a_syn_with_ece_and_cwr_is_a_syn(target: Target) -> None:
    target.set_state(*state(window=AN_HOUR))
    assert reaches(target, NEW, tcp_to_vip(sport=next(ports), flags="SEC"))


def test_udp_has_no_beginning_and_stays(target: Target) -> None:
    target.set_state(*state(window=AN_HOUR, protocol=17))
    ip = IP(src=CLIENT.address, dst=VIP.address)
    assert reaches(target, OLD, to_vip(ip / UDP(sport=next(ports), dport=HTTPS) / bytes(20)))


def test_an_icmp_error_goes_where_its_flow_goes(target: Target) -> None:
    target.set_state(*state(window=AN_HOUR))
    old, new = next(ports), next(ports)
    assert reaches(target, NEW, tcp_to_vip(sport=new))
    for sport, node in ((old, OLD), (new, NEW)):
        quoted = IP(src=VIP.address, dst=CLIENT.address) / TCP(sport=HTTPS, dport=sport)
        assert reaches(target, node, to_vip(IP(src="198.51.100.1", dst=VIP.address) / ICMP(type=3, code=4) / quoted))


def goes_to(scheduler: Scheduler, sport: int, flags: str, *, now_ns: int) -> int:
    [output] = scheduler.run(tcp_to_vip(sport=sport, flags=flags), now_ns=now_ns)
    return output.port


@pytest.mark.parametrize("start", [0, 10**15, (1 << 32) * TICK_NS - 2 * TICK_NS], ids=["boot", "later", "wrap"])
def test_the_filter_forgets_a_flow_after_the_window_unless_it_is_seen(start: int) -> None:
    window = 100
    scheduler = Scheduler(*state(window=window))
    assert goes_to(scheduler, 1, "A", now_ns=start) == OLD.port, "an empty filter knows nobody"
    assert goes_to(scheduler, 1, "S", now_ns=start) == NEW.port
    for number in (1, 2, 3):
        seen = start + number * window * TICK_NS
        assert goes_to(scheduler, 1, "A", now_ns=seen) == NEW.port, "refreshed within the window each time"
    assert goes_to(scheduler, 1, "A", now_ns=seen + (window + 1) * TICK_NS) == OLD.port


@pytest.mark.parametrize("in_transit", [4_000, 16_000])
def test_the_false_positive_rate_is_as_documented(in_transit: int) -> None:
    """(1 - e^(-n/m))^2 of the flows that are older than the split, for n flows in transit and m cells."""
    rng = random.Random(in_transit)
    scheduler = Scheduler(*state(window=AN_HOUR))
    samples = 20_000
    flows = rng.sample(range(1 << 48), in_transit + samples)
    frame = bytearray(tcp_to_vip(flags="S"))

    def port_of(flow: int) -> int:
        frame[26:30] = (flow >> 16).to_bytes(4)
        frame[34:36] = (flow & 0xFFFF).to_bytes(2)
        [output] = scheduler.run(bytes(frame), now_ns=TICK_NS)
        return output.port

    assert {port_of(flow) for flow in flows[:in_transit]} == {NEW.port}
    frame[47] = 0x10  # ACK
    wrong = sum(port_of(flow) == NEW.port for flow in flows[in_transit:])
    rate = (1 - math.exp(-in_transit / CELLS)) ** 2
    assert abs(wrong - samples * rate) < 4 * math.sqrt(samples * rate * (1 - rate))
