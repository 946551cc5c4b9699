"""Whatever comes over the wire: an answer with a canonical code, no exception inside, and no change by what is refused.

The server is a real one, in a thread of its own. What an exception would leave behind, a log record or an answer
UNKNOWN without details, fails the test.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest
from finsy.proto import p4r
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from softswitch.p4runtime.status import Code
from support.fuzz import fill, garbled, mutated, mutated_json
from support.p4rt import (
    DEVICE_CONFIG,
    DEVICE_ID,
    DIGEST,
    INSERT,
    LOOKUP,
    P4INFO,
    WAIT_S,
    SetConfig,
    action,
    batch_errors,
    between,
    config,
    counter,
    digest_config,
    entry,
    exact,
    exact_one,
    frame,
    group,
    lpm,
    optional,
    packet_out,
    register,
    replica,
    running_softswitch,
    ternary,
    uint128,
)

TOP = (1 << 128) - 1  # nobody can take the primary's place
ADMITTED = frozenset(code.value for code in Code if code is not Code.UNKNOWN)
KNOWN = [
    preamble.id
    for objects in (P4INFO.tables, P4INFO.actions, P4INFO.counters, P4INFO.registers, P4INFO.digests)
    for preamble in (item.preamble for item in objects)
]
VALID = [
    exact_one(1),
    exact_one(2, idle_timeout_ns=10**9, metadata=b"meta"),
    entry("ternary_two", ternary(1, 0x1200, 0xFF00), priority=5, action=action("forward", 3)),
    entry("longest", lpm(1, 1 << 127, 8), action=action("forward", 2)),
    entry("mixed", between(1, 2, 9), optional(2, 7), exact(3, 1), priority=1, action=action("forward", 4)),
    entry("longest", is_default_action=True, action=action("forward", 9)),
    group(5, replica(1), replica(2, 3)),
    digest_config(max_timeout_ns=10**9, max_list_size=3, ack_timeout_ns=10**9),
    counter(1, data=p4r.CounterData(packet_count=3)),
    register(1, data={"bitstring": b"\1"}),
]
EVERYTHING = [
    p4r.Entity(table_entry=p4r.TableEntry()),
    p4r.Entity(direct_counter_entry=p4r.DirectCounterEntry(table_entry=p4r.TableEntry())),
    p4r.Entity(counter_entry=p4r.CounterEntry()),
    p4r.Entity(register_entry=p4r.RegisterEntry()),
    group(0),
    *(p4r.Entity(digest_entry=p4r.DigestEntry(digest_id=item.preamble.id)) for item in P4INFO.digests),
]
PROGRAM = json.loads(DEVICE_CONFIG)


class Server:
    """A softswitch in another thread, its primary, and what went wrong inside."""

    def __init__(self, channel: Any, faults: list[str]) -> None:
        self.channel = channel
        self._faults = faults
        self._wake = threading.Event()
        self._stream: Any = channel.stream_stream("/p4.v1.P4Runtime/StreamChannel")(self._requests())
        assert p4r.StreamMessageResponse.FromString(next(self._stream)).arbitration.status.code == Code.OK

    def _requests(self) -> Iterator[bytes]:
        update = p4r.MasterArbitrationUpdate(device_id=DEVICE_ID, election_id=uint128(TOP))
        yield p4r.StreamMessageRequest(arbitration=update).SerializeToString()
        self._wake.wait()

    def close(self) -> None:
        self._wake.set()
        self._stream.cancel()

    def call(self, method: str, request: bytes) -> tuple[int, list[int]]:
        """Call with these very bytes; returns the code, and that of each element of a batch."""
        path = f"/p4.v1.P4Runtime/{method}"
        try:
            if method == "Read":
                list(self.channel.unary_stream(path)(request, timeout=WAIT_S))
            else:
                self.channel.unary_unary(path)(request, timeout=WAIT_S)
        except grpc.RpcError as error:
            code, details = code_of(error), batch_codes(error)
        else:
            code, details = 0, []
        assert code in ADMITTED or (code == Code.UNKNOWN and details), (code, details)
        assert set(details) <= ADMITTED
        assert not self._faults
        return code, details

    def stream(self, requests: Sequence[bytes]) -> int:
        """Send these and close; returns the code that the stream ended with."""
        call: Any = self.channel.stream_stream("/p4.v1.P4Runtime/StreamChannel")(iter(requests), timeout=WAIT_S)
        try:
            for _ in call:
                pass
        except grpc.RpcError as error:
            code = code_of(error)
        else:
            code = 0
        assert code in ADMITTED
        assert not self._faults
        return code

    def state(self) -> Counter[bytes]:
        """All that the device holds."""
        request = p4r.ReadRequest(device_id=DEVICE_ID)
        found: Counter[bytes] = Counter()
        for query in EVERYTHING:
            request.ClearField("entities")
            request.entities.append(query)
            try:
                for data in self.channel.unary_stream("/p4.v1.P4Runtime/Read")(request.SerializeToString()):
                    for entity in p4r.ReadResponse.FromString(data).entities:
                        found[entity.SerializeToString(deterministic=True)] += 1
            except grpc.RpcError as error:
                if batch_codes(error) != [Code.NOT_FOUND]:  # which a digest without a configuration is
                    raise
        return found

    def commit(self) -> None:
        """Start again with the valid entries."""
        request = set_config(SetConfig.VERIFY_AND_COMMIT)
        assert self.call("SetForwardingPipelineConfig", request.SerializeToString()) == (0, [])
        for entity in VALID:
            kind = INSERT
            if entity.table_entry.is_default_action or entity.WhichOneof("entity") in (
                "counter_entry",
                "register_entry",
            ):
                kind = p4r.Update.MODIFY
            code, details = self.call("Write", write(p4r.Update(type=kind, entity=entity)).SerializeToString())
            assert code == 0, (entity, details)


def code_of(error: Any) -> int:
    return int(error.code().value[0])


def batch_codes(error: Any) -> list[int]:
    return [detail.canonical_code for detail in batch_errors(error)] if code_of(error) == Code.UNKNOWN else []


def write(*updates: p4r.Update, election_id: int = TOP) -> p4r.WriteRequest:
    return p4r.WriteRequest(device_id=DEVICE_ID, election_id=uint128(election_id), updates=updates)


def set_config(what: Any) -> p4r.SetForwardingPipelineConfigRequest:
    return SetConfig(device_id=DEVICE_ID, election_id=uint128(TOP), action=what, config=config())


class Faults(logging.Handler):
    """Keeps what is logged as a warning or worse."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One for all examples."""
    faults = Faults()
    logging.getLogger().addHandler(faults)
    address: list[str] = []
    started, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with running_softswitch({}) as target:
            address.append(target.address)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(WAIT_S)
        with grpc.insecure_channel(address[0]) as channel:
            server = Server(channel, faults.texts)
            server.commit()
            yield server
            server.close()
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(WAIT_S)
        logging.getLogger().removeHandler(faults)
    assert not faults.texts


