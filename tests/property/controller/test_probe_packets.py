"""The packet reader never fails, and reads what the writer writes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from controller.prober import Prober
from controller.tcp_probe import Segment, TcpFlags, encode_segment, maybe_decode_segment
from pentaflow.config import Configuration
from support.configurations import small_document

macs = st.integers(0, (1 << 48) - 1)
address_pairs = st.one_of(
    st.tuples(*[st.integers(0, (1 << 32) - 1).map(IPv4Address)] * 2),
    st.tuples(*[st.integers(0, (1 << 128) - 1).map(IPv6Address)] * 2),
)
ports = st.integers(0, 65_535)
numbers = st.integers(0, (1 << 32) - 1)
flags = st.sampled_from([TcpFlags.SYN, TcpFlags.RST, TcpFlags.SYN | TcpFlags.ACK, TcpFlags.RST | TcpFlags.ACK])
# Traffic class, flow label and hop limit are not covered by any checksum of IPv6 (RFC 8200).
COVERED = {4: [*range(14, 54)], 6: [*range(18, 21), *range(22, 74)]}


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    src, dst = draw(address_pairs)
    return Segment(
        src_mac=draw(macs),
        dst_mac=draw(macs),
        src=src,
        dst=dst,
        src_port=draw(ports),
        dst_port=draw(ports),
        seq=draw(numbers),
        ack=draw(numbers),
        flags=draw(flags),
    )


@given(segment=segments(), padding=st.binary(max_size=20))
def test_what_is_written_is_read(segment: Segment, padding: bytes) -> None:
    assert maybe_decode_segment(encode_segment(segment) + padding) == segment


@given(segment=segments(), bit=st.integers(0, 7), data=st.data())
def test_one_flipped_bit_after_the_ethernet_header_is_noticed(segment: Segment, bit: int, data: st.DataObject) -> None:
    frame = bytearray(encode_segment(segment))
    frame[data.draw(st.sampled_from(COVERED[segment.src.version]))] ^= 1 << bit
    assert maybe_decode_segment(bytes(frame)) is None


@given(frame=st.binary(max_size=80), head=st.sampled_from(["", "080045", "86dd60"]))
def test_any_bytes_are_ignored_without_an_error(frame: bytes, head: str) -> None:
    configuration = Configuration.model_validate(small_document())
    prober = Prober(configuration, configuration.switches[0], key=1, now_ns=0)
    prober.run(0)
    start = bytes.fromhex("02510a0000fe020000000101" + head) if head else b""
    assert prober.receive(start + frame) == ([], [])
