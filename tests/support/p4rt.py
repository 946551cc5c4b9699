"""A raw P4Runtime client, and a running target to point it at, for the conformance tests.

The target is the softswitch in this very event loop or, with SWITCH=bmv2, a `simple_switch_grpc` process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import grpc
import pytest
from finsy.proto import p4i, p4r, p4r_grpc, rpc_status
from google.protobuf import text_format

from pentaflow.credentials import Credentials
from softswitch.p4runtime.bytestrings import encode_bits
from softswitch.p4runtime.status import Code
from softswitch.switch import Switch, SwitchOptions
from support.ports import free_port

PROGRAM = Path(__file__).parents[1] / "conformance/p4"
IS_BMV2 = os.environ.get("SWITCH") == "bmv2"
DEVICE_ID = 1
CPU_PORT = 510
WAIT_S = 10.0

INSERT, MODIFY, DELETE = p4r.Update.INSERT, p4r.Update.MODIFY, p4r.Update.DELETE
Config = p4r.ForwardingPipelineConfig
SetConfig = p4r.SetForwardingPipelineConfigRequest

P4INFO = text_format.Parse((PROGRAM / "conformance.p4info.txtpb").read_text(), p4i.P4Info())
DEVICE_CONFIG = (PROGRAM / "conformance.json").read_bytes()

Value = int | bytes


def departs(reason: str, *, partly: bool = False) -> pytest.MarkDecorator:
    """Marks a test that BMv2 is known to fail.

    Args:
        reason: what BMv2 does instead.
        partly: it fails with some of the test's parameters only.
    """
    return pytest.mark.xfail(IS_BMV2, reason=f"BMv2: {reason}", strict=not partly)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A running P4Runtime server; `switch` is its inside when it is a softswitch."""

    address: str
    switch: Switch | None


@contextlib.asynccontextmanager
async def running_target(ports: Mapping[int, str] | None = None) -> AsyncIterator[Target]:
    """The target that SWITCH names, without a pipeline; ended by its handle at the end."""
    async with running_bmv2(ports or {}) if IS_BMV2 else running_softswitch(ports or {}) as target:
        yield target


