"""The controller as a whole: core, switch sessions, status polls and REST on one event loop (shell)."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Callable, Mapping

import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from controller.api import create_api
from controller.changes import Changes
from controller.connections import ConnectionPoller
from controller.core import Core
from controller.events import Event, EventKind, EventLog
from controller.follower import create_follower_api
from controller.health import Check, CheckKind, Outcome
from controller.leadership import Role, RoleChange
from controller.leading import Leadership
from controller.p4info import check_capacity, check_p4info, station_capacity, transit_cells
from controller.pipeline import Pipeline, load_pipeline
from controller.prober import Observation
from controller.repository import Repository
from controller.southbound import SessionState, SwitchSession
from controller.status import StatusPoller
from controller.store.base import Fenced, Store, StoreUnavailable
from controller.store.opening import MEMORY, StoreTls, open_store
from pentaflow.config import Configuration, HostPort
from pentaflow.serving import HttpServer, listen

TIDY_BUCKETS = 1000
TICK_S = 0.1
STORE_RETRY_S = 1.0
# Nobody else can ask a store in memory for the lead.
MEMORY_LEASE_S = 86_400
_ALL_ADDRESSES = ("0.0.0.0", "::")
ELECTION_INTERVAL_S = 0.02
ADVANCE_S = 1.0

log = structlog.get_logger(__name__)


class Array:
    """The core and everything that tells it what happens and carries out what it decides."""

    def __init__(
        self,
        configuration: Configuration,
        pipeline: Pipeline,
        *,
        epoch: int,
        repository: Repository,
        hash_keys: Mapping[str, int],
        events: EventLog,
    ) -> None:
        """
        Args:
            configuration: the whole array.
            pipeline: what switches must run; it holds what the configuration needs.
            epoch: of this controller as leader.
            repository: keeps hash keys.
            hash_keys: what it has kept, by name of the vserver.
            events: where to write down what happens.
        """
        self._repository = repository
        self._adopted = asyncio.Event()
        self.core = Core(
            configuration,
            random_hash_keys={v.id: hash_keys.get(v.name, secrets.randbits(64)) for v in configuration.vservers},
            station_capacity=station_capacity(pipeline.p4info),
            transit_cells=transit_cells(pipeline.p4info),
            events=events,
            now_ns=time.monotonic_ns(),
        )
        self.poller = StatusPoller(configuration, self._report_management)
        self.connection_poller = ConnectionPoller(
            self.core.nodes, self.core.bucket_functions, self.core.balancing.connections, self._report_connections
        )
        probe_key = secrets.randbits(64)
        self.sessions = [
            SwitchSession(
                self.core,
                switch,
                pipeline,
                epoch=epoch,
                probe_key=probe_key,
                report_probe=self._report_probe,
                dispatch=self._dispatch,
                drained=self._drained,
            )
            for switch in configuration.switches
        ]

    async def run(self) -> None:
        """Control the array until cancelled; switches are left as they are."""
        async with asyncio.TaskGroup() as group:
            for session in self.sessions:
                group.create_task(session.run())
            group.create_task(self.poller.run())
            group.create_task(self.connection_poller.run())
            group.create_task(self._tick())
            group.create_task(self._keep_hash_keys())
            group.create_task(self._elect(group))
            group.create_task(self._advance())

    async def _tick(self) -> None:
        """What the core does when time has passed, not when something happens."""
        while True:
            await asyncio.sleep(TICK_S)
            self._dispatch(self.core.tick(TIDY_BUCKETS, time.monotonic_ns()))

    async def _keep_hash_keys(self) -> None:
        """So that a switch that comes back empty, and finds no other one, hashes as before."""
        await self._adopted.wait()
        vservers = self.core.configuration.vservers
        keys = {v.name: self.core.hash_keys[v.id] for v in vservers if v.hash_key is None}
        while True:
            try:
                return await self._repository.keep_hash_keys(keys)
            except StoreUnavailable as error:
                log.warning("hash keys are not kept yet", reason=str(error))
            except Fenced:
                return None
            await asyncio.sleep(STORE_RETRY_S)

    async def _elect(self, group: asyncio.TaskGroup) -> None:
        """Keep the election going; a switch that hangs keeps only its own announcements waiting."""
        sessions = {session.name: session for session in self.sessions}
        while True:
            now_ns = time.monotonic_ns()
            for changes in self.core.elect(now_ns):
                self._dispatch(changes)
            for announcement in self.core.announcements(now_ns):
                group.create_task(sessions[announcement.switch].announce(announcement.frames))
            await asyncio.sleep(ELECTION_INTERVAL_S)

    async def _advance(self) -> None:
        """Buckets on their way go on."""
        while True:
            await asyncio.sleep(ADVANCE_S)
            now_ns = time.monotonic_ns()
            for node_id in self.core.nodes if self.core.balancing.is_moving else ():
                if status := self.poller.maybe_status(node_id):
                    self.core.balancing.loads.take(node_id, status.document, status.at_ns)
            self._dispatch(self.core.advance(now_ns))

    def _dispatch(self, changes: Changes | None) -> None:
        if changes:
            for session in self.sessions:
                if changes.switch in (None, session.name):
                    session.enqueue(changes)

    def _drained(self) -> None:
        """Background work goes on when every connected switch has what was decided before."""
        self._adopted.set()
        if all(session.is_drained for session in self.sessions):
            ready = {session.name for session in self.sessions if session.state is SessionState.READY}
            self.core.written(ready, time.monotonic_ns())
            self._dispatch(self.core.tidy(TIDY_BUCKETS))

    def _report_connections(self, node_id: int, failure: str) -> None:
        if failure:
            log.warning("open connections are not known", node=self.core.nodes[node_id].name, reason=failure)

    def _report_probe(self, observation: Observation) -> None:
        self._dispatch(
            self.core.observe(observation.node_id, observation.check, observation.outcome, time.monotonic_ns())
        )

    def _report_management(self, node_id: int, outcome: Outcome) -> None:
        self._dispatch(self.core.observe(node_id, Check(CheckKind.MANAGEMENT), outcome, time.monotonic_ns()))


class Controller:
    """One controller, which leads or follows: its REST API is that of the present role."""

    def __init__(self, configuration: Configuration, store: Store, *, name: str, lease_s: int) -> None:
        """
        Args:
            configuration: the whole array.
            store: what outlives the controller, and who leads.
            name: this controller's, among those that share the store.
            lease_s: how long another one waits for this one.

        Raises:
            ConfigurationError: the configuration needs more than the pipeline holds.
            HostError: the installation lacks the pipeline.
            PipelineMismatchError: the pipeline is of another version.
        """
        self._pipeline = load_pipeline()
        place = str(self._pipeline.p4info_path)
        check_p4info(self._pipeline.p4info, place)
        check_capacity(self._pipeline.p4info, configuration, place)
        self._configuration = configuration
        self._store = store
        self._name = name
        self._events = EventLog(epoch_offset_ns=time.time_ns() - time.monotonic_ns(), listener=_log_event)
        self._leadership = Leadership(
            store,
            name=name,
            address=_address(configuration.controller.rest, name),
            lease_s=lease_s,
            report=self._report,
        )
        self.settled = asyncio.Event()
        self._follower_api = create_follower_api(self._leadership)
        self._api: ASGIApp = self._follower_api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request (ASGI)."""
        await self._api(scope, receive, send)

    async def run(self) -> None:
        """Lead, or wait for the lead, until cancelled."""
        await self._leadership.run(self._lead)

    async def _lead(self, epoch: int) -> None:
        repository = Repository(self._store, epoch)
        array = Array(
            self._configuration,
            self._pipeline,
            epoch=epoch,
            repository=repository,
            hash_keys=await repository.hash_keys(),
            events=self._events,
        )
        self._api = create_api(array.core, array.sessions, array.poller, name=self._name)
        self.settled.set()
        try:
            await array.run()
        finally:
            self._api = self._follower_api

    def _report(self, change: RoleChange) -> None:
        if change.role is Role.FOLLOWER:
            self.settled.set()
        kind = EventKind.CONTROLLER_LEADS if change.role is Role.LEADER else EventKind.CONTROLLER_FOLLOWS
        self._events.add(kind, time.monotonic_ns(), controller=self._name, epoch=change.epoch, reason=change.reason)


