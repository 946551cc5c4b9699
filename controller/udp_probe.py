"""The packets of a data-path probe of a UDP service [H1] [B11]: UDP (RFC 768), IPv4 (RFC 791) and ICMP (RFC 792)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from pentaflow.checksum import internet_checksum

_ETHERTYPE_IPV4 = 0x0800
_PROTOCOL_ICMP = 1
_PROTOCOL_UDP = 17
_DESTINATION_UNREACHABLE, _PORT_UNREACHABLE = 3, 3
_ETHERNET = struct.Struct("!6s6sH")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_ICMP = struct.Struct("!BBHI")
_TTL = 64
_FRAGMENT_OFFSET = 0x1FFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Datagram:
    """A UDP datagram in its packet."""

    src_mac: int
    dst_mac: int
    src: IPv4Address
    dst: IPv4Address
    src_port: int
    dst_port: int
    payload: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpAnswer:
    """What came back from `src`:`src_port` to `dst`:`dst_port`: a datagram, or word that nobody listens there."""

    src: IPv4Address
    dst: IPv4Address
    src_port: int
    dst_port: int
    is_refusal: bool


def encode_datagram(datagram: Datagram) -> bytes:
    """The frame, checksums included."""
    length = _UDP.size + len(datagram.payload)

    def udp(checksum: int) -> bytes:
        return _UDP.pack(datagram.src_port, datagram.dst_port, length, checksum) + datagram.payload

    def ipv4(checksum: int) -> bytes:
        total = _IPV4.size + length
        return _IPV4.pack(0x45, 0, total, 0, 0, _TTL, _PROTOCOL_UDP, checksum, datagram.src.packed, datagram.dst.packed)

    pseudo_header = datagram.src.packed + datagram.dst.packed + struct.pack("!HH", _PROTOCOL_UDP, length)
    ethernet = _ETHERNET.pack(datagram.dst_mac.to_bytes(6, "big"), datagram.src_mac.to_bytes(6, "big"), _ETHERTYPE_IPV4)
    checksum = internet_checksum(pseudo_header + udp(0)) or 0xFFFF  # 0 means that there is none
    return ethernet + ipv4(internet_checksum(ipv4(0))) + udp(checksum)


def maybe_decode_answer(frame: bytes) -> UdpAnswer | None:
    """The answer in an untagged frame; None when it is anything else, is cut short or the header's checksum is wrong.

    Of a fragmented answer the first fragment counts, so what follows the ports is not looked at.
    """
    found = _maybe_ipv4(frame[_ETHERNET.size :]) if frame[12:14] == _ETHERTYPE_IPV4.to_bytes(2, "big") else None
    if found is None:
        return None
    protocol, src, dst, body = found
    if protocol == _PROTOCOL_UDP and len(body) >= _UDP.size:
        src_port, dst_port, _, _ = _UDP.unpack_from(body)
        return UdpAnswer(src=src, dst=dst, src_port=src_port, dst_port=dst_port, is_refusal=False)
    if protocol != _PROTOCOL_ICMP or len(body) < _ICMP.size or internet_checksum(body):
        return None
    if body[:2] != bytes((_DESTINATION_UNREACHABLE, _PORT_UNREACHABLE)):
        return None
    quoted = _maybe_ipv4(body[_ICMP.size :], is_quoted=True)
    if quoted is None or quoted[0] != _PROTOCOL_UDP or len(quoted[3]) < _UDP.size or quoted[2] != src:
        return None
    asked_from, asked, _, _ = _UDP.unpack_from(quoted[3])
    return UdpAnswer(src=src, dst=dst, src_port=asked, dst_port=asked_from, is_refusal=True)


def _maybe_ipv4(packet: bytes, *, is_quoted: bool = False) -> tuple[int, IPv4Address, IPv4Address, bytes] | None:
    """(protocol, source, destination, payload) of a packet; of one that is quoted, as much payload as there is."""
    if len(packet) < _IPV4.size:
        return None
    version_length, _, total, _, fragment, _, protocol, _, src, dst = _IPV4.unpack_from(packet)
    length = (version_length & 0xF) * 4
    if version_length >> 4 != 4 or length < _IPV4.size or fragment & _FRAGMENT_OFFSET:
        return None
    if total < length or (total > len(packet) and not is_quoted) or internet_checksum(packet[:length]):
        return None
    return protocol, IPv4Address(src), IPv4Address(dst), packet[length:total]
