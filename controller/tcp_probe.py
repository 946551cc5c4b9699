"""The packets of a data-path probe [H1]: Ethernet, IPv4 (RFC 791) or IPv6 (RFC 8200), and TCP (RFC 9293), by hand."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag
from ipaddress import IPv4Address, IPv6Address

from pentaflow.addresses import IpAddress
from pentaflow.checksum import internet_checksum

_ETHERTYPE_IPV4 = 0x0800
_ETHERTYPE_IPV6 = 0x86DD
_PROTOCOL_TCP = 6
_ETHERNET = struct.Struct("!6s6sH")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_TCP = struct.Struct("!HHIIBBHHH")
_TTL = 64
_MSS_OPTIONS = {4: bytes((2, 4)) + (1460).to_bytes(2, "big"), 6: bytes((2, 4)) + (1440).to_bytes(2, "big")}
_WINDOW = 65_535
_DONT_FRAGMENT = 0x4000
_ANY_FRAGMENT = 0x3FFF  # more fragments, or not the first


class TcpFlags(IntFlag):
    """The flags that probes send and look at."""

    FIN = 0x01
    SYN = 0x02
    RST = 0x04
    ACK = 0x10


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A TCP segment without data, in its packet; both addresses are of one family."""

    src_mac: int
    dst_mac: int
    src: IpAddress
    dst: IpAddress
    src_port: int
    dst_port: int
    seq: int
    ack: int = 0
    flags: TcpFlags


def encode_segment(segment: Segment) -> bytes:
    """The frame, checksums included; a SYN offers the MSS of Ethernet."""
    is_v4 = isinstance(segment.src, IPv4Address)
    options = _MSS_OPTIONS[segment.src.version] if TcpFlags.SYN in segment.flags else b""
    addresses = segment.src.packed + segment.dst.packed
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

    ethernet = _ETHERNET.pack(
        segment.dst_mac.to_bytes(6, "big"),
        segment.src_mac.to_bytes(6, "big"),
        _ETHERTYPE_IPV4 if is_v4 else _ETHERTYPE_IPV6,
    )
    ip = _ipv4_header(addresses, length) if is_v4 else _ipv6_header(addresses, length)
    return ethernet + ip + tcp(internet_checksum(_pseudo_header(addresses, length) + tcp(0)))


def _ipv4_header(addresses: bytes, length: int) -> bytes:
    def header(checksum: int) -> bytes:
        total = _IPV4.size + length
        return _IPV4.pack(
            0x45, 0, total, 0, _DONT_FRAGMENT, _TTL, _PROTOCOL_TCP, checksum, addresses[:4], addresses[4:]
        )

    return header(internet_checksum(header(0)))


def _ipv6_header(addresses: bytes, length: int) -> bytes:
    return _IPV6.pack(6 << 28, length, _PROTOCOL_TCP, _TTL, addresses[:16], addresses[16:])


def _pseudo_header(addresses: bytes, length: int) -> bytes:
    """Of RFC 9293 (section 3.1) or RFC 8200 (section 8.1): as 16-bit words they differ in zeros only."""
    return addresses + struct.pack("!HH", _PROTOCOL_TCP, length)


def maybe_decode_segment(frame: bytes) -> Segment | None:
    """The segment in an untagged frame; None when it is anything else, is cut short or a checksum is wrong.

    One behind IPv6 extension headers is ignored, as the switch ignores it.
    """
    if len(frame) < _ETHERNET.size:
        return None
    dst_mac, src_mac, ether_type = _ETHERNET.unpack_from(frame)
    packet = frame[_ETHERNET.size :]
    if ether_type == _ETHERTYPE_IPV4:
        found = _maybe_in_ipv4(packet)
    else:
        found = _maybe_in_ipv6(packet) if ether_type == _ETHERTYPE_IPV6 else None
    if found is None:
        return None
    src, dst, tcp = found
    if len(tcp) < _TCP.size or internet_checksum(_pseudo_header(src.packed + dst.packed, len(tcp)) + tcp):
        return None
    src_port, dst_port, seq, ack, _, flags, _, _, _ = _TCP.unpack_from(tcp)
    return Segment(
        src_mac=int.from_bytes(src_mac, "big"),
        dst_mac=int.from_bytes(dst_mac, "big"),
        src=src,
        dst=dst,
        src_port=src_port,
        dst_port=dst_port,
        seq=seq,
        ack=ack,
        flags=TcpFlags(flags),
    )


def _maybe_in_ipv4(packet: bytes) -> tuple[IpAddress, IpAddress, bytes] | None:
    """Addresses and payload of a whole IPv4 packet of TCP."""
    if len(packet) < _IPV4.size:
        return None
    version_length, _, total, _, fragment, _, protocol, _, src, dst = _IPV4.unpack_from(packet)
    header_length = (version_length & 0xF) * 4
    if version_length >> 4 != 4 or protocol != _PROTOCOL_TCP or fragment & _ANY_FRAGMENT:
        return None
    if not _IPV4.size <= header_length <= total <= len(packet) or internet_checksum(packet[:header_length]):
        return None
    return IPv4Address(src), IPv4Address(dst), packet[header_length:total]


def _maybe_in_ipv6(packet: bytes) -> tuple[IpAddress, IpAddress, bytes] | None:
    """Addresses and payload of a whole IPv6 packet of TCP."""
    if len(packet) < _IPV6.size:
        return None
    version_class_flow, length, next_header, _, src, dst = _IPV6.unpack_from(packet)
    if version_class_flow >> 28 != 6 or next_header != _PROTOCOL_TCP or _IPV6.size + length > len(packet):
        return None
    return IPv6Address(src), IPv6Address(dst), packet[_IPV6.size : _IPV6.size + length]
