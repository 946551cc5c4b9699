"""A client of a virtual array, at port 1 of its switch: connections that it opens, and the nodes that answer."""

from __future__ import annotations

from ipaddress import IPv4Address

from controller.addresses import vip_mac
from controller.tcp_probe import Segment, TcpFlags, encode_segment, maybe_decode_segment
from pentaflow.config import parse_mac
from support.virtual_array import VirtualArray, eventually

CLIENT_PORT = 1
CLIENT = IPv4Address("10.0.0.200")
CLIENT_MAC = 0x020000000201
SEQ = 1000


def send_syn(array: VirtualArray, port: int) -> None:
    """The client opens a connection from a port of its own."""
    vserver = array.configuration.vservers[0]
    segment = Segment(
        src_mac=CLIENT_MAC,
        dst_mac=vip_mac(vserver.vip),
        src=CLIENT,
        dst=vserver.vip,
        src_port=port,
        dst_port=vserver.port,
        seq=SEQ,
        ack=0,
        flags=TcpFlags.SYN,
    )
    array.inject(CLIENT_PORT, encode_segment(segment))


def answers(array: VirtualArray) -> dict[int, list[str]]:
    """Port of the client → the nodes that have answered it, once for each answer."""
    names = {parse_mac(node.mac): node.name for node in array.configuration.nodes}
    found: dict[int, list[str]] = {}
    for port, frame in array.sent:
        segment = maybe_decode_segment(frame)
        if port == CLIENT_PORT and segment and segment.dst == CLIENT and segment.ack == SEQ + 1:
            found.setdefault(segment.dst_port, []).append(names[segment.src_mac])
    return found


async def answered(array: VirtualArray, count: int) -> dict[int, list[str]]:
    async def condition() -> bool:
        return sum(map(len, answers(array).values())) >= count

    await eventually(condition, f"{count} answers to the client")
    return answers(array)
