"""The packets of a data-path probe [H1]: Ethernet, IPv4 (RFC 791) and TCP (RFC 9293), written and read by hand."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag
from ipaddress import IPv4Address

from pentaflow.checksum import internet_checksum

_ETHERTYPE_IPV4 = 0x0800
_PROTOCOL_TCP = 6
_ETHERNET = struct.Struct("!6s6sH")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_TCP = struct.Struct("!HHIIBBHHH")
_TTL = 64
_MSS_OPTION = bytes((2, 4)) + (1460).to_bytes(2, "big")
_WINDOW = 65_535
_DONT_FRAGMENT = 0x4000


class TcpFlags(IntFlag):
    """The flags that probes send and look at."""

    FIN = 0x01
    SYN = 0x02
    RST = 0x04
    ACK = 0x10


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A TCP segment without data, in its packet."""

    src_mac: int
    dst_mac: int
    src: IPv4Address
    dst: IPv4Address
    src_port: int
    dst_port: int
    seq: int
    ack: int = 0
    flags: TcpFlags


def encode_segment(segment: Segment) -> bytes:
    """The frame, checksums included; a SYN offers the MSS of Ethernet."""
    options = _MSS_OPTION if TcpFlags.SYN in segment.flags else b""
    length = _TCP.size + len(options)

    def tcp(checksum: int) -> bytes:
        header = _TCP.pack(
            segment.src_port,
            segment.dst_port,
            segment.seq,
            segment.ack,
            length // 4 << 4,
            segment.flags,
            _WINDOW if TcpFlags.SYN in segment.flags else 0,
            checksum,
            0,
        )
        return header + options

    def ipv4(checksum: int) -> bytes:
        return _IPV4.pack(
            0x45,
            0,
            _IPV4.size + length,
            0,
            _DONT_FRAGMENT,
            _TTL,
            _PROTOCOL_TCP,
            checksum,
            segment.src.packed,
            segment.dst.packed,
        )

    pseudo_header = segment.src.packed + segment.dst.packed + struct.pack("!HH", _PROTOCOL_TCP, length)
    ethernet = _ETHERNET.pack(segment.dst_mac.to_bytes(6, "big"), segment.src_mac.to_bytes(6, "big"), _ETHERTYPE_IPV4)
    return ethernet + ipv4(internet_checksum(ipv4(0))) + tcp(internet_checksum(pseudo_header + tcp(0)))


def maybe_decode_segment(frame: bytes) -> Segment | None:
    """The segment in an untagged frame; None when it is anything else, is cut short or a checksum is wrong."""
    offset = _ETHERNET.size
    if len(frame) < offset + _IPV4.size + _TCP.size:
        return None
    dst_mac, src_mac, ether_type = _ETHERNET.unpack_from(frame)
    version_length, _, total, _, fragment, _, protocol, _, src, dst = _IPV4.unpack_from(frame, offset)
    header_length = (version_length & 0xF) * 4
    if ether_type != _ETHERTYPE_IPV4 or version_length >> 4 != 4 or protocol != _PROTOCOL_TCP:
        return None
    if header_length < _IPV4.size or total < header_length + _TCP.size or offset + total > len(frame):
        return None
    if fragment & 0x3FFF:  # more fragments, or not the first
        return None
    tcp = frame[offset + header_length : offset + total]
    pseudo_header = src + dst + struct.pack("!HH", _PROTOCOL_TCP, len(tcp))
    if internet_checksum(frame[offset : offset + header_length]) or internet_checksum(pseudo_header + tcp):
        return None
    src_port, dst_port, seq, ack, _, flags, _, _, _ = _TCP.unpack_from(tcp)
    return Segment(
        src_mac=int.from_bytes(src_mac, "big"),
        dst_mac=int.from_bytes(dst_mac, "big"),
        src=IPv4Address(src),
        dst=IPv4Address(dst),
        src_port=src_port,
        dst_port=dst_port,
        seq=seq,
        ack=ack,
        flags=TcpFlags(flags),
    )
