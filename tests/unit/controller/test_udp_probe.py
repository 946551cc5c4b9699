"""The frames of UDP probes, against scapy, and what counts as an answer."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, UDP, fragment
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from controller.udp_probe import Datagram, UdpAnswer, encode_datagram, maybe_decode_answer

VIP, PROBER = "10.0.0.101", "10.0.0.254"
PROBE = Datagram(
    src_mac=0x02510A0000FE,
    dst_mac=0x020000000201,
    src=IPv4Address(PROBER),
    dst=IPv4Address(VIP),
    src_port=50_000,
    dst_port=53,
    payload=b"\x00\xff\x01",
)
ANSWER = UdpAnswer(src=IPv4Address(VIP), dst=IPv4Address(PROBER), src_port=53, dst_port=50_000, is_refusal=False)
REFUSAL = UdpAnswer(src=IPv4Address(VIP), dst=IPv4Address(PROBER), src_port=53, dst_port=50_000, is_refusal=True)


def answer(payload: bytes = b"yes") -> Packet:
    return Ether() / IP(src=VIP, dst=PROBER) / UDP(sport=53, dport=50_000) / Raw(payload)


def refusal(code: int = 3, source: str = VIP) -> Packet:
    asked = IP(encode_datagram(PROBE)[14:])
    return Ether() / IP(src=source, dst=PROBER) / ICMP(type=3, code=code) / asked


@pytest.mark.parametrize("payload", [b"", b"\x00\xff\x01", bytes(1024)])
def test_a_probe_is_the_datagram_that_scapy_would_make(payload: bytes) -> None:
    found = Ether(encode_datagram(replace(PROBE, payload=payload)))
    assert (found.src, found.dst) == ("02:51:0a:00:00:fe", "02:00:00:00:02:01")
    assert bytes(found[UDP].payload) == payload
    again = found.copy()
    del again[IP].chksum, again[UDP].chksum
    assert bytes(Ether(bytes(again))) == bytes(found), "checksums and lengths"


def test_answers_and_refusals_are_told_apart() -> None:
    assert maybe_decode_answer(bytes(answer())) == ANSWER
    assert maybe_decode_answer(bytes(answer(b""))) == ANSWER
    assert maybe_decode_answer(bytes(refusal())) == REFUSAL


def test_of_an_answer_in_fragments_the_first_one_counts() -> None:
    first, second, *_ = [bytes(Ether() / part) for part in fragment(answer(bytes(3000))[IP], 1400)]
    assert maybe_decode_answer(first) == ANSWER
    assert maybe_decode_answer(second) is None


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(bytes(refusal(code=1)), id="a host that cannot be reached is no word from the service"),
        pytest.param(bytes(refusal(source="10.0.0.9")), id="another host's word"),
        pytest.param(bytes(refusal())[:50], id="an ICMP error that is cut short"),
        pytest.param(bytes(answer())[:40], id="an answer that is cut short"),
        pytest.param(bytes(Ether() / Dot1Q(vlan=1) / answer()[IP]), id="tagged"),
        pytest.param(bytes(Ether(type=0x86DD) / Raw(bytes(60))), id="neither family"),
        pytest.param(bytes(Ether() / IP(src=VIP, dst=PROBER, chksum=1) / UDP(sport=53, dport=50_000)), id="checksum"),
    ],
)
def test_what_is_no_answer_is_none(frame: bytes) -> None:
    assert maybe_decode_answer(frame) is None


def over_ipv6(payload: Packet, **fields: object) -> Packet:
    # With a MAC of its own: for want of one scapy solicits the neighbour, for a second.
    frame = Ether(dst="02:00:00:00:00:fe")
    return frame / IPv6(**{"src": "2001:db8::101", "dst": "2001:db8::fe"} | fields) / payload


def test_ipv6_is_the_same() -> None:
    probe = replace(PROBE, src=IPv6Address("2001:db8::fe"), dst=IPv6Address("2001:db8::101"))
    found = Ether(encode_datagram(probe))
    again = found.copy()
    del again[UDP].chksum, again[IPv6].plen
    assert bytes(Ether(bytes(again))) == bytes(found), "checksum and lengths"
    answer_v6 = replace(ANSWER, src=probe.dst, dst=probe.src)
    assert maybe_decode_answer(bytes(over_ipv6(UDP(sport=53, dport=50_000) / Raw(b"yes")))) == answer_v6
    unreachable = ICMPv6DestUnreach(code=4) / found[IPv6]
    assert maybe_decode_answer(bytes(over_ipv6(unreachable))) == replace(answer_v6, is_refusal=True)
    for frame in (
        over_ipv6(ICMPv6DestUnreach(code=3) / found[IPv6]),
        over_ipv6(ICMPv6DestUnreach(code=4, cksum=1) / found[IPv6]),
        over_ipv6(unreachable, src="2001:db8::9"),
        over_ipv6(UDP(sport=53, dport=50_000), plen=200),
        over_ipv6(IPv6ExtHdrDestOpt() / UDP(sport=53, dport=50_000)),
    ):
        assert maybe_decode_answer(bytes(frame)) is None


@given(st.binary(max_size=120))
def test_anything_can_be_read(frame: bytes) -> None:
    maybe_decode_answer(frame)
    maybe_decode_answer(bytes(answer())[:14] + frame)
