"""Packets through the test programs, construct by construct."""

from __future__ import annotations

import binascii
import shutil
import struct

import pytest

from softswitch.pipeline import Digest, Engine, Output, Pipeline, Replica, load_pipeline
from softswitch.state import CLONE_SESSIONS, MAX_EGRESS_CLONES
from support.pipelines import PROGRAMS, insert, load, pack, unpack

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler (cc) on PATH")

MAC_A, MAC_B = 0x02_00_00_00_00_0A, 0x02_00_00_00_00_0B


def ethernet(ether_type: int, *, dst: int = MAC_B, src: int = MAC_A) -> bytes:
    return dst.to_bytes(6, "big") + src.to_bytes(6, "big") + struct.pack("!H", ether_type)


def internet_checksum(data: bytes) -> int:
    """RFC 1071, word by word."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ipv4(*, ttl: int = 64, dst: int = 0x0A000001, options: bytes = b"", ihl: int | None = None) -> bytes:
    words = 5 + len(options) // 4 if ihl is None else ihl
    head = struct.pack("!BBHHHBBHII", 0x40 | words, 7, 40, 0x1234, 0x4000, ttl, 6, 0, 0x0A000099, dst)
    checksum = internet_checksum(head) if not options else 0x5555
    return head[:10] + struct.pack("!H", checksum) + head[12:] + options


class TestRouter:
    """tests/p4/router.p4: varbit options, checksum update, longest prefix, counters, parser errors."""

    @pytest.fixture
    def router(self) -> Pipeline:
        pipeline = load("router")
        insert(pipeline, "routes", ((0x0A000000, 8),), "route", MAC_A, 4)
        insert(pipeline, "routes", ((0x0A000100, 24),), "route", MAC_B, 5)
        return pipeline

    def test_rewrites_only_what_the_program_says_and_updates_the_checksum(self, router: Pipeline) -> None:
        [output] = router.process(1, ethernet(0x0800) + ipv4() + b"payload", 0)
        assert output == Output(4, ethernet(0x0800, dst=MAC_A) + ipv4(ttl=63) + b"payload")

    def test_the_longer_prefix_leads(self, router: Pipeline) -> None:
        [output] = router.process(1, ethernet(0x0800) + ipv4(dst=0x0A000105), 0)
        assert output.port == 5

    def test_options_pass_as_they_are(self, router: Pipeline) -> None:
        [output] = router.process(1, ethernet(0x0800) + ipv4(options=b"options!") + b"payload", 0)
        assert output.frame == ethernet(0x0800, dst=MAC_A) + ipv4(ttl=63, options=b"options!") + b"payload"

    @pytest.mark.parametrize(
        ("frame", "cell"),
        [
            pytest.param(ethernet(0x0800)[:13], 0, id="half an Ethernet header"),
            pytest.param(b"", 0, id="nothing"),
            pytest.param(ethernet(0x0800) + ipv4()[:19], 0, id="half an IPv4 header"),
            pytest.param(ethernet(0x0800), 0, id="nothing to look ahead to"),
            pytest.param(ethernet(0x0800) + ipv4(ihl=6), 0, id="options beyond the end"),
            pytest.param(ethernet(0x0800) + ipv4(ihl=4) + bytes(9999), 0, id="a length below zero"),
            pytest.param(ethernet(0x0800) + ipv4(ttl=1), 1, id="TTL 1"),
            pytest.param(ethernet(0x0806) + bytes(46), 1, id="not IPv4"),
        ],
    )
    def test_bad_packets_are_dropped_and_counted(self, router: Pipeline, frame: bytes, cell: int) -> None:
        assert router.process(1, frame, 0) == []
        counter = router.counters["I.refused"]
        assert (counter.packets[cell], counter.octets[cell]) == (1, len(frame))
        assert sum(counter.packets) == 1

    def test_hits_are_counted_and_timed_on_the_entry(self, router: Pipeline) -> None:
        frame = ethernet(0x0800) + ipv4()
        for now_ns in (5, 17):
            router.process(1, frame, now_ns)
        entry = router.tables["I.routes"].find(((0x0A000000, 8),), 0)
        assert (entry.packets, entry.octets, entry.last_hit_ns) == (2, 2 * len(frame), 17)

    def test_an_unknown_destination_takes_the_default_entry(self, router: Pipeline) -> None:
        frame = ethernet(0x0800) + ipv4(dst=0x0B000000)
        assert router.process(1, frame, 0) == []
        router.tables["I.routes"].set_default("I.route", (MAC_B, 9))
        assert [output.port for output in router.process(1, frame, 0)] == [9]

    @pytest.mark.parametrize("size", [0, 1000, 64 * 1024 - 1])
    def test_a_memoryview_gives_the_same_as_bytes(self, router: Pipeline, size: int) -> None:
        frame = ethernet(0x0800) + ipv4() + bytes(size)
        assert router.process(1, memoryview(frame), 0) == router.process(1, frame, 0)


class TestMatches:
    """tests/p4/matches.p4: every match kind, constant entries, default entries."""

    def probe(self, pipeline: Pipeline, table_number: int, a: int = 0, b: int = 0) -> list[tuple[int, int]]:
        """Ports that a probe leaves by, with its `hit` field."""
        frame = ethernet(0x1234) + pack(pipeline, "probe", table_number=table_number, a=a, b=b)
        outputs = pipeline.process(1, frame, 0)
        return [(o.port, unpack(pipeline, "probe", o.frame[14:])["hit"]) for o in outputs]

    def test_exact(self) -> None:
        pipeline = load("matches")
        entry = insert(pipeline, "exact_match", (1, 2), "send", 9)
        assert self.probe(pipeline, 0, 1, 2) == [(9, 1)]
        assert self.probe(pipeline, 0, 2, 1) == []
        assert entry.packets == 1
        assert pipeline.tables["I.exact_match"].default.packets == 1

    def test_an_action_that_is_modified_runs_changed(self) -> None:
        pipeline = load("matches")
        entry = insert(pipeline, "exact_match", (1, 2), "send", 9)
        entry.action, entry.params = "I.drop", ()
        pipeline.tables["I.exact_match"].modify(entry, now_ns=0)
        assert self.probe(pipeline, 0, 1, 2) == []

    def test_lpm_and_the_branch_of_a_miss(self) -> None:
        pipeline = load("matches")
        insert(pipeline, "lpm_match", (1, (0x1200, 8)), "send", 9)
        assert self.probe(pipeline, 1, 1, 0x12FF) == [(9, 0)]
        assert self.probe(pipeline, 1, 1, 0x13FF) == [(100, 2)]

    def test_ternary(self) -> None:
        pipeline = load("matches")
        insert(pipeline, "ternary_match", ((0, 0), (0x0034, 0x00FF)), "send", 8, priority=1)
        insert(pipeline, "ternary_match", ((7, 0xFF), (0, 0)), "send", 9, priority=2)
        assert self.probe(pipeline, 2, 7, 0x1234) == [(9, 0)]
        assert self.probe(pipeline, 2, 6, 0x1234) == [(8, 0)]
        assert self.probe(pipeline, 2, 6, 0x1235) == []

    def test_range(self) -> None:
        pipeline = load("matches")
        insert(pipeline, "range_match", ((5, 9), (0, 0)), "send", 9, priority=1)
        assert self.probe(pipeline, 3, 9) == [(9, 0)]
        assert self.probe(pipeline, 3, 10) == []

    def test_optional(self) -> None:
        pipeline = load("matches")
        insert(pipeline, "optional_match", (None, 5), "send", 9, priority=1)
        assert self.probe(pipeline, 4, 200, 5) == [(9, 0)]
        assert self.probe(pipeline, 4, 200, 6) == []

    def test_a_key_with_a_mask(self) -> None:
        pipeline = load("matches")
        insert(pipeline, "masked_match", (0x0120,), "send", 9)
        assert self.probe(pipeline, 5, b=0xF12F) == [(9, 0)]
        assert self.probe(pipeline, 5, b=0xF13F) == []

    def test_a_table_without_key_runs_its_default_entry(self) -> None:
        pipeline = load("matches")
        assert self.probe(pipeline, 6) == []
        pipeline.tables["I.no_key"].set_default("I.send", (33,))
        assert self.probe(pipeline, 6) == [(33, 0)]

    @pytest.mark.parametrize(("a", "ports"), [(1, [11]), (2, [12]), (3, [])])
    def test_constant_exact_entries(self, a: int, ports: list[int]) -> None:
        assert [port for port, _ in self.probe(load("matches"), 7, a)] == ports

    @pytest.mark.parametrize(("b", "port"), [(0x1234, 21), (0x12FF, 21), (0x1334, 23)])
    def test_of_constant_entries_the_first_one_wins(self, b: int, port: int) -> None:
        assert self.probe(load("matches"), 8, b=b) == [(port, 0)]

    def test_the_fields_are_named_as_in_p4info(self) -> None:
        [a, b] = load("matches").tables["I.exact_match"].fields
        assert (a.name, a.width, b.name, b.width) == ("hdr.probe.a", 8, "hdr.probe.b", 16)


class TestState:
    """tests/p4/state.p4: registers, counters, hashes, digests, metadata."""

    def work(self, pipeline: Pipeline, *, tail: bytes = b"", now_ns: int = 0, **fields: int) -> dict[str, int]:
        frame = ethernet(1 if tail else 0) + pack(pipeline, "work", **fields) + tail
        [output] = pipeline.process(5, frame, now_ns)
        return unpack(pipeline, "work", output.frame[14:])

    def test_registers_keep_what_is_written(self) -> None:
        pipeline = load("state")
        assert self.work(pipeline, index=3, value=77)["old_value"] == 0
        assert self.work(pipeline, index=3, value=78)["old_value"] == 77
        assert pipeline.registers["I.cells"] == [0, 0, 0, 78, 0, 0, 0, 0, 0, 0]

    def test_cells_out_of_range_are_left_alone(self) -> None:
        pipeline = load("state")
        assert self.work(pipeline, index=10, value=1, old_value=55)["old_value"] == 55
        assert pipeline.registers["I.cells"] == [0] * 10
        assert pipeline.counters["I.hits"].packets == [0] * 10

    def test_counters_count_packets_and_bytes(self) -> None:
        pipeline = load("state")
        self.work(pipeline, index=9, tail=b"\0")
        self.work(pipeline, index=9)
        assert pipeline.counters["I.hits"].packets[9] == 2
        assert pipeline.counters["I.hits"].octets[9] == 2 * (14 + 35) + 1

    def test_hashes_are_those_of_bmv2(self) -> None:
        result = self.work(load("state"), tail=b"\x90", value=0xDEADBEEF)
        address = MAC_A.to_bytes(6, "big")
        assert result["crc32"] == binascii.crc32(address + b"\x91")
        assert result["csum16"] == internet_checksum(address)
        assert result["identity"] == 0xDEADBEEF
        assert result["bounded"] == 10 + binascii.crc32(address) % 4

    def test_digests_are_handed_over_in_order(self) -> None:
        pipeline = load("state")
        self.work(pipeline, value=99)
        assert pipeline.digests == [Digest("seen_t", (MAC_A, 5)), Digest("value_t", (99,))]

    def test_the_packets_own_metadata(self) -> None:
        result = self.work(load("state"), now_ns=123_456_789)
        assert (result["length"], result["now_us"], result["port"]) == (49, 123_456, 5)


@pytest.mark.parametrize("engine", [Engine.PYTHON, pytest.param(Engine.NATIVE, marks=needs_compiler)])
class TestClones:
    """tests/p4/clone.p4: clones of ingress."""

    @pytest.fixture
    def clone(self, engine: Engine) -> Pipeline:
        pipeline = load_pipeline((PROGRAMS / "clone.json").read_bytes(), "clone", engine)
        pipeline.multicast_groups[CLONE_SESSIONS + 5] = (Replica(7, 1), Replica(8, 2), Replica(9, 3))
        pipeline.multicast_groups[5] = (Replica(4, 1), Replica(5, 2))
        return pipeline

    def packet(self, *, dst: int, session: int = 5, src: int = 0x0200_0000_000A) -> bytes:
        return ethernet(session, dst=dst, src=src) + b"payload"

    def clones(self, frame: bytes, kept: int) -> list[Output]:
        """As the frame came, without other metadata; egress drops instance 3."""
        return [
            Output(port, frame[:14] + struct.pack("!7H", port, instance, 1, len(frame), kept, 0, 0) + frame[14:])
            for port, instance in ((7, 1), (8, 2))
        ]

    def edited(self, frame: bytes, port: int, instance: int = 0, kind: int = 0) -> Output:
        tag = struct.pack("!7H", port, instance, kind, len(frame), 10, 9, 3)
        return Output(port, frame[:6] + bytes(6) + frame[12:14] + tag + frame[14:])

    def test_a_clone_is_the_packet_as_it_came(self, clone: Pipeline) -> None:
        frame = self.packet(dst=1)
        assert clone.process(3, frame, 0) == [*self.clones(frame, 0), self.edited(frame, 2)]

    @pytest.mark.parametrize("dst", [2, 3])
    def test_a_field_list_keeps_values_from_the_end_of_ingress_and_the_last_request_counts(
        self, clone: Pipeline, dst: int
    ) -> None:
        frame = self.packet(dst=dst)
        assert clone.process(3, frame, 0) == [*self.clones(frame, 10), self.edited(frame, 2)]

    def test_dropping_the_packet_does_not_drop_its_clone(self, clone: Pipeline) -> None:
        frame = self.packet(dst=1, src=0x0400_0000_000A)
        assert clone.process(3, frame, 0) == self.clones(frame, 0)

    def test_a_packet_is_cloned_and_replicated(self, clone: Pipeline) -> None:
        frame = self.packet(dst=1, src=0x0600_0000_000A)
        copies = [self.edited(frame, 4, 1, 5), self.edited(frame, 5, 2, 5)]
        assert clone.process(3, frame, 0) == [*self.clones(frame, 0), *copies]

    @pytest.mark.parametrize("session", [0, 4, 6])
    def test_a_session_that_is_not_there_makes_no_clones(self, clone: Pipeline, session: int) -> None:
        frame = self.packet(dst=1, session=session)
        assert clone.process(3, frame, 0) == [self.edited(frame, 2)]

    def test_sessions_have_15_bits(self, clone: Pipeline) -> None:
        frame = self.packet(dst=1, session=0x8005)
        assert len(clone.process(3, frame, 0)) == 3


@pytest.mark.parametrize("engine", [Engine.PYTHON, pytest.param(Engine.NATIVE, marks=needs_compiler)])
class TestEgressClones:
    """tests/p4/egress_clone.p4: clones of egress."""

    @pytest.fixture
    def clone(self, engine: Engine) -> Pipeline:
        pipeline = load_pipeline((PROGRAMS / "egress_clone.json").read_bytes(), "egress_clone", engine)
        pipeline.multicast_groups[CLONE_SESSIONS + 5] = (Replica(7, 1), Replica(8, 2))
        pipeline.multicast_groups[CLONE_SESSIONS + 6] = (Replica(9, 3),)
        pipeline.multicast_groups[5] = (Replica(4, 1), Replica(5, 2))
        return pipeline

    def packet(self, *, dst: int, session: int = 5, src: int = 0x0200_0000_0010) -> bytes:
        return ethernet(session, dst=dst, src=src) + b"payload"

    def tagged(
        self, frame: bytes, port: int, instance: int = 0, kind: int = 0, *, kept: int = 1, times: int = 1
    ) -> Output:
        """What egress makes of a frame the first time, or of a clone once more, which has a tag that counts already."""
        is_new = kind == 0 or kind == 5
        lost, ingress_port = (9, 3) if is_new else (0, 0)
        length = len(frame) + 20 * (times - 1)
        check = 0xFFFF - (port + times)
        tag = struct.pack("!10H", port, instance, kind, length, kept, lost, ingress_port, times, 0, check)
        return Output(port, frame[:14] + tag + frame[14:])

    def clones(self, frame: bytes, kept: int) -> list[Output]:
        return [self.tagged(frame, port, instance, 2, kept=kept, times=2) for port, instance in ((7, 1), (8, 2))]

    def test_a_clone_has_the_headers_that_egress_left_and_no_metadata(self, clone: Pipeline) -> None:
        frame = self.packet(dst=1)
        assert clone.process(3, frame, 0) == [self.tagged(frame, 2), *self.clones(frame, 0)]

    @pytest.mark.parametrize("dst", [2, 3])
    def test_a_field_list_keeps_values_from_the_end_of_egress_and_the_last_request_counts(
        self, clone: Pipeline, dst: int
    ) -> None:
        frame = self.packet(dst=dst)
        assert clone.process(3, frame, 0) == [self.tagged(frame, 2), *self.clones(frame, 0x11)]

    def test_dropping_the_packet_does_not_drop_its_clone(self, clone: Pipeline) -> None:
        frame = self.packet(dst=2, src=0x0400_0000_0010)
        assert clone.process(3, frame, 0) == self.clones(frame, 0x11)

    def test_each_copy_of_a_replicated_packet_is_cloned(self, clone: Pipeline) -> None:
        frame = self.packet(dst=2, src=0x0600_0000_0010)
        copies = [self.tagged(frame, 4, 1, 5), self.tagged(frame, 5, 2, 5)]
        assert clone.process(3, frame, 0) == [*copies, *self.clones(frame, 0x11), *self.clones(frame, 0x11)]

    def test_ingress_clones_are_cloned_by_egress(self, clone: Pipeline) -> None:
        frame = self.packet(dst=6)
        of_ingress = self.tagged(frame, 9, 3, 1)
        assert clone.process(3, frame, 0) == [
            of_ingress,
            *self.clones(frame, 0x11),
            self.tagged(frame, 2),
            *self.clones(frame, 0x11),
        ]

    @pytest.mark.parametrize("session", [0, 4])
    def test_a_session_that_is_not_there_makes_no_clones(self, clone: Pipeline, session: int) -> None:
        frame = self.packet(dst=1, session=session)
        assert clone.process(3, frame, 0) == [self.tagged(frame, 2)]
        assert clone.clones_dropped == 0

    @pytest.mark.parametrize(("session", "replicas"), [(5, 2), (6, 1)])
    def test_endless_cloning_ends_and_is_counted(self, clone: Pipeline, session: int, replicas: int) -> None:
        frame = self.packet(dst=5, session=session)
        assert len(clone.process(3, frame, 0)) == 1 + MAX_EGRESS_CLONES
        # Every packet and clone asks for one; so many are made, and the others are not.
        assert clone.clones_dropped == (1 + MAX_EGRESS_CLONES) * replicas - MAX_EGRESS_CLONES

    def test_a_session_without_replicas_makes_no_clones(self, clone: Pipeline) -> None:
        clone.multicast_groups[CLONE_SESSIONS + 5] = ()
        frame = self.packet(dst=5)
        assert len(clone.process(3, frame, 0)) == 1
        assert clone.clones_dropped == 0

    def test_a_session_of_more_replicas_than_one_packet_may_make_makes_none(self, clone: Pipeline) -> None:
        clone.multicast_groups[CLONE_SESSIONS + 5] = tuple(Replica(1, n) for n in range(MAX_EGRESS_CLONES + 1))
        frame = self.packet(dst=1)
        assert clone.process(3, frame, 0) == [self.tagged(frame, 2)]
        assert clone.clones_dropped == MAX_EGRESS_CLONES + 1


class TestReplication:
    """tests/p4/replicate.p4: multicast and an egress pipeline."""

    def tag(self, frame: bytes, port: int, instance: int, *, instance_type: int = 5) -> bytes:
        return frame + struct.pack("!HHHH", port, instance, instance_type, len(frame))

    def test_each_copy_runs_through_egress_by_itself(self) -> None:
        pipeline = load("replicate")
        pipeline.multicast_groups[3] = (Replica(1, 0), Replica(2, 0), Replica(6, 10), Replica(7, 11), Replica(9, 0))
        frame = ethernet(3, dst=0xFFFF_FFFF_FFFF)
        assert pipeline.process(9, frame, 0) == [
            Output(1, frame),
            Output(2, frame),
            Output(6, self.tag(frame, 6, 10)),
            Output(7, self.tag(frame, 7, 11)),
        ]

    def test_a_group_that_is_not_there_drops(self) -> None:
        assert load("replicate").process(1, ethernet(4, dst=0xFFFF_FFFF_FFFF), 0) == []

    def test_mark_to_drop_takes_the_group_back(self) -> None:
        pipeline = load("replicate")
        pipeline.multicast_groups[1] = (Replica(2, 0),)
        assert pipeline.process(1, ethernet(0, dst=0), 0) == []

    def test_unicast_is_no_replication(self) -> None:
        frame = ethernet(0)
        assert load("replicate").process(1, frame, 0) == [Output(7, self.tag(frame, 7, 0, instance_type=0))]

    def test_egress_can_drop(self) -> None:
        assert load("replicate").process(7, ethernet(0), 0) == []


class TestControlFlow:
    """tests/p4/control_flow.p4: exit, return, switch, conditions in actions, headers added, removed and copied."""

    @pytest.fixture
    def pipeline(self) -> Pipeline:
        pipeline = load("control_flow")
        insert(pipeline, "choose", (1,), "first")
        for command, more in ((2, 0), (3, 1), (4, 2), (5, 3)):
            insert(pipeline, "choose", (command,), "second", more)
        return pipeline

    @pytest.mark.parametrize(
        ("command", "port", "notes"),
        [
            pytest.param(1, 2, "0141", id="an action's branch of the switch"),
            pytest.param(2, 3, "0240", id="return leaves the action only"),
            pytest.param(3, 3, "03c2", id="the first condition"),
            pytest.param(4, 1, "0404", id="exit leaves the control block"),
            pytest.param(5, 3, "05c8", id="otherwise"),
            pytest.param(6, 1, "06005500", id="the default action, a copied header, return"),
            pytest.param(0xFF, 1, "0000", id="a header removed, another added, all zero"),
        ],
    )
    def test_ingress(self, pipeline: Pipeline, command: int, port: int, notes: str) -> None:
        [output] = pipeline.process(9, ethernet(0) + bytes([command, 0]) + b"rest", 0)
        assert output == Output(port, ethernet(0x9999) + bytes.fromhex(notes) + b"rest")

    def test_exit_in_egress_ends_egress(self, pipeline: Pipeline) -> None:
        [output] = pipeline.process(9, ethernet(0) + b"\xfe\0", 0)
        assert output.frame[:14] == ethernet(0)

    def test_exit_does_not_stop_the_next_packet(self, pipeline: Pipeline) -> None:
        frame = ethernet(0) + b"\x04\0"
        assert pipeline.process(9, frame, 0) == pipeline.process(9, frame, 0)


class TestParsing:
    """tests/p4/parsing.p4: what the parser can do besides extracting."""

    def parse(self, frame: bytes) -> tuple[int, int, int, bytes]:
        """Error number, checksum error, the value looked ahead to, and the frame behind the report."""
        [output] = load("parsing").process(1, frame, 0)
        number, checksum_error, ahead = struct.unpack_from("!BBH", output.frame)
        return number, checksum_error, ahead, output.frame[4:]

    SUM = b"\x12\x34\x00\x01"
    GOOD = SUM + struct.pack("!H", internet_checksum(SUM))
    BAD = SUM + b"\0\0"

    @pytest.mark.parametrize(
        ("frame", "expected"),
        [
            pytest.param(ethernet(9) + b"x", (0, 0, 0, ethernet(9) + b"x"), id="accepted at once"),
            pytest.param(ethernet(0x200) + GOOD, (0, 0, 0, GOOD + ethernet(0x200)), id="emitted in another order"),
            pytest.param(ethernet(0x200) + BAD, (0, 1, 0, BAD + ethernet(0x200)), id="a wrong checksum"),
            pytest.param(ethernet(0x200) + GOOD[:5], (1, 0, 0, ethernet(0x200) + GOOD[:5]), id="too short"),
            pytest.param(ethernet(0x1FF) + b"\0\0x", (2, 0, 0, ethernet(0x1FF) + b"\0\0x"), id="verify fails"),
            pytest.param(
                ethernet(0x1FF) + b"\x10\x1f" + GOOD, (0, 0, 0, GOOD + ethernet(0x1FF) + b"\x10\x1f"), id="masks"
            ),
            pytest.param(
                ethernet(0x1FF) + b"\x3a\xbc" + GOOD, (0, 0, 0, GOOD + ethernet(0x1FF) + b"\x3a\xbc"), id="one key"
            ),
            pytest.param(
                ethernet(0x1FF) + b"\x10\x2f" + GOOD, (0, 0, 0, ethernet(0x1FF) + b"\x10\x2f" + GOOD), id="no match"
            ),
            pytest.param(ethernet(0x300) + b"\xb0\x01", (0, 0, 0xB001, ethernet(0x300) + b"\xb0\x01"), id="ahead"),
            pytest.param(ethernet(0x300) + b"\xa0", (1, 0, 0, ethernet(0x300) + b"\xa0"), id="ahead of the end"),
            pytest.param(ethernet(0x400) + b"skip\x20\0", (0, 0, 0, ethernet(0x400) + b"\x20\0"), id="skipped"),
            pytest.param(ethernet(0x400) + b"ski", (1, 0, 0, ethernet(0x400) + b"ski"), id="nothing to skip"),
            pytest.param(ethernet(0x500) + b"\1\1\x20\0", (0, 0, 0, ethernet(0x500) + b"\x20\0"), id="not emitted"),
        ],
    )
    def test_row(self, frame: bytes, expected: tuple[int, int, int, bytes]) -> None:
        assert self.parse(frame) == expected


@pytest.mark.parametrize(("frame", "rest"), [(b"skip" + ethernet(7) + b"x", ethernet(7) + b"x"), (b"ski", b"ski")])
def test_bytes_that_are_skipped_are_gone_though_nothing_is_rewritten(frame: bytes, rest: bytes) -> None:
    assert load("skip").process(1, frame, 0) == [Output(1, rest)]
