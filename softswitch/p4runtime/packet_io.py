"""Packet-in and packet-out: metadata ↔ the header in front of the packet (P4Runtime 1.5, "Packet I/O").

The pipeline sees a packet-out as a frame that arrives on the CPU port behind the `packet_out` header, and a frame that
it sends to the CPU port starts with the `packet_in` header.
"""

from __future__ import annotations

from pentaflow.p4runtime import p4r
from softswitch.p4runtime.bytestrings import decode_bits, encode_bits
from softswitch.p4runtime.p4info import PacketHeaderInfo
from softswitch.p4runtime.status import Code, RequestError


def packet_out_frame(message: p4r.PacketOut, header: PacketHeaderInfo | None) -> bytes:
    """The frame that a packet-out stands for.

    Raises:
        RequestError: INVALID_ARGUMENT unless the metadata are exactly the fields of the header.
    """
    given: dict[int, bytes] = {}
    for metadata in message.metadata:
        if metadata.metadata_id in given:
            raise RequestError(Code.INVALID_ARGUMENT, f"metadata {metadata.metadata_id} is given twice")
        given[metadata.metadata_id] = metadata.value
    packed = 0
    for field in header.fields if header is not None else ():
        if field.id not in given:
            raise RequestError(Code.INVALID_ARGUMENT, f"metadata '{field.name}' of the packet-out is missing")
        what = f"metadata '{field.name}' of the packet-out"
        try:
            packed = packed << field.width | decode_bits(given.pop(field.id), field.width, what)
        except RequestError as error:
            raise RequestError(Code.INVALID_ARGUMENT, error.message) from None
    if given:
        raise RequestError(Code.INVALID_ARGUMENT, f"packet-outs have no metadata {min(given)}")
    width = header.width if header is not None else 0
    return packed.to_bytes(width // 8, "big") + message.payload


def packet_in_message(frame: bytes, header: PacketHeaderInfo | None) -> p4r.PacketIn | None:
    """The packet-in for a frame that left through the CPU port; None when it is too short to hold the header."""
    length = header.width // 8 if header is not None else 0
    if len(frame) < length:
        return None
    packed = int.from_bytes(frame[:length], "big")
    left = 8 * length
    message = p4r.PacketIn(payload=frame[length:])
    for field in header.fields if header is not None else ():
        left -= field.width
        value = packed >> left & (1 << field.width) - 1
        message.metadata.add(metadata_id=field.id, value=encode_bits(value))
    return message
