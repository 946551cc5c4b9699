"""The packets of a data-path probe of a UDP service [H1] [B11].

UDP (RFC 768) over IPv4 (RFC 791) or IPv6 (RFC 8200), and the errors of ICMP (RFC 792) and ICMPv6 (RFC 4443).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from pentaflow.addresses import IpAddress
from pentaflow.checksum import internet_checksum

_ETHERTYPE_IPV4 = b"\x08\x00"
_ETHERTYPE_IPV6 = b"\x86\xdd"
_PROTOCOL_ICMP = 1
_PROTOCOL_UDP = 17
_PROTOCOL_ICMPV6 = 58
# Type and code of "port unreachable", by protocol.
_PORT_UNREACHABLE = {_PROTOCOL_ICMP: bytes((3, 3)), _PROTOCOL_ICMPV6: bytes((1, 4))}
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_UDP = struct.Struct("!HHHH")
_ETHERNET_SIZE = 14
_ICMP_SIZE = 8
_TTL = 64
_FRAGMENT_OFFSET = 0x1FFF


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


class _Packet(NamedTuple):
    protocol: int
    src: IpAddress
    dst: IpAddress
    body: bytes


def encode_datagram(datagram: Datagram) -> bytes:
    """The frame, checksums included."""
    addresses = datagram.src.packed + datagram.dst.packed
    length = _UDP.size + len(datagram.payload)

    def udp(checksum: int) -> bytes:
        return _UDP.pack(datagram.src_port, datagram.dst_port, length, checksum) + datagram.payload

    def ipv4(checksum: int) -> bytes:
        total = _IPV4.size + length
        return _IPV4.pack(0x45, 0, total, 0, 0, _TTL, _PROTOCOL_UDP, checksum, addresses[:4], addresses[4:])

    if isinstance(datagram.src, IPv4Address):
        ip = _ETHERTYPE_IPV4 + ipv4(internet_checksum(ipv4(0)))
    else:
        ip = _ETHERTYPE_IPV6 + _IPV6.pack(6 << 28, length, _PROTOCOL_UDP, _TTL, addresses[:16], addresses[16:])
    macs = datagram.dst_mac.to_bytes(6, "big") + datagram.src_mac.to_bytes(6, "big")
    checksum = internet_checksum(_pseudo_header(addresses, _PROTOCOL_UDP, length) + udp(0))
    return macs + ip + udp(checksum or 0xFFFF)  # 0 means that there is none


def maybe_decode_answer(frame: bytes) -> UdpAnswer | None:
    """The answer in an untagged frame; None when it is anything else, is cut short or a header's checksum is wrong.

    Of an answer in IPv4 fragments the first one counts, so what follows the ports is not looked at. One behind IPv6
    extension headers is ignored.
    """
    if frame[12:_ETHERNET_SIZE] not in (_ETHERTYPE_IPV4, _ETHERTYPE_IPV6):
        return None
    found = _maybe_packet(frame[_ETHERNET_SIZE:])
    if found is None:
        return None
    protocol, src, dst, body = found
    if protocol == _PROTOCOL_UDP and len(body) >= _UDP.size:
        src_port, dst_port, _, _ = _UDP.unpack_from(body)
        return UdpAnswer(src=src, dst=dst, src_port=src_port, dst_port=dst_port, is_refusal=False)
    if body[:2] != _PORT_UNREACHABLE.get(protocol) or not _is_intact(found):
        return None
    quoted = _maybe_packet(body[_ICMP_SIZE:], is_quoted=True)
    if quoted is None or quoted.protocol != _PROTOCOL_UDP or len(quoted.body) < _UDP.size or quoted.dst != src:
        return None
    asked_from, asked, _, _ = _UDP.unpack_from(quoted.body)
    return UdpAnswer(src=src, dst=dst, src_port=asked, dst_port=asked_from, is_refusal=True)


def _is_intact(icmp: _Packet) -> bool:
    """Whether the checksum of an ICMP error is right; that of ICMPv6 is over the pseudo-header, too."""
    addresses = icmp.src.packed + icmp.dst.packed
    is_v6 = icmp.protocol == _PROTOCOL_ICMPV6
    pseudo_header = _pseudo_header(addresses, _PROTOCOL_ICMPV6, len(icmp.body)) if is_v6 else b""
    return not internet_checksum(pseudo_header + icmp.body)


def _pseudo_header(addresses: bytes, protocol: int, length: int) -> bytes:
    """Of RFC 768 or RFC 8200 (section 8.1): as 16-bit words they differ in zeros only."""
    return addresses + struct.pack("!HH", protocol, length)


def _maybe_packet(packet: bytes, *, is_quoted: bool = False) -> _Packet | None:
    """A packet of either family; of one that is quoted in an error, as much payload as there is."""
    if packet[:1] and packet[0] >> 4 == 6:
        return _maybe_ipv6(packet, is_quoted=is_quoted)
    if len(packet) < _IPV4.size:
        return None
    version_length, _, total, _, fragment, _, protocol, _, src, dst = _IPV4.unpack_from(packet)
    length = (version_length & 0xF) * 4
    if version_length >> 4 != 4 or length < _IPV4.size or fragment & _FRAGMENT_OFFSET:
        return None
    if total < length or (total > len(packet) and not is_quoted) or internet_checksum(packet[:length]):
        return None
    return _Packet(protocol, IPv4Address(src), IPv4Address(dst), packet[length:total])


def _maybe_ipv6(packet: bytes, *, is_quoted: bool) -> _Packet | None:
    if len(packet) < _IPV6.size:
        return None
    _, length, protocol, _, src, dst = _IPV6.unpack_from(packet)
    if _IPV6.size + length > len(packet) and not is_quoted:
        return None
    return _Packet(protocol, IPv6Address(src), IPv6Address(dst), packet[_IPV6.size : _IPV6.size + length])
