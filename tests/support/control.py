"""A synchronous P4Runtime client for tests: raw gRPC stubs, with finsy's schema for names and numbers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import finsy as fy
import grpc
from finsy import p4entity
from finsy.proto import U128, p4r, p4r_grpc

BUILD = Path(__file__).parents[2] / "p4/build"
ELECTION_ID = 1
WAIT_S = 10.0

Entity = fy.P4TableEntry | fy.P4MulticastGroupEntry | fy.P4DigestEntry


class ControlClient:
    """The primary controller of one device, with the Pentaflow pipeline committed on it."""

    def __init__(self, address: str, device_id: int) -> None:
        self._schema = fy.P4Schema(BUILD / "pentaflow.p4info.txtpb", BUILD / "pentaflow.json")
        self._device_id = device_id
        self._channel = grpc.insecure_channel(address)
        self._stub = p4r_grpc.P4RuntimeStub(self._channel)
        self._requests: queue.SimpleQueue[p4r.StreamMessageRequest | None] = queue.SimpleQueue()
        self._arbitrated = threading.Event()
        self.packet_ins: queue.SimpleQueue[fy.P4PacketIn] = queue.SimpleQueue()
        self.digests: queue.SimpleQueue[fy.P4DigestList] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read_stream, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        arbitration = p4r.MasterArbitrationUpdate(device_id=self._device_id, election_id=U128.encode(ELECTION_ID))
        self._requests.put(p4r.StreamMessageRequest(arbitration=arbitration))
        if not self._arbitrated.wait(WAIT_S):
            raise TimeoutError("no answer to arbitration")
        self._stub.SetForwardingPipelineConfig(
            p4r.SetForwardingPipelineConfigRequest(
                device_id=self._device_id,
                election_id=U128.encode(ELECTION_ID),
                action=p4r.SetForwardingPipelineConfigRequest.VERIFY_AND_COMMIT,
                config=self._schema.get_pipeline_config(),
            ),
            timeout=WAIT_S,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.put(None)
        self._channel.close()
        self._reader.join(WAIT_S)

    def _read_stream(self) -> None:
        responses = self._stub.StreamChannel(iter(self._requests.get, None))
        try:
            for response in responses:
                match response.WhichOneof("update"):
                    case "arbitration":
                        self._arbitrated.set()
                    case "packet":
                        self.packet_ins.put(fy.P4PacketIn.decode(response, self._schema))
                    case "digest":
                        self.digests.put(fy.P4DigestList.decode(response, self._schema))
        except grpc.RpcError:
            return  # the channel was closed

    def insert(self, *entities: Entity) -> None:
        self._write(p4r.Update.INSERT, entities)

    def modify(self, *entities: Entity) -> None:
        self._write(p4r.Update.MODIFY, entities)

    def delete(self, *entities: Entity) -> None:
        self._write(p4r.Update.DELETE, entities)

    def _write(self, kind: p4r.Update.Type.ValueType, entities: Iterable[Entity]) -> None:
        updates = [p4r.Update(type=kind, entity=entity.encode(self._schema)) for entity in entities]
        if updates:
            request = p4r.WriteRequest(device_id=self._device_id, election_id=U128.encode(ELECTION_ID), updates=updates)
            self._stub.Write(request, timeout=WAIT_S)

    def read(self, *entities: Any) -> Iterator[Any]:
        """Entities of the device that the given ones (wildcards where fields are left out) stand for."""
        request = p4r.ReadRequest(device_id=self._device_id)
        request.entities.extend(p4entity.encode_entities(entities, self._schema))
        for response in self._stub.Read(request, timeout=WAIT_S):
            for entity in response.entities:
                yield p4entity.decode_entity(entity, self._schema)

    def delete_everything(self) -> None:
        """Delete all table entries and multicast groups; the digest stays configured."""
        entries = [entry for entry in self.read(fy.P4TableEntry()) if not (entry.is_const or entry.is_default_action)]
        self.delete(*entries, *self.read(fy.P4MulticastGroupEntry()))

    def packet_out(self, frame: bytes, *, egress_port: int = 0, submit_to_ingress: bool = False) -> None:
        message = fy.P4PacketOut(frame, egress_port=egress_port, submit_to_ingress=int(submit_to_ingress), unused_pad=0)
        self._requests.put(message.encode_update(self._schema))

    def acknowledge(self, digest: fy.P4DigestList) -> None:
        self._requests.put(digest.ack().encode_update(self._schema))
