"""Virtio-net headers of frames: deferred checksums, segmentation; and VLAN tags that the kernel took off.

The header (Virtual I/O Device 1.2, 5.1.6) goes out as it came in, so that deferred checksums stay deferred and
super-packets pass whole. Its offsets count from the start of the frame: where the pipeline, or a VLAN tag, moves the
packet they move with it.
"""

from __future__ import annotations

import struct

NO_OFFLOAD = bytes(10)
VLAN_TAG_LENGTH = 4

_HEADER = struct.Struct("=BBHHHH")  # flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
_TAG = struct.Struct("!HH")
_NEEDS_CSUM = 1
_ADDRESSES_LENGTH = 12


def shift_offsets(header: bytes, by: int) -> bytes:
    """The header for a frame that got `by` bytes longer at its front."""
    if not by or header == NO_OFFLOAD:
        return header
    flags, gso_type, header_length, gso_size, csum_start, csum_offset = _HEADER.unpack(header)
    if flags & _NEEDS_CSUM:
        csum_start += by
    if header_length:
        header_length += by
    if not (0 <= csum_start <= 0xFFFF and 0 <= header_length <= 0xFFFF):
        return NO_OFFLOAD
    return _HEADER.pack(flags, gso_type, header_length, gso_size, csum_start, csum_offset)


def restore_vlan_tag(buffer: bytearray, tpid: int, tci: int) -> None:
    """Put an 802.1Q tag back into a frame that starts `VLAN_TAG_LENGTH` bytes into `buffer`; it then starts at 0."""
    buffer[:_ADDRESSES_LENGTH] = buffer[VLAN_TAG_LENGTH : VLAN_TAG_LENGTH + _ADDRESSES_LENGTH]
    _TAG.pack_into(buffer, _ADDRESSES_LENGTH, tpid, tci)


def complete_checksum(frame: bytes, header: bytes) -> bytes:
    """The frame with its deferred checksum filled in; one without is returned as it is.

    Args:
        frame: with the pseudo-header's sum where the checksum belongs.
        header: with offsets that hold for this frame.
    """
    flags, _, _, _, start, offset = _HEADER.unpack(header)
    place = start + offset
    if not flags & _NEEDS_CSUM or place + 2 > len(frame):
        return frame
    checksum = internet_checksum(frame[start:]) or 0xFFFF
    return frame[:place] + checksum.to_bytes(2, "big") + frame[place + 2 :]


def internet_checksum(data: bytes) -> int:
    """RFC 1071's checksum: the one's complement of the one's complement sum of 16-bit words."""
    if len(data) % 2:
        data += b"\0"
    # 2**16 is 1 modulo 0xFFFF, so the whole string is the sum of its words.
    total = int.from_bytes(data, "big")
    return 0xFFFF - (total % 0xFFFF or (0xFFFF if total else 0))
