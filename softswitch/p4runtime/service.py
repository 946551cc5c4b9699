"""The P4Runtime service over gRPC: checks and state are the device's, this turns messages into calls and back.

All of it runs on one event loop. A lock keeps a batch of updates whole towards reads, other writes, configurations and
changes of the primary, while packets go on between its chunks (P4Runtime 1.5, "Write RPC: Batching and Ordering").
Pipelines are made in a thread, one at a time, and put in place on the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from enum import Enum
from itertools import count, islice
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from pentaflow.p4runtime import p4r, rpc_status
from softswitch.p4runtime.arbitration import Notice
from softswitch.p4runtime.device import Device, election_id
from softswitch.p4runtime.forwarding import Forwarding
from softswitch.p4runtime.packet_io import packet_in_message, packet_out_frame
from softswitch.p4runtime.status import ERROR_SPACE, Code, RequestError, batch_status

API_VERSION = "1.5.0"
MAX_NOTICES = 64
MAX_MESSAGES = 1024
UPDATES_PER_CHUNK = 256
RESPONSE_OCTETS = 256 * 1024
MAX_RESPONSES = 1024
IDLE_PER_SWEEP = 4096
IDLE_PER_NOTIFICATION = 256

_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}

Context = grpc.aio.ServicerContext[Any, Any]
_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response")


class StreamMessage(Enum):
    """What a switch tells a controller; the values are P4Runtime's names."""

    PACKET_IN = "packet_in"
    DIGEST = "digest_list"
    IDLE = "idle_timeout_notification"
    ERROR = "stream_error"


class StreamDrop(Enum):
    """Why a message for the controller was dropped."""

    NO_PRIMARY = "no primary"
    SLOW_CLIENT = "the client does not keep up"
    NO_HEADER = "shorter than the packet_in header"


class _Stream:
    """What waits to be sent to one client.

    Of arbitration notices only the latest matter, so a client that does not read loses the oldest. Anything else is
    dropped when it does not keep up.
    """

    def __init__(self) -> None:
        self.notices: deque[p4r.StreamMessageResponse] = deque(maxlen=MAX_NOTICES)
        self.messages: deque[p4r.StreamMessageResponse] = deque()
        self.waiting = asyncio.Event()
        self._has_ended = False

    def notify(self, message: p4r.StreamMessageResponse) -> None:
        self.notices.append(message)
        self.waiting.set()

    def offer(self, message: p4r.StreamMessageResponse) -> bool:
        if len(self.messages) >= MAX_MESSAGES:
            return False
        self.messages.append(message)
        self.waiting.set()
        return True

    async def send_all(self, write: Callable[[p4r.StreamMessageResponse], Awaitable[None]]) -> None:
        """Send what comes, until `end` and all is sent, or the client is gone."""
        with suppress(grpc.aio.BaseError):
            while not self._has_ended:
                await self.waiting.wait()
                self.waiting.clear()
                while self.notices or self.messages:
                    await write((self.notices or self.messages).popleft())

    def end(self) -> None:
        """Nothing more will come."""
        self._has_ended = True
        self.waiting.set()


