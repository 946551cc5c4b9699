"""The packets of a data-path probe [H1]: TCP (RFC 9293) by hand."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag

from controller.ip_packets import IpPacket, encode_frame, maybe_decode_frame, pseudo_header
from pentaflow.addresses import IpAddress
from pentaflow.checksum import internet_checksum

_PROTOCOL_TCP = 6
_TCP = struct.Struct("!HHIIBBHHH")
_MSS_OPTIONS = {4: bytes((2, 4)) + (1460).to_bytes(2, "big"), 6: bytes((2, 4)) + (1440).to_bytes(2, "big")}
_WINDOW = 65_535


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
    options = _MSS_OPTIONS[segment.src.version] if TcpFlags.SYN in segment.flags else b""
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

    checksum = internet_checksum(pseudo_header(segment.src, segment.dst, _PROTOCOL_TCP, length) + tcp(0))
    packet = IpPacket(_PROTOCOL_TCP, segment.src, segment.dst, tcp(checksum))
    return encode_frame(packet, src_mac=segment.src_mac, dst_mac=segment.dst_mac, dont_fragment=True)


def maybe_decode_segment(frame: bytes) -> Segment | None:
    """The segment in an untagged frame; None when it is anything else, is cut short or a checksum is wrong.

    One behind IPv6 extension headers is ignored, as the switch ignores it.
    """
    found = maybe_decode_frame(frame)
    if found is None or found.protocol != _PROTOCOL_TCP:
        return None
    tcp = found.payload
    if len(tcp) < _TCP.size or internet_checksum(pseudo_header(found.src, found.dst, _PROTOCOL_TCP, len(tcp)) + tcp):
        return None
    src_port, dst_port, seq, ack, _, flags, _, _, _ = _TCP.unpack_from(tcp)
    return Segment(
        src_mac=int.from_bytes(frame[6:12], "big"),
        dst_mac=int.from_bytes(frame[:6], "big"),
        src=found.src,
        dst=found.dst,
        src_port=src_port,
        dst_port=dst_port,
        seq=seq,
        ack=ack,
        flags=TcpFlags(flags),
    )
