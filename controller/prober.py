"""When to probe which node through one switch, and what the answers mean [H1].

A probe is a SYN from the switch's probe address of the VIP's family to the VIP, sent out of the node's own port to the
node's own MAC, so it takes the path that clients' packets take from the switch on. A SYN-ACK is a success and is reset
at once, so that nothing lingers at the node; a RST is a failure, and so is silence for `timeout_ms`. The initial
sequence number is a keyed hash: whoever does not see the SYN cannot answer it.

A UDP service is asked with a datagram, the payload of which is configured: whatever comes back from the VIP and its
port is a success, and word from the VIP that the port is unreachable is a failure.

Silence is held against a node only when it is proved that its answer is not merely late on its way through the switch
or the controller: when the time of a probe is over, an echo is sent out of the switch's CPU port, so that the switch
gives it back at once. It comes behind every packet that the switch had for the controller before, so what has not
answered when it is back has not answered in time. One echo judges all probes whose time is over when it is sent. When
it is lost itself, the path through the switch is broken, and silence counts after all.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import takewhile

from controller.addresses import probe_mac
from controller.entries import CPU_PORT
from controller.health import Check, CheckKind, Outcome
from controller.tcp_probe import Segment, TcpFlags, encode_segment, maybe_decode_segment
from controller.udp_probe import Datagram, encode_datagram, maybe_decode_answer
from pentaflow.config import Configuration, Node, Switch, Vserver, parse_mac
from pentaflow.hash import halfsiphash
from pentaflow.modes import Protocol

# Through one switch: 256 nodes every 100 ms is the most that was measured, see docs/benchmarks.md.
MAX_PROBES_PER_S = 2_560

_NS_PER_MS = 1_000_000
# Probes that are due within so short a time go out together: hundreds of nodes then wake the controller up a few
# hundred times a second, not thousands of times.
_GRAIN_NS = 5 * _NS_PER_MS
# RFC 6335's dynamic ports.
_FIRST_PORT = 49_152
_PORTS = 16_384
# "Local experimental" (IEEE 802), for frames that are seen by the switch and the controller only.
_ETHERTYPE_ECHO = 0x88B5
_MIN_FRAME_LENGTH = 60
_ECHO_PATIENCE_NS = 500 * _NS_PER_MS


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
    question: Segment | Datagram
    sent_ns: int
    deadline_ns: int


@dataclass(slots=True)
class _Echo:
    frame: bytes
    sent_ns: int
    deadline_ns: int


class Prober:
    """The probes of one switch: every node at it, every vserver of it, each once an interval, evenly spread over it.

    Attributes:
        interval_ns: what is configured, or longer when that were more than `MAX_PROBES_PER_S`.
    """

    def __init__(self, configuration: Configuration, switch: Switch, *, key: int, now_ns: int) -> None:
        """`key` is a 64-bit secret of the controller."""
        health = configuration.controller.health
        self._switch = switch
        self._key = key
        self._timeout_ns = health.timeout_ms * _NS_PER_MS
        served = {(node.id, v.id) for v in configuration.vservers for node in configuration.serving(v)}
        pairs = [
            (n, v)
            for n in configuration.nodes
            if switch.name in n.ports
            for v in configuration.vservers
            if (n.id, v.id) in served
        ]
        self.interval_ns = max(
            health.interval_ms * _NS_PER_MS, math.ceil(len(pairs) * 1_000_000_000 / MAX_PROBES_PER_S)
        )
        # In the order in which they are due, since all are probed equally often.
        self._targets = deque(
            _Target(
                node,
                vserver,
                Check(CheckKind.PATH, switch.name, vserver.name),
                now_ns + self.interval_ns * i // len(pairs) // _GRAIN_NS * _GRAIN_NS,
            )
            for i, (node, vserver) in enumerate(pairs)
        )
        self._outstanding: dict[int, _Outstanding] = {}
        self._maybe_echo: _Echo | None = None
        self._count = 0

    def maybe_next_ns(self) -> int | None:
        """When `run` has something to do; None: never."""
        if not self._targets:
            return None
        due_ns = self._targets[0].due_ns
        if self._maybe_echo:
            return min(due_ns, self._maybe_echo.deadline_ns)
        # Deadlines are in the order of sending, since all probes wait equally long.
        oldest = next(iter(self._outstanding.values()), None)
        return min(due_ns, oldest.deadline_ns) if oldest else due_ns

    def run(self, now_ns: int) -> tuple[list[PacketOut], list[Observation]]:
        """Probes that are due, an echo when the time of some is over, and failures when an echo is lost.

        When it is called much too late, the echo may be waiting unread: then it gets more time.
        """
        due_ns = self.maybe_next_ns()
        is_late = due_ns is not None and now_ns - due_ns > _ECHO_PATIENCE_NS // 2
        packets: list[PacketOut] = []
        failures: list[Observation] = []
        oldest = next(iter(self._outstanding.values()), None)
        if (echo := self._maybe_echo) and is_late:
            echo.deadline_ns = now_ns + _ECHO_PATIENCE_NS
        elif echo and echo.deadline_ns <= now_ns:
            failures = self._silent(now_ns, ", nor an echo through the switch")
        elif not echo and oldest and oldest.deadline_ns <= now_ns:
            packets.append(self._echo(now_ns))
        while self._targets and self._targets[0].due_ns <= now_ns:
            target = self._targets.popleft()
            missed = (now_ns - target.due_ns) // self.interval_ns
            if not missed:  # after a pause every target goes on in its own time: a burst of all would be lost in part
                packets.append(self._probe(target, now_ns))
            target.due_ns += (missed + 1) * self.interval_ns
            self._targets.append(target)
        return packets, failures

    def receive(self, frame: bytes) -> tuple[list[PacketOut], list[Observation]]:
        """A frame that was addressed to the probe MAC; what answers no probe is ignored."""
        if self._maybe_echo and frame == self._maybe_echo.frame:
            return [], self._silent(self._maybe_echo.sent_ns, "")
        answer = maybe_decode_segment(frame)
        if answer is None:
            return [], self._receive_udp(frame)
        probe = self._outstanding.get(answer.dst_port)
        if probe is None or not isinstance(probe.question, Segment):
            return [], []
        syn = probe.question
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

    def _receive_udp(self, frame: bytes) -> list[Observation]:
        answer = maybe_decode_answer(frame)
        probe = self._outstanding.get(answer.dst_port) if answer else None
        if answer is None or probe is None or not isinstance(probe.question, Datagram):
            return []
        asked = probe.question
        if (answer.src, answer.src_port, answer.dst) != (asked.dst, asked.dst_port, asked.src):
            return []
        del self._outstanding[answer.dst_port]
        return [_observation(probe, "port unreachable" if answer.is_refusal else "")]

    def _echo(self, now_ns: int) -> PacketOut:
        mac = probe_mac(self._switch.probe_addresses[0]).to_bytes(6, "big")
        secret = self._next_secret().to_bytes(4, "big")
        frame = mac + mac + _ETHERTYPE_ECHO.to_bytes(2, "big") + self._count.to_bytes(8, "big") + secret
        frame = frame.ljust(_MIN_FRAME_LENGTH, b"\0")
        self._maybe_echo = _Echo(frame, now_ns, now_ns + _ECHO_PATIENCE_NS)
        return PacketOut(port=CPU_PORT, frame=frame)

    def _silent(self, until_ns: int, why: str) -> list[Observation]:
        """The failures of the probes whose time was over then."""
        self._maybe_echo = None
        late = list(takewhile(lambda item: item[1].deadline_ns <= until_ns, self._outstanding.items()))
        for port, _ in late:
            del self._outstanding[port]
        failure = f"no answer within {self._timeout_ns // _NS_PER_MS} ms{why}"
        return [_observation(probe, failure) for _, probe in late]

    def _next_secret(self) -> int:
        """32 bits that nobody else can guess."""
        self._count += 1
        return halfsiphash(self._key, (self._count >> 32, self._count & 0xFFFF_FFFF))

    def _probe(self, target: _Target, now_ns: int) -> PacketOut:
        seq = self._next_secret()
        port = _FIRST_PORT + self._count % _PORTS
        src = self._switch.probe_address_for(target.vserver.vip)
        question: Segment | Datagram
        if target.vserver.protocol is Protocol.UDP:
            question = Datagram(
                src_mac=probe_mac(src),
                dst_mac=parse_mac(target.node.mac),
                src=src,
                dst=target.vserver.vip,
                src_port=port,
                dst_port=target.vserver.port,
                payload=bytes.fromhex(target.vserver.probe.payload),
            )
            frame = encode_datagram(question)
        else:
            question = Segment(
                src_mac=probe_mac(src),
                dst_mac=parse_mac(target.node.mac),
                src=src,
                dst=target.vserver.vip,
                src_port=port,
                dst_port=target.vserver.port,
                seq=seq,
                flags=TcpFlags.SYN,
            )
            frame = encode_segment(question)
        self._outstanding.pop(port, None)  # keeps the order of deadlines
        self._outstanding[port] = _Outstanding(target, question, now_ns, now_ns + self._timeout_ns)
        return PacketOut(port=target.node.ports[self._switch.name], frame=frame)


def _observation(probe: _Outstanding, failure: str) -> Observation:
    return Observation(
        node_id=probe.target.node.id,
        check=probe.target.check,
        outcome=Outcome(started_ns=probe.sent_ns, failure=failure),
    )
