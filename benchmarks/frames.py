"""TCP segments without payload, as octets (pure)."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

_ETHERTYPE_IPV4 = 0x0800
_TCP = 6
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_TCP_HEADER = struct.Struct("!HHIIBBHHH")
_VERSION_AND_LENGTH = 0x45
_TCP_OFFSET = 5 << 4

#: The smallest Ethernet frame, 64 octets, without its check sequence, which no packet socket sees.
LENGTH = 60
SYN = 0x02
ACK = 0x10


def tcp_frame(
    *, src_mac: int, dst_mac: int, src: IPv4Address, src_port: int, dst: IPv4Address, dst_port: int, flags: int
) -> bytes:
    """A segment in a frame of `LENGTH` octets, padded, with right checksums."""
    total = _IPV4.size + _TCP_HEADER.size
    ip = _IPV4.pack(_VERSION_AND_LENGTH, 0, total, 0, 0, 64, _TCP, 0, src.packed, dst.packed)
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    tcp = _TCP_HEADER.pack(src_port, dst_port, 1, 1, _TCP_OFFSET, flags, 0xFFFF, 0, 0)
    pseudo = src.packed + dst.packed + struct.pack("!HH", _TCP, len(tcp))
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
    ethernet = dst_mac.to_bytes(6, "big") + src_mac.to_bytes(6, "big") + struct.pack("!H", _ETHERTYPE_IPV4)
    return (ethernet + ip + tcp).ljust(LENGTH, b"\0")


def checksum(octets: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of octets."""
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