@st.composite
def filled(draw: st.DrawFn, kind: type[Message], depth: int = 5) -> Any:
    message = kind()
    fill(draw, message, KNOWN, depth)
    return message


entities = st.one_of(filled(p4r.Entity), st.sampled_from(VALID + EVERYTHING).flatmap(lambda m: mutated(m, KNOWN)))
thoroughly = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@thoroughly
@given(st.integers(0, 4), entities)
def test_an_update_that_is_refused_changes_nothing(server: Server, kind: int, entity: p4r.Entity) -> None:
    update = p4r.Update(entity=entity)
    update.type = kind  # type: ignore[assignment]  # an open enum: proto3 lets any number through
    before = server.state()
    code, _ = server.call("Write", write(update).SerializeToString())
    after = server.state()
    if code:
        assert after == before
    else:
        # Only one entity, or the counters and registers that it names; a table entry also stands behind its counter.
        assert {p4r.Entity.FromString(data).WhichOneof("entity") for data in (before - after) + (after - before)} <= {
            entity.WhichOneof("entity"),
            "table_entry",
            "direct_counter_entry",
        }
        server.commit()


@thoroughly
@given(st.one_of(filled(p4r.WriteRequest), mutated(write(*(p4r.Update(type=INSERT, entity=e) for e in VALID)), KNOWN)))
def test_only_the_primary_changes_anything(server: Server, request: p4r.WriteRequest) -> None:
    if request.election_id == uint128(TOP):
        request.election_id.low -= 1
    before = server.state()
    code, _ = server.call("Write", request.SerializeToString())
    assert code
    assert server.state() == before


