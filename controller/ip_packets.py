"""IPv4 (RFC 791) and IPv6 (RFC 8200) packets in Ethernet frames, as probes need them."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from pentaflow.addresses import IpAddress
from pentaflow.checksum import internet_checksum

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
_ETHERNET_SIZE = 14
_TTL = 64
_DONT_FRAGMENT = 0x4000
_FRAGMENT_OFFSET = 0x1FFF


class IpPacket(NamedTuple):
    """A packet without its header's options; both addresses are of one family."""

    protocol: int
    src: IpAddress
    dst: IpAddress
    payload: bytes


def encode_frame(packet: IpPacket, *, src_mac: int, dst_mac: int, dont_fragment: bool = False) -> bytes:
    """The packet in an untagged frame; `dont_fragment` is about IPv4."""
    protocol, src, dst, payload = packet
    macs = dst_mac.to_bytes(6, "big") + src_mac.to_bytes(6, "big")
    if src.version == 6:
        header = _IPV6.pack(6 << 28, len(payload), protocol, _TTL, src.packed, dst.packed)
    else:
        flags = _DONT_FRAGMENT if dont_fragment else 0

        def ipv4(checksum: int) -> bytes:
            total = _IPV4.size + len(payload)
            return _IPV4.pack(0x45, 0, total, 0, flags, _TTL, protocol, checksum, src.packed, dst.packed)

        header = ipv4(internet_checksum(ipv4(0)))
    return macs + _ETHERTYPES[src.version] + header + payload


def maybe_decode_frame(frame: bytes) -> IpPacket | None:
    """The packet in an untagged frame; None when it is anything else, is cut short or its header's checksum is wrong.

    Of IPv4 fragments the first one counts. What follows IPv6's own header counts as the payload.
    """
    packet = maybe_decode_packet(frame[_ETHERNET_SIZE:])
    if packet is None or frame[_ETHERNET_SIZE - 2 : _ETHERNET_SIZE] != _ETHERTYPES[packet.src.version]:
        return None
    return packet


def maybe_decode_packet(data: bytes, *, is_quoted: bool = False) -> IpPacket | None:
    """As `maybe_decode_frame`; of a packet that is quoted in an error, as much payload as there is."""
    if data[:1] and data[0] >> 4 == 6:
        return _maybe_decode_ipv6(data, is_quoted=is_quoted)
    if len(data) < _IPV4.size:
        return None
    version_length, _, total, _, fragment, _, protocol, _, src, dst = _IPV4.unpack_from(data)
    length = (version_length & 0xF) * 4
    if version_length >> 4 != 4 or length < _IPV4.size or fragment & _FRAGMENT_OFFSET:
        return None
    if total < length or (total > len(data) and not is_quoted) or internet_checksum(data[:length]):
        return None
    return IpPacket(protocol, IPv4Address(src), IPv4Address(dst), data[length:total])


def _maybe_decode_ipv6(data: bytes, *, is_quoted: bool) -> IpPacket | None:
    if len(data) < _IPV6.size:
        return None
    _, length, protocol, _, src, dst = _IPV6.unpack_from(data)
    if _IPV6.size + length > len(data) and not is_quoted:
        return None
    return IpPacket(protocol, IPv6Address(src), IPv6Address(dst), data[_IPV6.size : _IPV6.size + length])


def pseudo_header(src: IpAddress, dst: IpAddress, protocol: int, length: int) -> bytes:
    """Of RFC 768, RFC 9293 (section 3.1) and RFC 8200 (section 8.1): as 16-bit words they differ in zeros only."""
    return src.packed + dst.packed + struct.pack("!HH", protocol, length)