async def run_controller(
    configuration: Configuration,
    *,
    store_url: str = MEMORY,
    store_tls: StoreTls | None = None,
    name: str = "",
    started: Callable[[], None] | None = None,
) -> None:
    """Run the controller until cancelled. The data plane goes on without it: nothing is taken back at the end.

    Args:
        configuration: the whole array.
        store_url: see `open_store`.
        store_tls: for etcd.
        name: this controller's, among those that share the store; default: the machine's.
        started: called once REST answers for a leader or follower; switches may still be unreachable then.

    Raises:
        ConfigurationError: the configuration needs more than the pipeline holds, or the store cannot be opened.
        HostError: the REST address is in use or not this host's, or the installation lacks the pipeline.
    """
    _log_through_structlog(logging.getLogger("finsy"))
    logging.getLogger("httpx").setLevel(logging.WARNING)
    rest = configuration.controller.rest
    with listen(rest.host, rest.port, f"controller.rest {rest}") as listener:
        store = open_store(store_url, store_tls)
        try:
            if store_url == MEMORY:
                log.info("nothing outlives this process: it has no store but its memory")
            lease_s = MEMORY_LEASE_S if store_url == MEMORY else configuration.controller.lease_s
            controller = Controller(configuration, store, name=name or socket.gethostname(), lease_s=lease_s)
            await _serve(controller, listener, started)
        finally:
            await store.close()


async def _serve(controller: Controller, listener: socket.socket, started: Callable[[], None] | None) -> None:
    server = HttpServer(uvicorn.Config(controller, log_config=None, access_log=False, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    running = asyncio.create_task(controller.run())
    settled = asyncio.create_task(controller.settled.wait())
    try:
        await asyncio.wait({serving, running, settled}, return_when=asyncio.FIRST_COMPLETED)
        if settled.done() and started:
            started()
        await asyncio.wait({serving, running}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        settled.cancel()
        running.cancel()
        await asyncio.wait({running, settled})
        server.should_exit = True
        await serving
    if not running.cancelled():
        running.result()


def _address(rest: HostPort, name: str) -> str:
    """Where the REST API answers; by the controller's name if it listens on all addresses."""
    host = name if rest.host in _ALL_ADDRESSES else rest.host
    return f"http://{f'[{host}]' if ':' in host else host}:{rest.port}"


def _log_event(event: Event) -> None:
    log.info(event.kind.value, event_id=event.id, **event.details)


class _StructlogHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """One line for each record; an exception is shown by its own words."""
        error = record.exc_info[1] if record.exc_info else None
        log.log(record.levelno, record.getMessage(), logger=record.name, **({"error": repr(error)} if error else {}))


def _log_through_structlog(logger: logging.Logger) -> None:
    logger.handlers = [_StructlogHandler(logging.WARNING)]
    logger.filters = [_is_relevant]
    logger.propagate = False


def _is_relevant(record: logging.LogRecord) -> bool:
    """finsy asks every switch for gNMI, which none of ours has."""
    return "gNMI is not implemented" not in record.getMessage()
