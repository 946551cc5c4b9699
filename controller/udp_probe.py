"""The packets of a data-path probe of a UDP service [H1] [B11].

UDP (RFC 768), and the errors of ICMP (RFC 792) and ICMPv6 (RFC 4443).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from controller.ip_packets import IpPacket, encode_frame, maybe_decode_frame, maybe_decode_packet, pseudo_header
from pentaflow.addresses import IpAddress
from pentaflow.checksum import internet_checksum

_PROTOCOL_ICMP = 1
_PROTOCOL_UDP = 17
_PROTOCOL_ICMPV6 = 58
# Type and code of "port unreachable", by protocol.
_PORT_UNREACHABLE = {_PROTOCOL_ICMP: bytes((3, 3)), _PROTOCOL_ICMPV6: bytes((1, 4))}
_UDP = struct.Struct("!HHHH")
_ICMP_SIZE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Datagram:
    """A UDP datagram in its packet; both addresses are of one family."""

    src_mac: int
    dst_mac: int
    src: IpAddress
    dst: IpAddress
    src_port: int
    dst_port: int
    payload: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpAnswer:
    """What came back from `src`:`src_port` to `dst`:`dst_port`: a datagram, or word that nobody listens there."""

    src: IpAddress
    dst: IpAddress
    src_port: int
    dst_port: int
    is_refusal: bool


def encode_datagram(datagram: Datagram) -> bytes:
    """The frame, checksums included."""
    length = _UDP.size + len(datagram.payload)

    def udp(checksum: int) -> bytes:
        return _UDP.pack(datagram.src_port, datagram.dst_port, length, checksum) + datagram.payload

    checksum = internet_checksum(pseudo_header(datagram.src, datagram.dst, _PROTOCOL_UDP, length) + udp(0))
    payload = udp(checksum or 0xFFFF)  # 0 means that there is none
    packet = IpPacket(_PROTOCOL_UDP, datagram.src, datagram.dst, payload)
    return encode_frame(packet, src_mac=datagram.src_mac, dst_mac=datagram.dst_mac)


def maybe_decode_answer(frame: bytes) -> UdpAnswer | None:
    """The answer in an untagged frame; None when it is anything else, is cut short or a header's checksum is wrong.

    Of an answer in IPv4 fragments the first one counts, so what follows the ports is not looked at. One behind IPv6
    extension headers is ignored.
    """
    found = maybe_decode_frame(frame)
    if found is None:
        return None
    protocol, src, dst, payload = found
    if protocol == _PROTOCOL_UDP and len(payload) >= _UDP.size:
        src_port, dst_port, _, _ = _UDP.unpack_from(payload)
        return UdpAnswer(src=src, dst=dst, src_port=src_port, dst_port=dst_port, is_refusal=False)
    if payload[:2] != _PORT_UNREACHABLE.get(protocol) or not _is_intact(found):
        return None
    quoted = maybe_decode_packet(payload[_ICMP_SIZE:], is_quoted=True)
    if quoted is None or quoted.protocol != _PROTOCOL_UDP or len(quoted.payload) < _UDP.size or quoted.dst != src:
        return None
    asked_from, asked, _, _ = _UDP.unpack_from(quoted.payload)
    return UdpAnswer(src=src, dst=dst, src_port=asked, dst_port=asked_from, is_refusal=True)


def _is_intact(icmp: IpPacket) -> bool:
    """Whether the checksum of an ICMP error is right; that of ICMPv6 is over the pseudo-header, too."""
    covered = icmp.payload
    if icmp.protocol == _PROTOCOL_ICMPV6:
        covered = pseudo_header(icmp.src, icmp.dst, _PROTOCOL_ICMPV6, len(icmp.payload)) + covered
    return not internet_checksum(covered)