class P4RuntimeService:
    """The service for one device.

    Args:
        device: its clients, configuration and state.
        inject: takes the frame of a packet-out, which arrives on the CPU port.
    """

    def __init__(self, device: Device, inject: Callable[[bytes], None]) -> None:
        self.sent: Counter[StreamMessage] = Counter()
        self.drops: Counter[tuple[StreamMessage, StreamDrop]] = Counter()
        self._device = device
        self._inject = inject
        self._lock = asyncio.Lock()
        self._configuring = asyncio.Lock()
        self._numbers = count(1)
        self._streams: dict[int, _Stream] = {}

    # What the switch has to say to the controller.

    def packet_in(self, frame: bytes, forwarding: Forwarding) -> None:
        """A frame left through the CPU port."""
        message = packet_in_message(frame, forwarding.info.packet_in)
        if message is None:
            self.drops[StreamMessage.PACKET_IN, StreamDrop.NO_HEADER] += 1
        else:
            self._tell_primaries(StreamMessage.PACKET_IN, p4r.StreamMessageResponse(packet=message))

    def digest_list(self, digest_list: p4r.DigestList) -> None:
        """A digest list is due."""
        digest_list.timestamp = time.time_ns()
        self._tell_primaries(StreamMessage.DIGEST, p4r.StreamMessageResponse(digest=digest_list))

    def report_idle(self, forwarding: Forwarding, now_ns: int) -> None:
        """Report the entries that have become idle."""
        expired = iter(forwarding.timers.expired(now_ns, IDLE_PER_SWEEP))
        while chunk := list(islice(expired, IDLE_PER_NOTIFICATION)):
            notification = p4r.IdleTimeoutNotification(
                table_entry=[forwarding.tables.idle_notice(table, entry) for table, entry in chunk],
                timestamp=time.time_ns(),
            )
            self._tell_primaries(StreamMessage.IDLE, p4r.StreamMessageResponse(idle_timeout_notification=notification))

    def _tell_primaries(self, kind: StreamMessage, message: p4r.StreamMessageResponse) -> None:
        primaries = self._device.arbitration.primaries()
        if not primaries:
            self.drops[kind, StreamDrop.NO_PRIMARY] += 1
        for number in primaries:
            self._offer(self._streams[number], kind, message)

    def _offer(self, stream: _Stream, kind: StreamMessage, message: p4r.StreamMessageResponse) -> None:
        if stream.offer(message):
            self.sent[kind] += 1
        else:
            self.drops[kind, StreamDrop.SLOW_CLIENT] += 1

    def _notify(self, notices: Iterable[Notice]) -> None:
        primary_changed = False
        for notice in notices:
            update = p4r.MasterArbitrationUpdate(
                device_id=self._device.device_id, status=rpc_status.Status(code=notice.code)
            )
            if notice.role:
                update.role.name = notice.role
            if notice.election_id is not None:
                update.election_id.high = notice.election_id >> 64
                update.election_id.low = notice.election_id & (1 << 64) - 1
            self._streams[notice.stream].notify(p4r.StreamMessageResponse(arbitration=update))
            primary_changed |= notice.code == Code.OK
        if primary_changed and self._device.active is not None:
            self._device.active.digests.reset_caches()

    # RPCs.

    def rpc_handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """What a gRPC server needs to serve p4.v1.P4Runtime."""
        return grpc.method_handlers_generic_handler(
            "p4.v1.P4Runtime",
            {
                "StreamChannel": grpc.stream_stream_rpc_method_handler(
                    self._stream_channel, response_serializer=p4r.StreamMessageResponse.SerializeToString
                ),
                "Write": _unary(p4r.WriteRequest, self._write),
                "Read": grpc.unary_stream_rpc_method_handler(
                    _parsing(p4r.ReadRequest, self._read), response_serializer=p4r.ReadResponse.SerializeToString
                ),
                "SetForwardingPipelineConfig": _unary(p4r.SetForwardingPipelineConfigRequest, self._set_config),
                "GetForwardingPipelineConfig": _unary(p4r.GetForwardingPipelineConfigRequest, self._get_config),
                "Capabilities": _unary(p4r.CapabilitiesRequest, self._capabilities),
            },
        )

    async def _stream_channel(self, requests: AsyncIterator[bytes], context: Context) -> None:
        number = next(self._numbers)
        stream = self._streams[number] = _Stream()
        sender = asyncio.create_task(stream.send_all(context.write))
        refusal = None
        try:
            try:
                async for request in requests:
                    await self._handle(number, stream, _parse(p4r.StreamMessageRequest, request))
            except RequestError as error:
                refusal = error
            finally:
                notices = self._device.arbitration.close(number)
                del self._streams[number]
                self._notify(notices)
            # gRPC breaks when a status is to be sent while a message is still under way.
            stream.end()
            await sender
        finally:
            sender.cancel()
        if refusal is not None:
            await _abort(context, refusal)

    async def _handle(self, number: int, stream: _Stream, request: p4r.StreamMessageRequest) -> None:
        """Deal with one stream message; raises RequestError when it ends the stream."""
        kind = request.WhichOneof("update")
        if kind == "arbitration":
            await self._arbitrate(number, request.arbitration)
            return
        try:
            if not self._device.arbitration.is_primary(number):
                raise RequestError(Code.PERMISSION_DENIED, "this client is not the primary: it may only read")
            active = self._device.active
            if active is None:
                raise RequestError(Code.FAILED_PRECONDITION, "no forwarding pipeline config is active")
            match kind:
                case "packet":
                    self._inject(packet_out_frame(request.packet, active.info.packet_out))
                case "digest_ack":
                    active.digests.acknowledge(request.digest_ack)
                case _:
                    raise RequestError(Code.UNIMPLEMENTED, "architecture-specific messages are not supported")
        except RequestError as error:
            self._offer(stream, StreamMessage.ERROR, p4r.StreamMessageResponse(error=_stream_error(error, request)))

    async def _arbitrate(self, number: int, message: p4r.MasterArbitrationUpdate) -> None:
        if message.role.id:
            raise RequestError(Code.UNIMPLEMENTED, "role ids are deprecated since P4Runtime 1.4: name the role")
        async with self._lock:
            notices = self._device.arbitration.update(
                number,
                device_id=message.device_id,
                role=message.role.name,
                has_role_config=message.role.HasField("config"),
                election_id=election_id(message),
            )
            self._notify(notices)

    async def _write(self, request: p4r.WriteRequest, context: Context) -> p4r.WriteResponse:
        """Apply a batch of updates, each by itself."""
        results: list[RequestError | None] = []
        async with self._lock:
            try:
                forwarding = self._device.check_write(request)
            except RequestError as error:
                await _abort(context, error)
            for start in range(0, len(request.updates), UPDATES_PER_CHUNK):
                now_ns = time.monotonic_ns()
                for update in request.updates[start : start + UPDATES_PER_CHUNK]:
                    results.append(_attempt(forwarding, update, now_ns))
                await asyncio.sleep(0)
        await _finish_batch(context, "Write failure.", results)
        return p4r.WriteResponse()

    async def _read(self, request: p4r.ReadRequest, context: Context) -> None:
        """Answer a batch of queries, in bounded messages, from one state of the device."""
        async with self._lock:
            try:
                responses, results = await self._collect(request)
            except RequestError as error:
                await _abort(context, error)
        for response in responses:
            await context.write(response)
        await _finish_batch(context, "Read failure.", results)

    async def _collect(self, request: p4r.ReadRequest) -> tuple[list[p4r.ReadResponse], list[RequestError | None]]:
        """The answers to a batch of queries, and what became of each."""
        forwarding = self._device.check_read(request)
        responses: list[p4r.ReadResponse] = []
        results: list[RequestError | None] = []
        octets = RESPONSE_OCTETS
        for query in request.entities:
            try:
                for entity in forwarding.read(query, time.monotonic_ns()):
                    if octets >= RESPONSE_OCTETS:
                        if len(responses) == MAX_RESPONSES:
                            raise RequestError(
                                Code.RESOURCE_EXHAUSTED,
                                f"the answer is longer than {MAX_RESPONSES * RESPONSE_OCTETS >> 20} MiB: ask for less",
                            )
                        await asyncio.sleep(0)
                        responses.append(p4r.ReadResponse())
                        octets = 0
                    responses[-1].entities.append(entity)
                    octets += entity.ByteSize()
                results.append(None)
            except RequestError as error:
                results.append(error)
        return responses, results

    async def _set_config(
        self, request: p4r.SetForwardingPipelineConfigRequest, context: Context
    ) -> p4r.SetForwardingPipelineConfigResponse:
        """Verify, save or commit a configuration; everything else goes on while its pipeline is made."""
        async with self._configuring:
            try:
                async with self._lock:
                    needs_pipeline = self._device.check_config(request)
                realised = await asyncio.to_thread(self._device.realise, request) if needs_pipeline else None
                async with self._lock:
                    for step, _ in enumerate(self._device.preserve(request, realised, time.monotonic_ns())):
                        if step % UPDATES_PER_CHUNK == 0:
                            await asyncio.sleep(0)
                    self._device.set_config(request, realised)
            except RequestError as error:
                await _abort(context, error)
        return p4r.SetForwardingPipelineConfigResponse()

    async def _get_config(
        self, request: p4r.GetForwardingPipelineConfigRequest, context: Context
    ) -> p4r.GetForwardingPipelineConfigResponse:
        """The configuration that reads and writes refer to."""
        try:
            return self._device.get_config(request)
        except RequestError as error:
            await _abort(context, error)

    async def _capabilities(self, request: p4r.CapabilitiesRequest, context: Context) -> p4r.CapabilitiesResponse:
        """The version of P4Runtime; there are no capabilities of the device (P4Runtime 1.5, "Capabilities RPC")."""
        try:
            if request.device_id:
                self._device.arbitration.check_device(request.device_id)
        except RequestError as error:
            await _abort(context, error)
        return p4r.CapabilitiesResponse(p4runtime_api_version=API_VERSION)


