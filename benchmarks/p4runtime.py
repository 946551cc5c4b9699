"""A raw P4Runtime client: the same for every target, and cheap, since what it sends is encoded beforehand."""

from __future__ import annotations

import queue
from collections.abc import Mapping, Sequence
from typing import Self

import grpc
from finsy.proto import U128, p4r_grpc
from google.protobuf.message import Message

from benchmarks.network import READY_TIMEOUT_S
from controller.codec import Codec
from controller.diff import Operation, Update
from controller.entries import Entry, Key
from controller.pipeline import load_pipeline
from pentaflow.errors import HostError
from pentaflow.p4runtime import p4r

ELECTION_ID = U128.encode(1)
_WRITE = "/p4.v1.P4Runtime/Write"
_UNBOUNDED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


class Device:
    """The primary controller of a device; the pipeline of this repository is committed when the block begins.

    Raises:
        HostError: on entry, when the device does not take the pipeline.
    """

    def __init__(self, address: str, device_id: int) -> None:
        self.address = address
        self._device_id = device_id
        self._channel = grpc.insecure_channel(address, options=_UNBOUNDED)
        self._write = self._channel.unary_unary(_WRITE, request_serializer=None, response_deserializer=None)
        self._requests: queue.SimpleQueue[p4r.StreamMessageRequest | None] = queue.SimpleQueue()
        self._pipeline = load_pipeline()
        self._codec = Codec(self._pipeline.p4info)

    def __enter__(self) -> Self:
        try:
            self._connect(p4r_grpc.P4RuntimeStub(self._channel))
        except grpc.RpcError as error:
            self.__exit__()
            raise HostError("bench", f"the switch does not take the pipeline: {error}") from None
        return self

    def _connect(self, stub: p4r_grpc.P4RuntimeStub) -> None:
        arbitration = p4r.MasterArbitrationUpdate(device_id=self._device_id, election_id=ELECTION_ID)
        self._requests.put(p4r.StreamMessageRequest(arbitration=arbitration))
        # After the answer nothing comes: no digest is configured, and no entry is idle for long enough. The device
        # is ours while the stream lives, so it is held.
        self._responses = stub.StreamChannel(iter(self._requests.get, None))
        next(iter(self._responses))
        config = p4r.ForwardingPipelineConfig(
            p4info=self._pipeline.p4info, p4_device_config=self._pipeline.program_path.read_bytes()
        )
        stub.SetForwardingPipelineConfig(
            p4r.SetForwardingPipelineConfigRequest(
                device_id=self._device_id,
                election_id=ELECTION_ID,
                action=p4r.SetForwardingPipelineConfigRequest.VERIFY_AND_COMMIT,
                config=config,
            ),
            timeout=READY_TIMEOUT_S,
        )

    def __exit__(self, *_: object) -> None:
        self._requests.put(None)
        self._channel.close()

    def encode_inserts(self, entries: Mapping[Key, Entry], batch: int) -> list[bytes]:
        """Write requests that insert these entries, in order, `batch` in each."""
        updates = [self._codec.encode_update(Update(Operation.INSERT, key, entry)) for key, entry in entries.items()]
        batches = (updates[i : i + batch] for i in range(0, len(updates), batch))
        return [_encode(self._request(updates)) for updates in batches]

    def _request(self, updates: Sequence[p4r.Update]) -> p4r.WriteRequest:
        return p4r.WriteRequest(device_id=self._device_id, election_id=ELECTION_ID, updates=updates)

    def write(self, requests: Sequence[bytes]) -> None:
        """Send encoded Write requests, each when the one before it was answered.

        Raises:
            HostError: the device does not take them.
        """
        try:
            for request in requests:
                self._write(request, timeout=READY_TIMEOUT_S)
        except grpc.RpcError as error:
            raise HostError("bench", f"the switch refused entries: {error}") from None


def _encode(message: Message) -> bytes:
    return message.SerializeToString()
