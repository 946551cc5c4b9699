"""The packet reader never fails, and reads what the writer writes."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from controller.prober import Prober
from controller.tcp_probe import Segment, TcpFlags, encode_segment, maybe_decode_segment
from pentaflow.config import Configuration
from support.configurations import small_document

macs = st.integers(0, (1 << 48) - 1)
addresses = st.integers(0, (1 << 32) - 1).map(IPv4Address)
ports = st.integers(0, 65_535)
numbers = st.integers(0, (1 << 32) - 1)
segments = st.builds(
    Segment,
    src_mac=macs,
    dst_mac=macs,
    src=addresses,
    dst=addresses,
    src_port=ports,
    dst_port=ports,
    seq=numbers,
    ack=numbers,
    flags=st.sampled_from([TcpFlags.SYN, TcpFlags.RST, TcpFlags.SYN | TcpFlags.ACK, TcpFlags.RST | TcpFlags.ACK]),
)


@given(segment=segments, padding=st.binary(max_size=20))
def test_what_is_written_is_read(segment: Segment, padding: bytes) -> None:
    assert maybe_decode_segment(encode_segment(segment) + padding) == segment


@given(segment=segments, at=st.integers(14, 53), bit=st.integers(0, 7))
def test_one_flipped_bit_after_the_ethernet_header_is_noticed(segment: Segment, at: int, bit: int) -> None:
    frame = bytearray(encode_segment(segment))
    frame[at] ^= 1 << bit
    assert maybe_decode_segment(bytes(frame)) is None


@given(frame=st.binary(max_size=80), prefix=st.booleans())
def test_any_bytes_are_ignored_without_an_error(frame: bytes, prefix: bool) -> None:
    configuration = Configuration.model_validate(small_document())
    prober = Prober(configuration, configuration.switches[0], key=1, now_ns=0)
    prober.run(0)
    head = bytes.fromhex("02510a0000fe020000000101080045") if prefix else b""
    assert prober.receive(head + frame) == ([], [])