@contextlib.asynccontextmanager
async def running_softswitch(
    ports: Mapping[int, str], tls: Credentials | None = None, metrics: tuple[str, int] | None = None
) -> AsyncIterator[Target]:
    """A softswitch in this event loop."""
    options = SwitchOptions(
        grpc_address="127.0.0.1:0", device_id=DEVICE_ID, ports=ports, cpu_port=CPU_PORT, tls=tls, metrics=metrics
    )
    switch = Switch(options)
    started = asyncio.Event()
    task = asyncio.create_task(switch.run(started.set))
    try:
        await started.wait()
        yield Target(address=f"127.0.0.1:{switch.grpc_port}", switch=switch)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def running_bmv2(ports: Mapping[int, str]) -> AsyncIterator[Target]:
    """A `simple_switch_grpc` process."""
    program = shutil.which("simple_switch_grpc")
    if program is None:
        pytest.skip("simple_switch_grpc is not on PATH")
    address = f"127.0.0.1:{free_port()}"
    interfaces = [text for number, interface in ports.items() for text in ("-i", f"{number}@{interface}")]
    common = ["--no-p4", "--device-id", str(DEVICE_ID), *interfaces]
    process = await asyncio.create_subprocess_exec(
        program, *common, "--", "--grpc-server-addr", address, "--cpu-port", str(CPU_PORT),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            async with asyncio.timeout(WAIT_S):
                await channel.channel_ready()
        yield Target(address=address, switch=None)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Client:
    """One controller: a channel and a stream, both closed at the end of the context."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._channel = grpc.aio.insecure_channel(
            target.address,
            options=[("grpc.max_metadata_size", 1 << 20), ("grpc.use_local_subchannel_pool", 1)],
        )
        self.stub: Any = p4r_grpc.P4RuntimeStub(self._channel)
        self._stream: Any = None
        self.election_id: p4r.Uint128 | None = None
        self.role = ""

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.hang_up()
        await self._channel.__aexit__(*error)

    async def hang_up(self) -> None:
        """Close the stream, if there is one."""
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None

    async def send(self, **update: Any) -> None:
        """Send a stream message, named as in the `update` oneof."""
        if self._stream is None:
            self._stream = self.stub.StreamChannel()
        await self._stream.write(p4r.StreamMessageRequest(**update))

    async def receive(self, kind: str) -> Any:
        """The next stream message, which must be of this kind."""
        async with asyncio.timeout(WAIT_S):
            message = await self._stream.read()
        assert isinstance(message, p4r.StreamMessageResponse), "the server closed the stream"
        assert message.WhichOneof("update") == kind, message
        return getattr(message, kind)

    async def receive_end(self) -> tuple[grpc.StatusCode, str]:
        """Wait for the server to end the stream; returns its status."""
        async with asyncio.timeout(WAIT_S):
            return await self._stream.code(), await self._stream.details()

    async def arbitrate(
        self, election_id: int | None, *, device_id: int = DEVICE_ID, role: p4r.Role | None = None
    ) -> None:
        """Send an arbitration update; later writes carry the same election id and role."""
        self.election_id = None if election_id is None else uint128(election_id)
        self.role = role.name if role is not None else ""
        await self.send(
            arbitration=p4r.MasterArbitrationUpdate(device_id=device_id, election_id=self.election_id, role=role)
        )

    async def become(self, code: Code, election_id: int | None) -> None:
        """Arbitrate and check what the server says this client is."""
        await self.arbitrate(election_id)
        answer = await self.receive("arbitration")
        assert answer.status.code == code, answer

    async def set_config(self, action: SetConfig.Action.ValueType, config: Config | None) -> None:
        await self.stub.SetForwardingPipelineConfig(
            SetConfig(device_id=DEVICE_ID, role=self.role, election_id=self.election_id, action=action, config=config)
        )

    async def commit(self) -> None:
        """Become primary and commit the conformance program."""
        await self.become(Code.OK, 1)
        await self.commit_again()

    async def commit_again(self) -> None:
        """Commit the conformance program, which clears all state."""
        await self.set_config(SetConfig.VERIFY_AND_COMMIT, config())

    async def get_config(self, response_type: int = 0) -> p4r.GetForwardingPipelineConfigResponse:
        request = p4r.GetForwardingPipelineConfigRequest(device_id=DEVICE_ID, response_type=cast(Any, response_type))
        return cast(p4r.GetForwardingPipelineConfigResponse, await self.stub.GetForwardingPipelineConfig(request))

    async def write(self, *updates: p4r.Update, **fields: Any) -> None:
        request: dict[str, Any] = {
            "device_id": DEVICE_ID,
            "role": self.role,
            "election_id": self.election_id,
            "updates": updates,
        }
        await self.stub.Write(p4r.WriteRequest(**(request | fields)))

    async def insert(self, *entities: p4r.Entity) -> None:
        await self.write(*(p4r.Update(type=INSERT, entity=entity) for entity in entities))

    async def modify(self, *entities: p4r.Entity) -> None:
        await self.write(*(p4r.Update(type=MODIFY, entity=entity) for entity in entities))

    async def delete(self, *entities: p4r.Entity) -> None:
        await self.write(*(p4r.Update(type=DELETE, entity=entity) for entity in entities))

    async def read(self, *queries: p4r.Entity, device_id: int = DEVICE_ID) -> list[p4r.Entity]:
        request = p4r.ReadRequest(device_id=device_id, entities=queries)
        return [entity async for response in self.stub.Read(request) for entity in response.entities]


def uint128(value: int) -> p4r.Uint128:
    return p4r.Uint128(high=value >> 64, low=value & (1 << 64) - 1)


def config(**fields: Any) -> Config:
    """The conformance program, with some fields replaced."""
    defaults: dict[str, Any] = {"p4info": P4INFO, "p4_device_config": DEVICE_CONFIG}
    return Config(**(defaults | fields))


# Messages by name: aliases of P4Info, integers in canonical form, byte strings as they are.


def encode(value: Value) -> bytes:
    return value if isinstance(value, bytes) else encode_bits(value)


def table(alias: str) -> p4i.Table:
    return next(table for table in P4INFO.tables if table.preamble.alias == alias)


def action(alias: str, *values: Value) -> p4r.TableAction:
    info = next(action for action in P4INFO.actions if action.preamble.alias == alias)
    message = p4r.Action(action_id=info.preamble.id)
    for param, value in zip(info.params, values, strict=True):
        message.params.add(param_id=param.id, value=encode(value))
    return p4r.TableAction(action=message)


def exact(field_id: int, value: Value) -> p4r.FieldMatch:
    return p4r.FieldMatch(field_id=field_id, exact=p4r.FieldMatch.Exact(value=encode(value)))


def lpm(field_id: int, value: Value, prefix_len: int) -> p4r.FieldMatch:
    return p4r.FieldMatch(field_id=field_id, lpm=p4r.FieldMatch.LPM(value=encode(value), prefix_len=prefix_len))


def ternary(field_id: int, value: Value, mask: Value) -> p4r.FieldMatch:
    return p4r.FieldMatch(field_id=field_id, ternary=p4r.FieldMatch.Ternary(value=encode(value), mask=encode(mask)))


def between(field_id: int, low: Value, high: Value) -> p4r.FieldMatch:
    return p4r.FieldMatch(field_id=field_id, range=p4r.FieldMatch.Range(low=encode(low), high=encode(high)))


def optional(field_id: int, value: Value) -> p4r.FieldMatch:
    return p4r.FieldMatch(field_id=field_id, optional=p4r.FieldMatch.Optional(value=encode(value)))


def entry(alias: str, *match: p4r.FieldMatch, **fields: Any) -> p4r.Entity:
    """A table entry; `fields` are the message's."""
    return p4r.Entity(table_entry=p4r.TableEntry(table_id=table(alias).preamble.id, match=match, **fields))


def exact_one(mac: Value, *, port: Value = 1, **fields: Any) -> p4r.Entity:
    """An entry of table `exact_one` that forwards to `port`."""
    return entry("exact_one", exact(1, mac), **({"action": action("forward", port)} | fields))


def counter(index: int | None = None, **fields: Any) -> p4r.Entity:
    return p4r.Entity(
        counter_entry=p4r.CounterEntry(
            counter_id=P4INFO.counters[0].preamble.id,
            index=None if index is None else p4r.Index(index=index),
            **fields,
        )
    )


def register(index: int | None = None, **fields: Any) -> p4r.Entity:
    return p4r.Entity(
        register_entry=p4r.RegisterEntry(
            register_id=P4INFO.registers[0].preamble.id,
            index=None if index is None else p4r.Index(index=index),
            **fields,
        )
    )


def group(group_id: int, *replicas: p4r.Replica, **fields: Any) -> p4r.Entity:
    """A multicast group."""
    return p4r.Entity(
        packet_replication_engine_entry=p4r.PacketReplicationEngineEntry(
            multicast_group_entry=p4r.MulticastGroupEntry(multicast_group_id=group_id, replicas=replicas, **fields)
        )
    )


def clone_session(session_id: int, *replicas: p4r.Replica, **fields: Any) -> p4r.Entity:
    """A clone session."""
    return p4r.Entity(
        packet_replication_engine_entry=p4r.PacketReplicationEngineEntry(
            clone_session_entry=p4r.CloneSessionEntry(session_id=session_id, replicas=replicas, **fields)
        )
    )


def replica(port: Value, instance: int = 0, **fields: Any) -> p4r.Replica:
    return p4r.Replica(port=encode(port), instance=instance, **fields)


def digest_config(**parameters: int) -> p4r.Entity:
    return p4r.Entity(
        digest_entry=p4r.DigestEntry(
            digest_id=P4INFO.digests[0].preamble.id, config=p4r.DigestEntry.Config(**parameters)
        )
    )


FORWARD, REFLECT, DIGEST, LOOKUP, MULTICAST, CLONE, CLONE_EGRESS, CLONE_EGRESS_DROP = range(8)


def packet_out(payload: bytes, *, act: int, port: int = 0) -> p4r.PacketOut:
    """A packet-out that tells the conformance program what to do with it."""
    metadata = ((1, port), (2, 0), (3, act))
    return p4r.PacketOut(
        payload=payload,
        metadata=[p4r.PacketMetadata(metadata_id=key, value=encode(value)) for key, value in metadata],
    )


def frame(*, dst: int = 1, src: int = 2, ethertype: int = 0x1234, payload: bytes = b"payload") -> bytes:
    return dst.to_bytes(6) + src.to_bytes(6) + ethertype.to_bytes(2) + payload


def status_of(error: grpc.aio.AioRpcError) -> rpc_status.Status:
    """The google.rpc.Status that came with an error."""
    metadata = dict(cast(Any, error.trailing_metadata()))
    if "grpc-status-details-bin" in metadata:
        return rpc_status.Status.FromString(metadata["grpc-status-details-bin"])
    raise AssertionError(f"the error has no details: {error}")


def batch_errors(error: grpc.aio.AioRpcError) -> Sequence[p4r.Error]:
    """The `p4.v1.Error` of each element of a batch."""
    assert error.code() == grpc.StatusCode.UNKNOWN, error
    errors = []
    for detail in status_of(error).details:
        errors.append(p4r.Error())
        assert detail.Unpack(errors[-1])
    return errors


@contextlib.contextmanager
def refused(code: Code, *words: str) -> Any:
    """The RPC fails with this code, and says these words."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert caught.value.code().value[0] == code, caught.value
    if not IS_BMV2:
        for word in words:
            assert word in (caught.value.details() or "")


@contextlib.contextmanager
def update_refused(code: Code, *words: str) -> Any:
    """The RPC's only update, or query, fails with this code, and says these words."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    [error] = batch_errors(caught.value)
    assert error.canonical_code == code, error
    if not IS_BMV2:
        for word in words:
            assert word in error.message
