"""The softswitch as a whole: pipeline, ports and P4Runtime server on one event loop."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import grpc

from pentaflow.credentials import Credentials
from pentaflow.errors import HostError
from softswitch.c_backend.batches import Batches
from softswitch.capture import Capture
from softswitch.offload import NO_OFFLOAD, complete_checksum, shift_offsets
from softswitch.p4runtime.device import Device
from softswitch.p4runtime.forwarding import Forwarding
from softswitch.p4runtime.service import P4RuntimeService
from softswitch.pipeline import Engine, Output
from softswitch.ports import Ports

SWEEP_S = 0.05
MAX_MESSAGE_OCTETS = 128 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchOptions:
    """How to run a switch.

    Attributes:
        grpc_address: where the P4Runtime server listens; port 0 lets the kernel choose.
        device_id: the P4Runtime device id.
        ports: port number to interface name.
        cpu_port: the port that stands for the controller, None when the program knows none.
        tls: encrypts the P4Runtime server; with a `ca` only clients with a certificate signed by it are let in. None:
            no encryption.
        engine: what runs the pipeline.
        metrics: host and TCP port where Prometheus may ask for metrics; None: nowhere.
    """

    grpc_address: str = "127.0.0.1:9559"
    device_id: int = 1
    ports: Mapping[int, str] = field(default_factory=dict)
    cpu_port: int | None = 510
    tls: Credentials | None = None
    engine: Engine = Engine.AUTO
    metrics: tuple[str, int] | None = None


class SwitchDrop(Enum):
    """Why the switch, rather than a port or the pipeline, dropped a frame."""

    NO_PIPELINE = "no pipeline yet"
    UNKNOWN_PORT = "the switch has no such port"
    NO_CPU_PORT = "a packet-out, but no CPU port"
    PACKET_IN_BURST = "more packet-ins than a batch has room for"


class Switch:
    """A running switch; `close` ends it.

    Attributes:
        grpc_port: the TCP port that the server listens on.
        metrics_port: the one of the metrics, None when they are not served.
        ports: the interfaces.
    """

    def __init__(self, options: SwitchOptions) -> None:
        self._options = options
        self._device = Device(options.device_id, options.engine)
        self._service = P4RuntimeService(self._device, self._inject)
        self._digest_timer: asyncio.TimerHandle | None = None
        self._drops: Counter[SwitchDrop] = Counter()
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", MAX_MESSAGE_OCTETS),
            ]
        )
        self._server.add_generic_rpc_handlers((self._service.rpc_handler(),))
        self._batches = None if options.engine is Engine.PYTHON else Batches(options.ports, options.cpu_port)
        self.ports = Ports(
            options.ports,
            receive=self._receive,
            after_batch=self._drain_digests,
            batches=self._batches,
            forward=self._forward,
        )
        self._metrics_listener: socket.socket | None = None
        self.metrics_port: int | None = None
        try:
            self.grpc_port = self._listen()
            if options.metrics is not None:
                from pentaflow.serving import listen  # with an HTTP server, for those who want metrics

                host, port = options.metrics
                self._metrics_listener = listen(host, port, f"--metrics {host}:{port}")
                self.metrics_port = self._metrics_listener.getsockname()[1]
        except HostError:
            self.ports.close()
            raise

    def _listen(self) -> int:
        address = self._options.grpc_address
        try:
            if self._options.tls is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, _server_credentials(self._options.tls))
        except RuntimeError:
            port = 0
        if not port:
            raise HostError(address, "the P4Runtime server can't listen here: the address is in use or not this host's")
        return port

    @property
    def drops(self) -> Counter[SwitchDrop]:
        """Frames that the switch dropped, by reason."""
        if self._batches is None:
            return self._drops
        native = {
            SwitchDrop.UNKNOWN_PORT: self._batches.unknown_port,
            SwitchDrop.PACKET_IN_BURST: self._batches.packet_ins_dropped,
        }
        return self._drops + Counter(native)

    async def run(self, started: Callable[[], None] | None = None) -> None:
        """Serve until cancelled, then close everything.

        Args:
            started: called once the server answers and the ports forward.
        """
        try:
            await self._server.start()
            async with self._serving_metrics():
                if started is not None:
                    started()
                while True:
                    await asyncio.sleep(SWEEP_S)
                    if self._device.active is not None:
                        self._service.report_idle(self._device.active, time.monotonic_ns())
        finally:
            self.ports.close()
            if self._digest_timer is not None:
                self._digest_timer.cancel()
            await self._server.stop(grace=None)

    @asynccontextmanager
    async def _serving_metrics(self) -> AsyncIterator[None]:
        """Answer every request with the metrics, on this loop: collecting them takes about a millisecond."""
        if self._metrics_listener is None:
            yield
            return
        import uvicorn
        from prometheus_client import CollectorRegistry, make_asgi_app

        from pentaflow.serving import HttpServer
        from softswitch.metrics import SwitchCollector

        registry = CollectorRegistry(auto_describe=False)
        registry.register(
            SwitchCollector(
                device=self._device,
                service=self._service,
                ports=self.ports,
                drops=lambda: {reason: self.drops[reason] for reason in SwitchDrop},
            )
        )
        server = HttpServer(
            uvicorn.Config(
                make_asgi_app(registry),
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=1,
            )
        )
        with self._metrics_listener as listener:
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                yield
            finally:
                server.should_exit = True
                await serving

    def _forward(self, port: int) -> int | None:
        """Forward what waits at a port in native code, when that runs the pipeline."""
        forwarding, batches = self._device.active, self._batches
        if batches is None or forwarding is None or forwarding.pipeline.native is None:
            return None
        error = batches.forward(forwarding.pipeline.native, port)
        for frame, header in batches.packet_ins():
            self._service.packet_in(complete_checksum(frame, header), forwarding)
        return error

    def _receive(self, port: int, frame: memoryview, header: bytes) -> None:
        forwarding = self._device.active
        if forwarding is None:
            self._drops[SwitchDrop.NO_PIPELINE] += 1
            return
        length = len(frame)
        for output in forwarding.pipeline.process(port, frame, time.monotonic_ns()):
            self._send(output, forwarding, header, len(output.frame) - length)

    def _inject(self, frame: bytes) -> None:
        """A packet-out: it arrives on the CPU port."""
        forwarding = self._device.active
        cpu_port = self._options.cpu_port
        if forwarding is None or cpu_port is None:
            self._drops[SwitchDrop.NO_CPU_PORT] += 1
            return
        for output in forwarding.pipeline.process(cpu_port, frame, time.monotonic_ns()):
            self._send(output, forwarding, NO_OFFLOAD, 0)
        self._drain_digests()

    def _send(self, output: Output, forwarding: Forwarding, header: bytes, shift: int) -> None:
        if output.port == self._options.cpu_port:
            self._service.packet_in(complete_checksum(output.frame, shift_offsets(header, shift)), forwarding)
        elif output.port in self._options.ports:
            self.ports.send(output.port, output.frame, header, shift=shift)
        else:
            self._drops[SwitchDrop.UNKNOWN_PORT] += 1

    def _drain_digests(self) -> None:
        """Offer what the data plane has learned, and come back when a list is due."""
        forwarding = self._device.active
        if forwarding is None or not forwarding.pipeline.digests:
            return
        now_ns = time.monotonic_ns()
        for digest in forwarding.pipeline.digests:
            digest_list = forwarding.digests.offer(digest.name, digest.values, now_ns)
            if digest_list is not None:
                self._service.digest_list(digest_list)
        forwarding.pipeline.digests.clear()
        self._schedule_digests(forwarding, now_ns)

    def _schedule_digests(self, forwarding: Forwarding, now_ns: int) -> None:
        if self._digest_timer is not None:
            self._digest_timer.cancel()
            self._digest_timer = None
        deadline_ns = forwarding.digests.deadline_ns()
        if deadline_ns is not None:
            self._digest_timer = asyncio.get_running_loop().call_later(
                max(0, deadline_ns - now_ns) / 1e9, self._send_due_digests
            )

    def _send_due_digests(self) -> None:
        forwarding = self._device.active
        if forwarding is not None:
            now_ns = time.monotonic_ns()
            for digest_list in forwarding.digests.take(now_ns):
                self._service.digest_list(digest_list)
            self._schedule_digests(forwarding, now_ns)


def _server_credentials(tls: Credentials) -> grpc.ServerCredentials:
    assert tls.identity is not None, "a server shows a certificate"
    return grpc.ssl_server_credentials(
        [(tls.identity.key, tls.identity.certificate)],
        root_certificates=tls.ca,
        require_client_auth=tls.ca is not None,
    )


async def run_switch(
    options: SwitchOptions,
    *,
    captures: Mapping[int, Path] | None = None,
    capture_octets: int = 1 << 30,
    started: Callable[[], None] | None = None,
) -> None:
    """Run a switch until cancelled.

    Args:
        options: how.
        captures: pcap files by port number.
        capture_octets: how long each may become.
        started: called once the server answers and the ports forward.

    Raises:
        ConfigurationError: a pcap file can't be written.
        HostError: the gRPC address is taken, an interface is missing, or a privilege is.
    """
    with ExitStack() as cleanup:
        for number, path in (captures or {}).items():
            cleanup.enter_context(closing(Capture(options.ports[number], path, capture_octets)))
        await Switch(options).run(started)
