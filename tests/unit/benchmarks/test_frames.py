"""The generator's frames, read by scapy."""

from __future__ import annotations

from ipaddress import IPv4Address

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from benchmarks.frames import ACK, LENGTH, SYN, tcp_frame


def frame(flags: int) -> bytes:
    return tcp_frame(
        src_mac=0x020000000001,
        dst_mac=0x0250_0A00_0064,
        src=IPv4Address("10.0.0.1"),
        src_port=20_000,
        dst=IPv4Address("10.0.0.100"),
        dst_port=5001,
        flags=flags,
    )


def test_it_is_the_smallest_ethernet_frame() -> None:
    assert len(frame(SYN)) == LENGTH == 60


def test_every_field_is_in_its_place() -> None:
    packet = Ether(frame(SYN))
    assert (packet.src, packet.dst) == ("02:00:00:00:00:01", "02:50:0a:00:00:64")
    assert (packet[IP].src, packet[IP].dst, packet[IP].len) == ("10.0.0.1", "10.0.0.100", 40)
    assert (packet[TCP].sport, packet[TCP].dport, str(packet[TCP].flags)) == (20_000, 5001, "S")
    assert str(Ether(frame(ACK))[TCP].flags) == "A"


def test_the_checksums_are_right() -> None:
    packet = Ether(frame(ACK))
    seen = packet[IP].chksum, packet[TCP].chksum
    del packet[IP].chksum, packet[TCP].chksum
    computed = Ether(bytes(packet))
    assert seen == (computed[IP].chksum, computed[TCP].chksum)