@thoroughly
@given(st.one_of(filled(p4r.ReadRequest), st.lists(entities, max_size=4)))
def test_any_read_is_answered(server: Server, query: p4r.ReadRequest | list[p4r.Entity]) -> None:
    if isinstance(query, list):
        query = p4r.ReadRequest(device_id=DEVICE_ID, entities=query)
    server.call("Read", query.SerializeToString())


@st.composite
def configs(draw: st.DrawFn) -> p4r.SetForwardingPipelineConfigRequest:
    match draw(st.integers(0, 9)):
        case 0:
            return draw(mutated(set_config(SetConfig.VERIFY), KNOWN))
        case 1:
            return with_config(p4_device_config=draw(garbled(DEVICE_CONFIG)))
        case 2 | 3 | 4:
            return with_config(p4info=draw(mutated(P4INFO, KNOWN)))
        case _:
            return with_config(p4_device_config=json.dumps(draw(mutated_json(PROGRAM))).encode())


def with_config(**fields: Any) -> p4r.SetForwardingPipelineConfigRequest:
    request = set_config(SetConfig.VERIFY)
    request.config.CopyFrom(config(**fields))
    return request


@thoroughly
@given(configs())
def test_a_configuration_that_is_refused_changes_nothing(
    server: Server, request: p4r.SetForwardingPipelineConfigRequest
) -> None:
    before = server.state()
    code, _ = server.call("SetForwardingPipelineConfig", request.SerializeToString())
    if code or request.action == SetConfig.VERIFY:
        assert server.state() == before
    else:
        server.commit()


VALID_STREAM = [
    p4r.StreamMessageRequest(
        arbitration=p4r.MasterArbitrationUpdate(
            device_id=DEVICE_ID, election_id=uint128(7), role=p4r.Role(name="fuzzed")
        )
    ),
    p4r.StreamMessageRequest(packet=packet_out(frame(), act=LOOKUP)),
    p4r.StreamMessageRequest(packet=packet_out(frame(), act=DIGEST)),
    p4r.StreamMessageRequest(digest_ack=p4r.DigestListAck(digest_id=P4INFO.digests[0].preamble.id, list_id=1)),
]
stream_messages = st.one_of(
    filled(p4r.StreamMessageRequest),
    st.sampled_from(VALID_STREAM),
    st.sampled_from(VALID_STREAM).flatmap(lambda message: mutated(message, KNOWN)),
)


@thoroughly
@given(st.lists(stream_messages, min_size=1, max_size=6))
def test_any_stream_is_served_to_its_end(server: Server, messages: list[p4r.StreamMessageRequest]) -> None:
    server.stream([message.SerializeToString() for message in messages])
    assert server.call("Write", write().SerializeToString()) == (0, [])


REQUESTS = {
    "Write": write(p4r.Update(type=INSERT, entity=exact_one(77))),
    "Read": p4r.ReadRequest(device_id=DEVICE_ID, entities=EVERYTHING),
    "SetForwardingPipelineConfig": SetConfig(device_id=DEVICE_ID, election_id=uint128(TOP), action=SetConfig.COMMIT),
    "GetForwardingPipelineConfig": p4r.GetForwardingPipelineConfigRequest(device_id=DEVICE_ID),
    "Capabilities": p4r.CapabilitiesRequest(device_id=DEVICE_ID),
}


@thoroughly
@given(st.sampled_from(sorted(REQUESTS)).flatmap(lambda name: st.tuples(st.just(name), requests_of(name))))
def test_bytes_that_are_no_message(server: Server, call: tuple[str, bytes]) -> None:
    server.call(*call)
    server.commit()


def requests_of(name: str) -> st.SearchStrategy[bytes]:
    return st.one_of(garbled(REQUESTS[name].SerializeToString()), st.binary(max_size=20))


@thoroughly
@given(st.lists(st.one_of(garbled(VALID_STREAM[0].SerializeToString()), st.binary(max_size=9)), min_size=1, max_size=3))
def test_stream_bytes_that_are_no_message(server: Server, messages: list[bytes]) -> None:
    server.stream(messages)
