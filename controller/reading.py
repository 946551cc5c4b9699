"""What a switch says when it is asked (shell): its pipeline, its entries, counters, and that it is there.

Asked over a channel beside finsy's, for answers that are longer than gRPC takes by default.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
from finsy import GRPCCredentialsTLS, P4ClientError
from finsy.grpcutil import GRPCStatusCode
from finsy.proto import p4r, p4r_grpc

from controller.actual import Actual
from controller.codec import Codec, Hits
from controller.p4info import check_p4info
from pentaflow.config import Switch
from pentaflow.files import read_switch_credentials

READ_TIMEOUT_S = 60.0
HEARTBEAT_TIMEOUT_S = 5.0
MAX_READ_BYTES = 256 << 20


class ReadFailed(Exception):
    """A Read was refused or not answered."""

    def __init__(self, error: P4ClientError) -> None:
        super().__init__(f"{error.code.name}: {error.message}")
        self.code = error.code.name
        codes = {detail.canonical_code for detail in error.details.values()} or {error.code}
        self.is_not_found = codes == {GRPCStatusCode.NOT_FOUND}


class SwitchReader:
    """Asks one switch, as long as its channel is open."""

    def __init__(self, stub: p4r_grpc.P4RuntimeAsyncStub, switch: Switch, codec: Codec) -> None:
        self._stub = stub
        self._switch = switch
        self._codec = codec

    async def check_pipeline(self) -> None:
        """
        Raises:
            PipelineMismatchError: the switch runs something else.
            ReadFailed: it doesn't say.
        """
        request = p4r.GetForwardingPipelineConfigRequest(
            device_id=self._switch.device_id,
            response_type=p4r.GetForwardingPipelineConfigRequest.P4INFO_AND_COOKIE,
        )
        try:
            response = await self._stub.GetForwardingPipelineConfig(request, timeout=READ_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise ReadFailed(P4ClientError(error, "GetForwardingPipelineConfig")) from None
        check_p4info(response.config.p4info, f"switch {self._switch.name}")

    async def read_all(self, into: Actual) -> None:
        """Read everything that the controller writes; raises ReadFailed."""
        async for entities in self._read(self._codec.wildcards()):
            into.update(self._codec.decode_entities(entities))
        try:
            async for entities in self._read([self._codec.digest()]):
                into.update(self._codec.decode_entities(entities))
        except ReadFailed as error:
            if not error.is_not_found:
                raise

    async def read_hits(self, vserver_id: int, buckets: Sequence[int]) -> dict[int, Hits]:
        """What the switch has counted of some buckets; one that it has no entry for is left out. Raises ReadFailed."""
        found = {}
        async for entities in self._read([self._codec.hits_query(vserver_id, bucket) for bucket in buckets]):
            for entity in entities:
                key, hits = self._codec.decode_hits(entity)
                found[key.match[1]] = hits
        return found

    async def check_heartbeat(self) -> None:
        """Ask for something small; raises ReadFailed."""
        try:
            await self._stub.Capabilities(p4r.CapabilitiesRequest(), timeout=HEARTBEAT_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise ReadFailed(P4ClientError(error, "Capabilities")) from None

    async def _read(self, entities: Sequence[p4r.Entity]) -> AsyncIterator[Sequence[p4r.Entity]]:
        request = p4r.ReadRequest(device_id=self._switch.device_id, entities=entities)
        try:
            async for response in self._stub.Read(request, timeout=READ_TIMEOUT_S):
                yield response.entities
        except grpc.aio.AioRpcError as error:
            raise ReadFailed(P4ClientError(error, "Read")) from None


def channel_credentials(switch: Switch) -> GRPCCredentialsTLS | None:
    """Read for each connection, so that a renewed certificate is used by the next one; raises ConfigurationError."""
    if switch.tls is None:
        return None
    credentials = read_switch_credentials(switch.tls, f"switch {switch.name}")
    identity = credentials.identity
    return GRPCCredentialsTLS(
        cacert=credentials.ca,
        cert=identity.certificate if identity else None,
        private_key=identity.key if identity else None,
    )


@asynccontextmanager
async def open_reader(
    switch: Switch, codec: Codec, credentials: GRPCCredentialsTLS | None
) -> AsyncIterator[SwitchReader]:
    """A reader with a channel of its own."""
    options = [("grpc.max_receive_message_length", MAX_READ_BYTES)]
    if credentials is None:
        channel = grpc.aio.insecure_channel(str(switch.grpc), options=options)
    else:
        channel = grpc.aio.secure_channel(str(switch.grpc), credentials.to_client_credentials(), options=options)
    async with channel:
        yield SwitchReader(p4r_grpc.P4RuntimeStub(channel), switch, codec)
