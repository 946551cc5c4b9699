"""When probes are sent and what answers mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from controller.entries import CPU_PORT
from controller.health import CheckKind
from controller.prober import Observation, PacketOut, Prober
from controller.tcp_probe import Segment, TcpFlags, encode_segment, maybe_decode_segment
from pentaflow.config import Configuration
from support.configurations import direct_document, small_document, with_ipv6

MS = 1_000_000


def make_prober(interval_ms: int = 100, timeout_ms: int = 100) -> Prober:
    document = small_document()
    document["controller"] = {"health": {"interval_ms": interval_ms, "timeout_ms": timeout_ms}}
    configuration = Configuration.model_validate(document)
    return Prober(configuration, configuration.switches[0], key=0x0123456789ABCDEF, now_ns=0)


def syn_in(packet: PacketOut) -> Segment:
    segment = maybe_decode_segment(packet.frame)
    assert segment is not None
    return segment


def answer_to(syn: Segment, flags: TcpFlags, **changes: object) -> bytes:
    answer = Segment(
        src_mac=syn.dst_mac,
        dst_mac=syn.src_mac,
        src=syn.dst,
        dst=syn.src,
        src_port=syn.dst_port,
        dst_port=syn.src_port,
        seq=99,
        ack=(syn.seq + 1) & 0xFFFF_FFFF,
        flags=flags,
    )
    return encode_segment(replace(answer, **changes))  # type: ignore[arg-type]  # tests name the fields


SYN_ACK = TcpFlags.SYN | TcpFlags.ACK
RST_ACK = TcpFlags.RST | TcpFlags.ACK


def failures(observations: list[Observation]) -> list[tuple[int, str]]:
    return [(o.node_id, o.outcome.failure) for o in observations]


def test_a_probe_goes_out_of_the_nodes_port_to_its_mac_and_the_vip() -> None:
    ((packet,), _) = make_prober().run(0)
    syn = syn_in(packet)
    assert packet.port == 2
    assert (syn.dst_mac, str(syn.dst), syn.dst_port) == (0x020000000101, "10.0.0.100", 443)
    assert (syn.src_mac, str(syn.src), syn.flags) == (0x02510A0000FE, "10.0.0.254", TcpFlags.SYN)


def test_probes_are_spread_over_the_interval_and_repeat() -> None:
    prober = make_prober()
    sent = []
    for _ in range(5):
        due_ns = prober.maybe_next_ns()
        assert due_ns is not None
        for packet in prober.run(due_ns)[0]:
            sent.append((due_ns // MS, packet.port))
            prober.receive(answer_to(syn_in(packet), SYN_ACK))
    assert sent == [(0, 2), (50, 3), (100, 2), (150, 3), (200, 2)]


def test_a_syn_ack_is_a_success_and_is_reset() -> None:
    prober = make_prober()
    syn = syn_in(prober.run(0)[0][0])
    packets, (observation,) = prober.receive(answer_to(syn, SYN_ACK))
    assert (observation.node_id, observation.outcome.failure, observation.check.kind) == (1, "", CheckKind.PATH)
    (packet,) = packets
    reset = syn_in(packet)
    assert packet.port == 2
    assert (reset.flags, reset.seq, reset.src_port) == (TcpFlags.RST, (syn.seq + 1) & 0xFFFF_FFFF, syn.src_port)
    assert prober.receive(answer_to(syn, SYN_ACK)) == ([], []), "counted once"


def test_a_reset_is_a_failure_at_once() -> None:
    prober = make_prober()
    syn = syn_in(prober.run(0)[0][0])
    packets, observations = prober.receive(answer_to(syn, RST_ACK))
    assert packets == []
    assert failures(observations) == [(1, "connection refused")]


def test_silence_is_a_failure_when_an_echo_came_back_after_its_time() -> None:
    prober = make_prober(interval_ms=1000, timeout_ms=100)
    prober.run(0)
    assert prober.maybe_next_ns() == 100 * MS
    assert prober.run(100 * MS - 1) == ([], [])
    ((echo,), _) = prober.run(100 * MS)
    assert echo.port == CPU_PORT
    assert prober.maybe_next_ns() == 500 * MS
    assert prober.run(101 * MS) == ([], []), "one echo at a time"
    packets, observations = prober.receive(echo.frame)
    assert packets == []
    assert failures(observations) == [(1, "no answer within 100 ms")]
    assert prober.receive(echo.frame) == ([], []), "counted once"


def test_an_answer_that_was_only_late_in_the_stream_is_a_success() -> None:
    prober = make_prober(interval_ms=1000, timeout_ms=100)
    syn = syn_in(prober.run(0)[0][0])
    ((echo, *_), _) = prober.run(5000 * MS - 1)
    assert failures(prober.receive(answer_to(syn, SYN_ACK))[1]) == [(1, "")]
    assert prober.receive(echo.frame) == ([], [])


def test_an_echo_judges_what_was_over_when_it_was_sent() -> None:
    prober = make_prober(interval_ms=100, timeout_ms=100)
    prober.run(0)
    prober.run(50 * MS)
    ((first, again), _) = prober.run(100 * MS)
    prober.run(150 * MS)
    assert failures(prober.receive(first.frame)[1]) == [(1, "no answer within 100 ms")]
    ((second, *_), _) = prober.run(200 * MS)
    assert failures(prober.receive(second.frame)[1]) == [(2, "no answer within 100 ms"), (1, "no answer within 100 ms")]
    assert again.port == 2


def test_without_an_echo_silence_counts_after_half_a_second() -> None:
    prober = make_prober(interval_ms=1000, timeout_ms=100)
    prober.run(0)
    prober.run(100 * MS)
    prober.run(500 * MS)
    assert prober.maybe_next_ns() == 600 * MS
    assert failures(prober.run(600 * MS)[1]) == [
        (1, "no answer within 100 ms, nor an echo through the switch"),
        (2, "no answer within 100 ms, nor an echo through the switch"),
    ]


def test_a_late_controller_gives_the_echo_more_time() -> None:
    prober = make_prober(interval_ms=60_000, timeout_ms=100)
    prober.run(0)
    ((echo,), _) = prober.run(100 * MS)
    assert prober.run(5000 * MS) == ([], [])
    assert prober.maybe_next_ns() == 5500 * MS
    assert failures(prober.receive(echo.frame)[1]) == [(1, "no answer within 100 ms")]


def test_echoes_cannot_be_guessed_and_are_frames_of_ethernet() -> None:
    prober = make_prober(interval_ms=1000, timeout_ms=100)
    prober.run(0)
    ((echo,), _) = prober.run(100 * MS)
    assert echo.frame[:14].hex() == "02510a0000fe02510a0000fe88b5"
    assert len(echo.frame) == 60
    assert prober.receive(echo.frame[:25] + bytes((echo.frame[25] ^ 1,)) + echo.frame[26:]) == ([], [])


def test_answers_to_something_else_are_ignored() -> None:
    prober = make_prober()
    syn = syn_in(prober.run(0)[0][0])
    for what, frame in {
        "a guess at the sequence number": answer_to(syn, SYN_ACK, ack=syn.seq),
        "another port": answer_to(syn, SYN_ACK, dst_port=syn.src_port ^ 1),
        "another address": answer_to(syn, SYN_ACK, src=syn.src),
        "another service": answer_to(syn, SYN_ACK, src_port=80),
        "a reset without ACK": answer_to(syn, TcpFlags.RST),
        "an ACK alone": answer_to(syn, TcpFlags.ACK),
        "rubbish": b"\0" * 60,
    }.items():
        assert prober.receive(frame) == ([], []), what
    assert prober.receive(answer_to(syn, SYN_ACK))[1], "the real answer still counts"


def test_sequence_numbers_follow_from_the_key_and_differ() -> None:
    prober = make_prober()
    sent = [packet for now_ms in range(0, 2000, 50) for packet in prober.run(now_ms * MS)[0]]
    seqs = [syn_in(packet).seq for packet in sent if packet.port != CPU_PORT]
    assert len(set(seqs)) == len(seqs) == 40
    assert seqs[0] == syn_in(make_prober().run(0)[0][0]).seq


def test_a_late_controller_probes_every_node_in_its_own_time_again() -> None:
    prober = make_prober()
    prober.run(0)
    ((echo,), _) = prober.run(5010 * MS)
    assert echo.port == CPU_PORT, "no burst to catch up"
    sent = []
    for _ in range(3):
        due_ns = prober.maybe_next_ns()
        assert due_ns is not None
        sent += [(due_ns // MS, packet.port) for packet in prober.run(due_ns)[0]]
    assert sent == [(5050, 3), (5100, 2), (5150, 3)], "each goes on in its own time"


def test_without_targets_there_is_nothing_to_wait_for() -> None:
    document = small_document() | {"nodes": []}
    configuration = Configuration.model_validate(document)
    assert Prober(configuration, configuration.switches[0], key=1, now_ns=0).maybe_next_ns() is None


@pytest.mark.parametrize(("vservers", "interval_ms"), [(1, 100), (128, 100), (129, 100.78125), (1000, 781.25)])
def test_the_interval_is_stretched_when_a_switch_would_carry_too_many_probes(vservers: int, interval_ms: float) -> None:
    document = small_document()
    document["vservers"] = [
        document["vservers"][0] | {"name": f"web{i}", "id": i, "port": i} for i in range(1, vservers + 1)
    ]
    configuration = Configuration.model_validate(document)
    prober = Prober(configuration, configuration.switches[0], key=1, now_ns=0)
    assert prober.interval_ns == interval_ms * MS


def test_an_ipv6_vip_is_probed_from_the_address_of_its_family_beside_the_other() -> None:
    configuration = Configuration.model_validate(with_ipv6(small_document()))
    prober = Prober(configuration, configuration.switches[0], key=1, now_ns=0)
    seen = {}
    for now_ns in range(0, 100 * MS, 5 * MS):
        for packet in prober.run(now_ns)[0]:
            syn = syn_in(packet)
            resets, (observation,) = prober.receive(answer_to(syn, SYN_ACK))
            reset = syn_in(resets[0])
            assert (reset.src, reset.dst, reset.flags) == (syn.src, syn.dst, TcpFlags.RST)
            seen[observation.node_id, observation.check.vserver] = (str(syn.src), str(syn.dst), syn.src_mac >> 32)
    v4, v6 = ("10.0.0.254", "10.0.0.100", 0x0251), ("2001:db8::fe01", "2001:db8::100", 0x0253)
    assert seen == {(node, name): way for node in (1, 2) for name, way in (("web", v4), ("web6", v6))}


def test_without_ipv4_silence_is_proved_by_an_echo_all_the_same() -> None:
    document = with_ipv6(small_document())
    del document["switches"][0]["probe_address"], document["vservers"][0]
    configuration = Configuration.model_validate(document)
    prober = Prober(configuration, configuration.switches[0], key=1, now_ns=0)
    prober.run(0)
    ((echo, *_), _) = prober.run(100 * MS)
    assert echo.port == CPU_PORT
    assert failures(prober.receive(echo.frame)[1]) == [(1, "no answer within 100 ms")]


def direct_prober() -> Prober:
    configuration = Configuration.model_validate(direct_document())
    return Prober(configuration, configuration.switches[0], key=7, now_ns=0)


def answer_datagram(probe: Ether, **changes: object) -> bytes:
    fields: dict[str, object] = {"src": probe[IP].dst, "dst": probe[IP].src}
    ports: dict[str, object] = {"sport": probe[UDP].dport, "dport": probe[UDP].sport}
    ip = fields | {k: v for k, v in changes.items() if k in fields}
    udp = ports | {k: v for k, v in changes.items() if k in ports}
    return bytes(Ether() / IP(**ip) / UDP(**udp) / Raw(b"an answer"))


def test_every_node_is_probed_for_the_vservers_that_it_serves() -> None:
    prober = direct_prober()
    packets = [packet for at_ms in range(100) for packet in prober.run(at_ms * MS)[0] if packet.port != CPU_PORT]
    found = sorted((p.port, IP(p.frame[14:]).dst, IP(p.frame[14:]).proto, IP(p.frame[14:]).dport) for p in packets)
    tls = [(port, "10.0.0.100", 6, 443) for port in (2, 3)]
    direct = [(port, "10.0.0.101", *service) for port in (4, 5, 6) for service in ((6, 80), (17, 53))]
    assert found == tls + direct


def datagrams(prober: Prober) -> list[Ether]:
    frames = [Ether(packet.frame) for at_ms in range(100) for packet in prober.run(at_ms * MS)[0]]
    return [frame for frame in frames if UDP in frame]


def test_whatever_a_udp_service_answers_is_a_success_and_nothing_is_sent_back() -> None:
    prober = direct_prober()
    probe = datagrams(prober)[0]
    assert bytes(probe[UDP].payload) == b"\x00\xff"
    for changes in ({"src": "10.0.0.9"}, {"sport": 54}, {"dst": "10.0.0.9"}, {"dport": 1}):
        assert prober.receive(answer_datagram(probe, **changes)) == ([], []), changes
    packets, (observation,) = prober.receive(answer_datagram(probe))
    assert not packets
    assert (observation.node_id, observation.check.vserver, observation.outcome.failure) == (11, "dns", "")
    assert prober.receive(answer_datagram(probe)) == ([], []), "it was answered"


def test_a_port_that_nobody_listens_on_is_a_failure_at_once() -> None:
    prober = direct_prober()
    probe = datagrams(prober)[1]
    refusal = Ether() / IP(src=probe[IP].dst, dst=probe[IP].src) / ICMP(type=3, code=3) / probe[IP]
    assert failures(prober.receive(bytes(refusal))[1]) == [(12, "port unreachable")]


def test_a_segment_does_not_answer_a_datagram_nor_a_datagram_a_segment() -> None:
    prober = direct_prober()
    probe = datagrams(prober)[0]
    segment = IP(src=probe[IP].dst, dst=probe[IP].src) / TCP(sport=53, dport=probe[UDP].sport, flags="RA", ack=1)
    assert prober.receive(bytes(Ether() / segment)) == ([], [])
    (packet,), _ = make_prober().run(0)
    syn = syn_in(packet)
    assert make_prober().receive(bytes(Ether() / IP(src=str(syn.dst), dst=str(syn.src)) / UDP(sport=443))) == ([], [])