def _parse(kind: type[_Request], data: bytes) -> _Request:
    """A message from its bytes; gRPC's own parsing would answer UNKNOWN. Raises RequestError INVALID_ARGUMENT."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise RequestError(Code.INVALID_ARGUMENT, f"not a message of type {kind.DESCRIPTOR.full_name}") from None


def _parsing(
    kind: type[_Request], serve: Callable[[_Request, Context], Awaitable[_Response]]
) -> Callable[[bytes, Context], Awaitable[_Response]]:
    async def parse_and_serve(data: bytes, context: Context) -> _Response:
        try:
            request = _parse(kind, data)
        except RequestError as error:
            await _abort(context, error)
        return await serve(request, context)

    return parse_and_serve


def _unary(
    kind: type[_Request], serve: Callable[[_Request, Context], Awaitable[Message]]
) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.unary_unary_rpc_method_handler(
        _parsing(kind, serve), response_serializer=lambda response: response.SerializeToString()
    )


def _attempt(forwarding: Forwarding, update: p4r.Update, now_ns: int) -> RequestError | None:
    try:
        forwarding.write(update, now_ns)
    except RequestError as error:
        return error
    return None


async def _abort(context: Context, error: RequestError) -> NoReturn:
    """End the RPC with an error."""
    await context.abort(_GRPC_CODES[error.code], error.message)


async def _finish_batch(context: Context, summary: str, results: list[RequestError | None]) -> None:
    """End the RPC with the errors of a batch, unless there are none."""
    if any(result is not None for result in results):
        status = batch_status(summary, results)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        await context.abort(grpc.StatusCode.UNKNOWN, summary)


def _stream_error(error: RequestError, request: p4r.StreamMessageRequest) -> p4r.StreamError:
    message = p4r.StreamError(canonical_code=error.code, message=error.message, space=ERROR_SPACE)
    match request.WhichOneof("update"):
        case "packet":
            message.packet_out.packet_out.CopyFrom(request.packet)
        case "digest_ack":
            message.digest_list_ack.digest_list_ack.CopyFrom(request.digest_ack)
        case _:
            message.other.SetInParent()
    return message
