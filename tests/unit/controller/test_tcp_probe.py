"""Probe packets against scapy, which computes every checksum by itself."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from controller.tcp_probe import Segment, TcpFlags, encode_segment, maybe_decode_segment

SYN = Segment(
    src_mac=0x02510A0000FE,
    dst_mac=0x020000000101,
    src=IPv4Address("10.0.0.254"),
    dst=IPv4Address("10.0.0.100"),
    src_port=50_000,
    dst_port=443,
    seq=0xDEADBEEF,
    flags=TcpFlags.SYN,
)

SYN_V6 = replace(
    SYN,
    src_mac=0x0253_1234_5678,
    src=IPv6Address("2001:db8::fe01"),
    dst=IPv6Address("2001:db8::100"),
)


def scapy_answer(flags: str = "SA", **ip: object) -> bytes:
    return bytes(
        Ether(src="02:00:00:00:01:01", dst="02:51:0a:00:00:fe")
        / IP(src="10.0.0.100", dst="10.0.0.254", **ip)
        / TCP(sport=443, dport=50_000, seq=7, ack=0xDEADBEF0, flags=flags, options=[("MSS", 1460), ("NOP", None)])
    )


def test_a_syn_is_what_scapy_makes_of_the_same_fields() -> None:
    golden = (
        Ether(src="02:51:0a:00:00:fe", dst="02:00:00:00:01:01")
        / IP(src="10.0.0.254", dst="10.0.0.100", id=0, flags="DF", ttl=64)
        / TCP(sport=50_000, dport=443, seq=0xDEADBEEF, flags="S", window=65_535, options=[("MSS", 1460)])
    )
    assert encode_segment(SYN) == bytes(golden)


def test_a_reset_is_what_scapy_makes_of_the_same_fields() -> None:
    reset = Segment(
        src_mac=SYN.src_mac,
        dst_mac=SYN.dst_mac,
        src=SYN.src,
        dst=SYN.dst,
        src_port=50_000,
        dst_port=443,
        seq=0xDEADBEF0,
        flags=TcpFlags.RST,
    )
    golden = (
        Ether(src="02:51:0a:00:00:fe", dst="02:00:00:00:01:01")
        / IP(src="10.0.0.254", dst="10.0.0.100", id=0, flags="DF", ttl=64)
        / TCP(sport=50_000, dport=443, seq=0xDEADBEF0, flags="R", window=0)
    )
    assert encode_segment(reset) == bytes(golden)


@pytest.mark.parametrize("padding", [b"", bytes(6)], ids=["exact", "padded to Ethernet's minimum"])
def test_an_answer_is_read(padding: bytes) -> None:
    assert maybe_decode_segment(scapy_answer() + padding) == Segment(
        src_mac=SYN.dst_mac,
        dst_mac=SYN.src_mac,
        src=SYN.dst,
        dst=SYN.src,
        src_port=443,
        dst_port=50_000,
        seq=7,
        ack=0xDEADBEF0,
        flags=TcpFlags.SYN | TcpFlags.ACK,
    )


def test_ip_options_are_skipped() -> None:
    frame = scapy_answer(options=[b"\x01\x01\x01\x00"])
    segment = maybe_decode_segment(frame)
    assert segment is not None
    assert segment.dst_port == 50_000


def corrupted(frame: bytes, at: int) -> bytes:
    return frame[:at] + bytes([frame[at] ^ 0x40]) + frame[at + 1 :]


@pytest.mark.parametrize(
    ("what", "frame"),
    [
        ("nothing", b""),
        ("cut short", scapy_answer()[:50]),
        ("another EtherType", corrupted(scapy_answer(), 13)),
        ("IP version 0", corrupted(scapy_answer(), 14)),
        ("wrong IP checksum", corrupted(scapy_answer(), 18)),
        ("wrong TCP checksum", corrupted(scapy_answer(), 40)),
        ("a fragment", scapy_answer(frag=3)),
        ("UDP", bytes(Ether(type=0x0800) / IP(proto=17) / TCP())),
        ("a length beyond the frame", scapy_answer(len=200)),
    ],
)
def test_what_is_no_whole_tcp_segment_is_ignored(what: str, frame: bytes) -> None:
    assert maybe_decode_segment(frame) is None, what


def scapy_v6(flags: str, *, src: str, dst: str, extension: Packet | None = None, **ip: object) -> bytes:
    header = IPv6(src=src, dst=dst, **ip) / extension if extension else IPv6(src=src, dst=dst, **ip)
    tcp = TCP(sport=443, dport=50_000, seq=7, ack=0xDEADBEF0, flags=flags, options=[("MSS", 1440), ("NOP", None)])
    return bytes(Ether(src="02:00:00:00:01:01", dst="02:53:12:34:56:78") / header / tcp)


def answer_v6(extension: Packet | None = None, **ip: object) -> bytes:
    return scapy_v6("SA", src="2001:db8::100", dst="2001:db8::fe01", extension=extension, **ip)


@pytest.mark.parametrize(
    ("segment", "fields"),
    [
        (SYN_V6, {"flags": "S", "window": 65_535, "options": [("MSS", 1440)]}),
        (replace(SYN_V6, flags=TcpFlags.RST), {"flags": "R", "window": 0}),
    ],
    ids=["SYN", "RST"],
)
def test_over_ipv6_it_is_what_scapy_makes_of_the_same_fields(segment: Segment, fields: dict[str, object]) -> None:
    golden = (
        Ether(src="02:53:12:34:56:78", dst="02:00:00:00:01:01")
        / IPv6(src="2001:db8::fe01", dst="2001:db8::100", hlim=64)
        / TCP(sport=50_000, dport=443, seq=0xDEADBEEF, **fields)
    )
    assert encode_segment(segment) == bytes(golden)


@pytest.mark.parametrize("padding", [b"", bytes(6)], ids=["exact", "padded"])
def test_an_answer_over_ipv6_is_read(padding: bytes) -> None:
    assert maybe_decode_segment(answer_v6(tc=0xB8, fl=0xABCDE) + padding) == Segment(
        src_mac=SYN_V6.dst_mac,
        dst_mac=SYN_V6.src_mac,
        src=SYN_V6.dst,
        dst=SYN_V6.src,
        src_port=443,
        dst_port=50_000,
        seq=7,
        ack=0xDEADBEF0,
        flags=TcpFlags.SYN | TcpFlags.ACK,
    )


@pytest.mark.parametrize(
    ("what", "frame"),
    [
        ("cut short", answer_v6()[:70]),
        ("less than a header", answer_v6()[:40]),
        ("IP version 2", corrupted(answer_v6(), 14)),
        ("wrong TCP checksum", corrupted(answer_v6(), 60)),
        ("another source", corrupted(answer_v6(), 30)),
        ("a fragment", answer_v6(IPv6ExtHdrFragment(offset=3))),
        ("behind an extension header", answer_v6(IPv6ExtHdrDestOpt())),
        ("UDP", answer_v6(nh=17)),
        ("a length beyond the frame", answer_v6(plen=200)),
        ("a length of less than TCP", answer_v6(plen=12)),
    ],
)
def test_what_is_no_whole_tcp_segment_over_ipv6_is_ignored(what: str, frame: bytes) -> None:
    assert maybe_decode_segment(frame) is None, what
