"""A softswitch with virtual nodes at its ports: real P4Runtime over loopback, the real pipeline, no interfaces.

The wire is the only thing that is not real: `VirtualPorts` stands in for `softswitch.ports.Ports`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from enum import Enum
from pathlib import Path

import grpc
import httpx
from finsy.proto import p4r, p4r_grpc

from controller.app import Given, run_controller
from controller.codec import Codec
from controller.entries import Entry, Key
from controller.pipeline import load_pipeline
from controller.store.opening import MEMORY
from controller.tcp_probe import Segment, TcpFlags, encode_segment, maybe_decode_segment
from pentaflow.config import Configuration, HostPort, parse_mac
from softswitch import switch as softswitch
from softswitch.offload import NO_OFFLOAD

WAIT_S = 20.0
CODEC = Codec(load_pipeline().p4info)


class Behaviour(Enum):
    """What a virtual node does with a SYN."""

    ANSWERS = "answers"
    REFUSES = "refuses"
    SILENT = "silent"


class VirtualArray:
    """Nodes by name, what left the switch, and a way to send frames into it."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.behaviour = {node.name: Behaviour.ANSWERS for node in configuration.nodes}
        self.resets: dict[str, int] = dict.fromkeys(self.behaviour, 0)
        self.sent: list[tuple[int, bytes]] = []
        self._nodes = {(n.ports["s1"], parse_mac(n.mac)): n.name for n in configuration.nodes}
        self._receive: Callable[[int, memoryview, bytes], None] | None = None
        self._after_batch: Callable[[], None] | None = None

    def ports(
        self,
        ports: Mapping[int, str],
        *,
        receive: Callable[[int, memoryview, bytes], None],
        after_batch: Callable[[], None],
        batches: object,
        forward: object,
    ) -> VirtualArray:
        """Takes the place of the class `Ports`; frames go in one by one, never in batches."""
        del batches, forward
        self._receive, self._after_batch = receive, after_batch
        return self

    def inject(self, port: int, frame: bytes) -> None:
        """A frame comes in on a port of the switch."""
        assert self._receive is not None
        assert self._after_batch is not None
        self._receive(port, memoryview(frame), NO_OFFLOAD)
        self._after_batch()

    def send(self, number: int, frame: bytes, header: bytes = NO_OFFLOAD, *, shift: int = 0) -> bool:
        """A frame leaves the switch."""
        segment = maybe_decode_segment(bytes(frame))
        node = self._nodes.get((number, segment.dst_mac)) if segment else None
        if segment is None or node is None:
            self.sent.append((number, bytes(frame)))
        elif segment.flags == TcpFlags.RST:
            self.resets[node] += 1
        elif self.behaviour[node] is not Behaviour.SILENT:
            refuses = self.behaviour[node] is Behaviour.REFUSES
            reply = Segment(
                src_mac=segment.dst_mac,
                dst_mac=segment.src_mac,
                src=segment.dst,
                dst=segment.src,
                src_port=segment.dst_port,
                dst_port=segment.src_port,
                seq=0 if refuses else 7,
                ack=segment.seq + 1 & 0xFFFF_FFFF,
                flags=TcpFlags.RST | TcpFlags.ACK if refuses else TcpFlags.SYN | TcpFlags.ACK,
            )
            asyncio.get_running_loop().call_soon(self.inject, number, encode_segment(reply))
        return True

    def close(self) -> None:
        """The switch ends."""


@asynccontextmanager
async def background(run: Callable[[Callable[[], None]], Awaitable[None]]) -> AsyncIterator[asyncio.Task[None]]:
    """Run a server from when it calls `started` until the end of the block; its failure fails the block."""
    started = asyncio.Event()

    async def body() -> None:
        await run(started.set)

    task = asyncio.create_task(body())
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait({task, waiting}, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
    if not started.is_set():
        waiting.cancel()
        task.cancel()
        await task
        raise TimeoutError("the server has not started")
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def status_server(address: HostPort | None) -> AsyncIterator[None]:
    """Answers as a node's management address does: vserver `web` has no connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                document: dict[str, object] = {
                    "ok": True,
                    "vservers": [{"name": "web", "connections": 0, "open_connections": 0}],
                }
                if head.startswith(b"POST /open-connections "):
                    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                    await reader.readexactly(int(length.partition(b":")[2]))
                    document = {"web": {"open": 0, "buckets": {}}}
                body = json.dumps(document).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (len(body), body)
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    assert address is not None
    async with await asyncio.start_server(answer, address.host, address.port):
        yield


def given(configuration: Configuration) -> Given:
    """A configuration as from a file, with its text: JSON is YAML."""
    document = configuration.model_dump(mode="json", exclude_defaults=True)
    for vserver, dumped in zip(configuration.vservers, document.get("vservers", []), strict=True):
        if vserver.hash_key:
            dumped["hash_key"] = vserver.hash_key.get_secret_value()
    return Given(configuration=configuration, text=json.dumps(document), base=Path())


@asynccontextmanager
async def running_controller(
    configuration: Configuration, *, store_url: str = MEMORY
) -> AsyncIterator[httpx.AsyncClient]:
    """The controller and a client of its REST API."""
    async with (
        background(lambda started: run_controller(given(configuration), store_url=store_url, started=started)),
        httpx.AsyncClient(base_url=f"http://{configuration.controller.rest}", trust_env=False) as client,
    ):
        yield client


def running_switch(address: str) -> AbstractAsyncContextManager[asyncio.Task[None]]:
    """A softswitch; use with `VirtualArray.ports` in place of `Ports`."""
    options = softswitch.SwitchOptions(grpc_address=address, ports={n: f"virtual{n}" for n in range(1, 5)})
    return background(lambda started: softswitch.run_switch(options, started=started))


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for a condition."""
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                if await condition():
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited {WAIT_S:g} s for {what}") from None


async def read_back(address: str, device_id: int = 1) -> dict[Key, Entry]:
    """All entries of the switch that belong to the controller."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = p4r_grpc.P4RuntimeStub(channel)
        found: dict[Key, Entry] = {}
        for entities in (CODEC.wildcards(), [CODEC.digest()]):
            async for response in stub.Read(p4r.ReadRequest(device_id=device_id, entities=entities), timeout=WAIT_S):
                found.update(CODEC.decode_entities(response.entities))
        return found
