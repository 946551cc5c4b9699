"""When to probe which node through one switch, and what the answers mean [H1].

A probe is a SYN from the switch's probe address to the VIP, sent out of the node's own port to the node's own MAC, so
it takes the path that clients' packets take from the switch on. A SYN-ACK is a success and is reset at once, so that
nothing lingers at the node; a RST is a failure, and so is silence for `timeout_ms`. The initial sequence number is a
keyed hash: whoever does not see the SYN cannot answer it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from controller.addresses import probe_mac
from controller.health import Check, CheckKind, Outcome
from controller.tcp_probe import Segment, TcpFlags, encode_segment, maybe_decode_segment
from pentaflow.config import Configuration, Node, Switch, Vserver, parse_mac
from pentaflow.hash import halfsiphash

_NS_PER_MS = 1_000_000
# Probes that are due within so short a time go out together: hundreds of nodes then wake the controller up a few
# hundred times a second, not thousands of times.
_GRAIN_NS = 5 * _NS_PER_MS
# RFC 6335's dynamic ports.
_FIRST_PORT = 49_152
_PORTS = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketOut:
    """A frame to send out of a port of the switch."""

    port: int
    frame: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The outcome of one probe."""

    node_id: int
    check: Check
    outcome: Outcome


@dataclass(slots=True)
class _Target:
    node: Node
    vserver: Vserver
    check: Check
    due_ns: int


@dataclass(frozen=True, slots=True)
class _Outstanding:
    target: _Target
    syn: Segment
    sent_ns: int
    deadline_ns: int


class Prober:
    """The probes of one switch: every node at it, every vserver, each once an interval, evenly spread over it."""

    def __init__(self, configuration: Configuration, switch: Switch, *, key: int, now_ns: int) -> None:
        """`key` is a 64-bit secret of the controller."""
        health = configuration.controller.health
        self._switch = switch
        self._key = key
        self._interval_ns = health.interval_ms * _NS_PER_MS
        self._timeout_ns = health.timeout_ms * _NS_PER_MS
        pairs = [(n, v) for n in configuration.nodes if switch.name in n.ports for v in configuration.vservers]
        # In the order in which they are due, since all are probed equally often.
        self._targets = deque(
            _Target(
                node,
                vserver,
                Check(CheckKind.PATH, switch.name, vserver.name),
                now_ns + self._interval_ns * i // len(pairs) // _GRAIN_NS * _GRAIN_NS,
            )
            for i, (node, vserver) in enumerate(pairs)
        )
        self._outstanding: dict[int, _Outstanding] = {}
        self._count = 0

    def maybe_next_ns(self) -> int | None:
        """When `run` has something to do; None: never."""
        # Deadlines are in the order of sending, since all probes wait equally long.
        oldest = next(iter(self._outstanding.values()), None)
        times = ([self._targets[0].due_ns] if self._targets else []) + ([oldest.deadline_ns] if oldest else [])
        return min(times, default=None)

    def run(self, now_ns: int) -> tuple[list[PacketOut], list[Observation]]:
        """Probes that are due, and failures of those that had no answer in time.

        When it is called much too late, answers may be waiting unread: then silence is not held against the nodes.
        """
        due_ns = self.maybe_next_ns()
        is_late = due_ns is not None and now_ns - due_ns > self._timeout_ns // 2
        failures = []
        for port, probe in list(self._outstanding.items()):
            if probe.deadline_ns > now_ns:
                break
            del self._outstanding[port]
            if not is_late:
                failures.append(_observation(probe, f"no answer within {self._timeout_ns // _NS_PER_MS} ms"))
        packets = []
        while self._targets and self._targets[0].due_ns <= now_ns:
            target = self._targets.popleft()
            missed = (now_ns - target.due_ns) // self._interval_ns
            if not missed:  # after a pause every target goes on in its own time: a burst of all would be lost in part
                packets.append(self._probe(target, now_ns))
            target.due_ns += (missed + 1) * self._interval_ns
            self._targets.append(target)
        return packets, failures

    def receive(self, frame: bytes) -> tuple[list[PacketOut], list[Observation]]:
        """A frame that was addressed to the probe MAC; what answers no probe is ignored."""
        answer = maybe_decode_segment(frame)
        probe = self._outstanding.get(answer.dst_port) if answer else None
        if answer is None or probe is None:
            return [], []
        syn = probe.syn
        expected_ack = (syn.seq + 1) & 0xFFFF_FFFF
        if (answer.src, answer.src_port, answer.dst) != (syn.dst, syn.dst_port, syn.src) or answer.ack != expected_ack:
            return [], []
        if TcpFlags.ACK not in answer.flags:
            return [], []
        if TcpFlags.RST in answer.flags:
            del self._outstanding[answer.dst_port]
            return [], [_observation(probe, "connection refused")]
        if TcpFlags.SYN not in answer.flags:
            return [], []
        del self._outstanding[answer.dst_port]
        reset = Segment(
            src_mac=syn.src_mac,
            dst_mac=syn.dst_mac,
            src=syn.src,
            dst=syn.dst,
            src_port=syn.src_port,
            dst_port=syn.dst_port,
            seq=expected_ack,
            flags=TcpFlags.RST,
        )
        port = probe.target.node.ports[self._switch.name]
        return [PacketOut(port=port, frame=encode_segment(reset))], [_observation(probe, "")]

    def _probe(self, target: _Target, now_ns: int) -> PacketOut:
        self._count += 1
        port = _FIRST_PORT + self._count % _PORTS
        syn = Segment(
            src_mac=probe_mac(self._switch.probe_address),
            dst_mac=parse_mac(target.node.mac),
            src=self._switch.probe_address,
            dst=target.vserver.vip,
            src_port=port,
            dst_port=target.vserver.port,
            seq=halfsiphash(self._key, (self._count >> 32, self._count & 0xFFFF_FFFF)),
            flags=TcpFlags.SYN,
        )
        self._outstanding[port] = _Outstanding(target, syn, now_ns, now_ns + self._timeout_ns)
        return PacketOut(port=target.node.ports[self._switch.name], frame=encode_segment(syn))


def _observation(probe: _Outstanding, failure: str) -> Observation:
    return Observation(
        node_id=probe.target.node.id,
        check=probe.target.check,
        outcome=Outcome(started_ns=probe.sent_ns, failure=failure),
    )
