"""The connection to one switch (shell): pipeline, reading back, writing, packets, digests, idle notices.

finsy keeps the stream and the arbitration. What should be on the switch is asked of the core when it is written; what
is on it is kept in `_actual`, from reading it back and from acknowledged writes. When a write fails, the switch is
read back again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from functools import partial

import structlog
from finsy import P4ClientError, P4PacketOut, SwitchEvent
from finsy import Switch as Connection
from finsy import SwitchOptions as ConnectionOptions
from finsy.grpcutil import GRPCStatusCode

from controller.changes import Changes
from controller.codec import Codec, Hits
from controller.core import Core
from controller.diff import Operation, Update, diff
from controller.entries import LEARN_DIGEST, TABLES, Key, Kind
from controller.on_demand import REASON_UNASSIGNED, Fate, HeldPackets
from controller.pipeline import Pipeline
from controller.prober import MAX_PROBES_PER_S, PacketOut, Prober
from controller.probes import Probes, Report
from controller.reading import ReadFailed, SwitchReader, channel_credentials, open_reader
from pentaflow.config import Switch
from pentaflow.errors import PipelineMismatchError

RECONNECT_S = 0.5
RETRY_S = 1.0
REFUSED_RETRY_S = 5.0
LET_GO_S = 1.0
# A switch that is cut off in silence breaks no connection for minutes. Pings of HTTP/2 would tell, too, but unless they
# are told otherwise servers take more than one in five minutes for abuse.
HEARTBEAT_INTERVAL_S = 2.0
ADOPTION_POLL_S = 0.05
_LET_GO_POLL_S = 0.01
# Messages from the switch that may wait while the controller is busy; what is beyond is dropped and comes again.
QUEUE_SIZE = 4096
# Announcements that may wait for a switch; those of more VIPs than this come again a second later.
ANNOUNCEMENTS = 1024
_LOGGED_ERRORS = 5
_PACKET_OUT_RESERVED = {"submit_to_ingress": 0, "unused_pad": 0}
_PACKET_OUT_SUBMITTED = {"egress_port": 0, "submit_to_ingress": 1, "unused_pad": 0}

log = structlog.get_logger(__name__)


class SessionState(StrEnum):
    """Where a switch's session stands."""

    DISCONNECTED = "disconnected"
    BACKUP = "backup"
    RECONCILING = "reconciling"
    READY = "ready"


class WriteFailed(Exception):
    """A Write was refused, wholly or in part, or not answered."""


class NotConnected(Exception):
    """A switch can't be asked: there is no connection."""


class SwitchSession:
    """Keeps one switch as the core wants it, for as long as `run` runs."""

    def __init__(
        self,
        core: Core,
        switch: Switch,
        pipeline: Pipeline,
        *,
        epoch: int,
        probe_key: int,
        report_probe: Report,
        dispatch: Callable[[Changes | None], None],
        drained: Callable[[], None],
    ) -> None:
        """
        Args:
            core: decides.
            switch: the switch's configuration.
            pipeline: what it must run.
            epoch: of this controller as leader.
            probe_key: 64-bit secret for probes.
            report_probe: is told the outcome of each probe.
            dispatch: hands changes to all sessions that they concern.
            drained: is called when nothing is left to write.
        """
        self.name = switch.name
        self.state = SessionState.DISCONNECTED
        self.error = ""
        self._core = core
        self._switch = switch
        self._pipeline = pipeline
        self._codec = Codec(pipeline.p4info)
        self._epoch = epoch
        self._probe_key = probe_key
        self._report_probe = report_probe
        self._dispatch = dispatch
        self._drained = drained
        self._actual = core.assignment.new_actual()
        self._urgent: deque[tuple[Changes, int]] = deque()
        self._batches: deque[Iterator[list[Key]]] = deque()
        self._wake = asyncio.Event()
        self.held = HeldPackets()
        self._has_ready = asyncio.Event()
        self._closed = asyncio.Event()
        self._accepts = False
        self._is_writing = False
        self._election_id = 0
        self._superseded = False
        self._announcements: asyncio.Queue[Sequence[bytes]] = asyncio.Queue(ANNOUNCEMENTS)
        self._probes: Probes | None = None
        self._reader: SwitchReader | None = None
        # grpc.aio takes one write to a stream at a time: a second one breaks the stream.
        self._sending = asyncio.Lock()

    @property
    def is_drained(self) -> bool:
        """Whether nothing waits to be written to a switch that is connected."""
        return not (self._accepts and (self._urgent or self._batches or self._is_writing))

    def enqueue(self, changes: Changes) -> None:
        """Write what these changes need. While the switch is not read back there is nothing to compare with."""
        if not self._accepts:
            return
        if changes.is_assignment and self._urgent and self._urgent[-1][0].is_assignment:
            waiting, decided_ns = self._urgent.pop()
            self._urgent.append((replace(waiting, keys=waiting.keys + changes.keys), decided_ns))
        elif changes.is_urgent:
            self._urgent.append((changes, time.monotonic_ns()))
        else:
            self._batches.append(self._core.batches_of(self.name, changes.keys, self._actual))
        self._wake.set()

    def reconfigure(self, switch: Switch) -> None:
        """Another configuration is in force; the switch is to be reached as before.

        What it holds is compared with what it should hold, and its probes begin anew.
        """
        self._switch = switch
        self._actual.resize(self._core.assignment.sizes)
        self.held.give_up()
        if self._probes is not None:
            self._probes.replace(self._make_prober())
        if self._accepts:
            self._batches.append(self._core.reconcile(self.name, self._actual, time.monotonic_ns()))
            self._wake.set()

    def reaches(self, switch: Switch) -> bool:
        """Whether a switch is reached as this session does."""
        mine = self._switch
        return (mine.name, mine.grpc, mine.device_id, mine.tls) == (
            switch.name,
            switch.grpc,
            switch.device_id,
            switch.tls,
        )

    def _make_prober(self) -> Prober:
        configuration = self._core.configuration
        prober = Prober(configuration, self._switch, key=self._probe_key, now_ns=time.monotonic_ns())
        if prober.interval_ns > configuration.controller.health.interval_ms * 1_000_000:
            log.warning(
                "so many nodes and vservers are probed less often than configured",
                switch=self.name,
                interval_ms=prober.interval_ns / 1e6,
                probes_per_s=MAX_PROBES_PER_S,
            )
        return prober

    async def run(self) -> None:
        """Connect, and connect again, until cancelled."""
        while True:
            attempt = asyncio.create_task(self._connect())
            try:
                # Not awaited directly: when one of finsy's tasks fails it cancels the others, this one included.
                await asyncio.wait({attempt})
            finally:
                attempt.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({attempt})
            if attempt.cancelled() and self.state is SessionState.DISCONNECTED:
                self._disconnected("the switch refused the session or the pipeline; finsy's log line says why")
                await asyncio.sleep(REFUSED_RETRY_S)
            else:
                self._disconnected("" if attempt.cancelled() else str(attempt.exception() or ""))
                await asyncio.sleep(RECONNECT_S)

    async def _connect(self) -> None:
        options = ConnectionOptions(
            p4info=self._pipeline.p4info_path,
            p4blob=self._pipeline.program_path,
            device_id=self._switch.device_id,
            initial_election_id=self._next_election_id(),
            ready_handler=self._ready,
            channel_credentials=channel_credentials(self._switch),
        )
        connection = Connection(self.name, str(self._switch.grpc), options)
        closed = self._closed = asyncio.Event()
        connection.ee.once(SwitchEvent.CHANNEL_DOWN, lambda _: closed.set())
        # The stream may break before `_ready` comes to run.
        connection.ee.on(SwitchEvent.BECOME_BACKUP, lambda _: self._note_role(connection))
        try:
            async with connection:
                await closed.wait()
        except P4ClientError as error:
            raise ConnectionError(f"{error.code.name}: {error.message}") from None

    def _next_election_id(self) -> int:
        """The leader's epoch, then the time: a new session wins over the one of ours that it replaces.

        The stream of that may live on at the switch for as long as TCP takes to notice. Who has lost to another
        controller does not bid again: two that don't share a store would take the switch from each other for ever.
        """
        if not self._superseded:
            self._election_id = max(self._election_id + 1, self._epoch << 64 | time.time_ns())
        return self._election_id

    def _note_role(self, connection: Connection) -> None:
        self._superseded = not connection.is_primary

    def _disconnected(self, reason: str) -> None:
        was_connected = self.state is not SessionState.DISCONNECTED
        self.state, self._accepts = SessionState.DISCONNECTED, False
        self._probes = self._reader = None
        self.held.give_up()
        if was_connected:
            reason = self.error or reason or "the connection was lost"
            for changes in self._core.lost(self.name, reason, time.monotonic_ns()):
                self._dispatch(changes)
        elif reason != self.error:
            log.warning("switch cannot be reached", switch=self.name, reason=reason)
        self.error = reason

    async def _ready(self, connection: Connection) -> None:
        """Called by finsy when the pipeline is there, and again when the role changes."""
        self._accepts = False
        self._note_role(connection)
        if not connection.is_primary:
            self.state, self.error = SessionState.BACKUP, "another controller is primary"
            log.warning("switch is controlled by another controller", switch=self.name)
            return
        self.state, self.error = SessionState.RECONCILING, ""
        probes = self._probes = Probes(self._make_prober(), partial(self._send, connection), self._report_probe)
        announcements = self._announcements = asyncio.Queue(ANNOUNCEMENTS)
        connection.create_task(self._read_packets(connection, probes))
        connection.create_task(self._read_digests(connection))
        connection.create_task(self._read_idle_notices(connection))
        connection.create_task(self._keep_written(connection, probes))
        connection.create_task(self._send_on(connection))
        connection.create_task(self._send_announcements(connection, announcements))

    async def let_go(self, given_up: Iterable[Changes]) -> bool:
        """The switch is no longer configured: write these changes and nothing else, then `run` is to be cancelled.

        Returns:
            whether they have reached the switch.
        """
        self._urgent.clear()
        self._batches.clear()
        for changes in given_up:
            self.enqueue(changes)
        with suppress(TimeoutError):
            async with asyncio.timeout(LET_GO_S):
                while self._accepts:
                    if self.is_drained:
                        return True
                    await asyncio.sleep(_LET_GO_POLL_S)
        return False

    def announce(self, frames: Sequence[bytes]) -> None:
        """Send frames out of every port, if the switch is there and has not got too many of them to send."""
        if self.state is SessionState.READY:
            with suppress(asyncio.QueueFull):
                self._announcements.put_nowait(frames)

    # From the switch.

    async def _read_packets(self, connection: Connection, probes: Probes) -> None:
        async for packet in connection.read_packets(queue_size=QUEUE_SIZE):
            if packet["reason"] == REASON_UNASSIGNED:
                self._find_node(packet["vserver_id"], packet["bucket"], packet.payload)
            else:
                probes.receive(packet.payload)

    def _find_node(self, vserver_id: int, bucket: int, frame: bytes) -> None:
        """A packet came because its bucket has no slot; by now it may have one."""
        key = Key(Kind.BUCKET, (vserver_id, bucket))
        self._dispatch(self._core.assign(vserver_id, bucket, time.monotonic_ns()))
        is_known = vserver_id in self._core.assignment.sizes
        if not is_known or self._core.assignment.maybe_entry(self.name, key) is None:
            self.held.drop(Fate.NO_NODE)
        elif self._accepts and key in self._actual:
            self.held.send_on(frame)
            self._has_ready.set()
        else:
            self.held.hold(key, frame)

    async def _read_digests(self, connection: Connection) -> None:
        async for digest in connection.read_digests(LEARN_DIGEST, queue_size=QUEUE_SIZE):
            stations = [(data["vlan_id"], data["src_mac"], data["ingress_port"]) for data in digest]
            self._dispatch(self._core.learn(self.name, stations, time.monotonic_ns()))
            async with self._sending:
                await connection.write([digest.ack()])

    async def _read_idle_notices(self, connection: Connection) -> None:
        async for notice in connection.read_idle_timeouts(queue_size=QUEUE_SIZE):
            keys = [
                Key(Kind(entry.table_id), tuple(entry[field] for field in TABLES[Kind(entry.table_id)].fields))
                for entry in notice
            ]
            stations = [key for key in keys if key.kind is Kind.SMAC]
            buckets = [key for key in keys if key.kind is Kind.BUCKET]
            self._dispatch(self._core.station_idle(self.name, stations))
            self._dispatch(self._core.bucket_idle(self.name, buckets, time.monotonic_ns()))

    # To the switch.

    async def _send(self, connection: Connection, packets: Sequence[PacketOut]) -> None:
        if packets:
            async with self._sending:
                await connection.write(
                    [P4PacketOut(packet.frame, egress_port=packet.port, **_PACKET_OUT_RESERVED) for packet in packets]
                )

    async def _send_announcements(self, connection: Connection, waiting: asyncio.Queue[Sequence[bytes]]) -> None:
        while True:
            frames = await waiting.get()
            await self._send(connection, [PacketOut(port=port, frame=f) for port in self._switch.ports for f in frames])

    async def _send_on(self, connection: Connection) -> None:
        """Give packets back to the switch whose bucket has a slot now: they go the way of all that follow them."""
        while True:
            await self._has_ready.wait()
            self._has_ready.clear()
            if frames := self.held.take_ready():
                async with self._sending:
                    await connection.write([P4PacketOut(frame, **_PACKET_OUT_SUBMITTED) for frame in frames])

    async def _keep_written(self, connection: Connection, probes: Probes) -> None:
        async with open_reader(self._switch, self._codec, connection.options.channel_credentials) as reader:
            self._reader = reader
            probing = None
            while True:
                try:
                    await reader.check_pipeline()
                    await self._reconcile(connection, reader)
                    if probing is None:
                        probing = connection.create_task(probes.run())
                        connection.create_task(self._check_heartbeat(reader))
                    await self._write_forever(connection)
                except (PipelineMismatchError, ReadFailed, WriteFailed) as error:
                    self._accepts, self.state, self.error = False, SessionState.RECONCILING, str(error)
                    self.held.give_up()
                    log.error("switch is read back again", switch=self.name, reason=self.error)
                    await asyncio.sleep(RETRY_S)

    async def _check_heartbeat(self, reader: SwitchReader) -> None:
        """End the connection when the switch is silent."""
        while True:
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)
            try:
                await reader.check_heartbeat()
            except ReadFailed as error:
                self.error = f"no heartbeat: {error.code}"
                self._closed.set()
                return

    async def _reconcile(self, connection: Connection, reader: SwitchReader) -> None:
        """Read the switch back and write the differences."""
        started_ns = time.monotonic_ns()
        actual = self._core.assignment.new_actual()
        await reader.read_all(actual)
        while True:
            if self._core.may_reconcile(self.name, actual, time.monotonic_ns()):
                break
            await asyncio.sleep(ADOPTION_POLL_S)
        self._actual = actual
        self._urgent.clear()
        self._batches = deque([self._core.reconcile(self.name, actual, time.monotonic_ns())])
        self._accepts = True
        updates = await self._write_queue(connection)
        self._note_written([key for key in self.held.waiting if key in self._actual])
        self.state, self.error = SessionState.READY, ""
        self._core.reconciled(self.name, updates, started_ns, time.monotonic_ns())

    async def read_hits(self, vserver_id: int, buckets: Sequence[int]) -> dict[int, Hits]:
        """What the switch has counted of some buckets; what it has no entry for is left out.

        Raises:
            NotConnected, ReadFailed: the switch doesn't say.
        """
        if self._reader is None:
            raise NotConnected(self.name)
        return await self._reader.read_hits(vserver_id, buckets)

    async def _write_forever(self, connection: Connection) -> None:
        while True:
            self._drained()
            await self._wake.wait()
            self._wake.clear()
            await self._write_queue(connection)

    async def _write_queue(self, connection: Connection) -> int:
        """Write all that waits, urgent changes before the next batch; the number of updates."""
        self._is_writing = True
        try:
            return await self._write_all(connection)
        finally:
            self._is_writing = False

    async def _write_all(self, connection: Connection) -> int:
        total = 0
        while self._urgent or self._batches:
            if self._urgent:
                changes, decided_ns = self._urgent.popleft()
                updates = 0
                for batch in self._core.batches_of(self.name, changes.keys, self._actual):
                    updates += await self._write(connection, batch)
                for following in self._core.applied(self.name, changes, updates, decided_ns, time.monotonic_ns()):
                    self._dispatch(following)
            elif batch := next(self._batches[0], []):
                updates = await self._write(connection, batch)
            else:
                self._batches.popleft()
                continue
            total += updates
        return total

    async def _write(self, connection: Connection, keys: Sequence[Key]) -> int:
        updates = diff(keys, lambda key: self._core.maybe_entry(self.name, key), self._actual)
        try:
            await connection.write([self._codec.encode_update(update) for update in updates])
        except P4ClientError as error:
            self._log_failure(error, updates)
            raise WriteFailed(f"{error.code.name}: {error.message}") from error
        for update in updates:
            if update.operation is Operation.DELETE or update.entry is None:
                del self._actual[update.key]
            else:
                self._actual[update.key] = update.entry
        self._note_written([update.key for update in updates])
        return len(updates)

    def _note_written(self, keys: Sequence[Key]) -> None:
        self.held.written(keys)
        if self.held.has_ready:
            self._has_ready.set()

    def _log_failure(self, error: P4ClientError, updates: Sequence[Update]) -> None:
        log.error(
            "write failed",
            switch=self.name,
            code=error.code.name,
            reason=error.message,
            updates=len(updates),
            failed=len(error.details),
        )
        for index, detail in list(error.details.items())[:_LOGGED_ERRORS]:
            operation, key, _ = updates[index]
            log.error(
                "update failed",
                switch=self.name,
                update=f"{operation} {key.kind} {key.match}",
                code=GRPCStatusCode(detail.canonical_code).name,
                reason=detail.message,
            )
