"""The controller as a whole: core, switch sessions, status polls and REST on one event loop (shell)."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import structlog
import uvicorn
from pydantic import ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from controller.addresses import check_macs
from controller.api import create_api
from controller.api.access import Authenticator
from controller.changes import Changes
from controller.connections import ConnectionPoller, ask_node
from controller.core import Core
from controller.events import Event, EventKind, EventLog
from controller.follower import create_follower_api
from controller.health import Check, CheckKind, Outcome
from controller.intents import Intent
from controller.key_distribution import KeptKeys, KeyDistribution, maybe_seal, read_kept
from controller.leadership import Role, RoleChange
from controller.leading import Leadership
from controller.operations import InForce, Operations
from controller.p4info import check_capacity, check_p4info, station_capacity, transit_cells
from controller.pipeline import Pipeline, load_pipeline
from controller.prober import Observation
from controller.repository import Repository
from controller.running import NodeSilent, Running
from controller.session_ids.allocation import Allocation
from controller.session_ids.distribution import SessionIdDistribution
from controller.southbound import SessionState, SwitchSession
from controller.status import StatusPoller, maybe_authority
from controller.store.base import Fenced, Store, StoreUnavailable
from controller.store.opening import MEMORY, StoreTls, open_store
from pentaflow.config import Configuration, Node, Switch
from pentaflow.config import Controller as ControllerSettings
from pentaflow.errors import ConfigurationError
from pentaflow.mutual import PeerProtocol
from pentaflow.parsing import parse
from pentaflow.serving import HttpServer, listen
from pentaflow.sessions import SessionAnswer, SessionQuestion

TIDY_BUCKETS = 1000
TICK_S = 0.1
STORE_RETRY_S = 1.0
# Nobody else can ask a store in memory for the lead.
MEMORY_LEASE_S = 86_400
_ALL_ADDRESSES = ("0.0.0.0", "::")
ELECTION_INTERVAL_S = 0.02
ADVANCE_S = 1.0
ASK_S = 2.0
"""How long a node has to answer an operator's question."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A configuration, the YAML text that it was read from, and the folder that relative paths in it start from."""

    configuration: Configuration
    text: str
    base: Path


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
        intents: Mapping[int, Intent],
        kept_ticket_keys: KeptKeys,
        session_ids: Mapping[str, Allocation],
        events: EventLog,
    ) -> None:
        """
        Args:
            configuration: the whole array.
            pipeline: what switches must run; it holds what the configuration needs.
            epoch: of this controller as leader.
            repository: keeps hash keys.
            hash_keys: what it has kept, by name of the vserver.
            intents: what operators have set, by id of the node.
            kept_ticket_keys: of an earlier leader.
            session_ids: what it has kept, by name of the vserver.
            events: where to write down what happens.
        """
        self._pipeline = pipeline
        self._epoch = epoch
        self._repository = repository
        self._adopted = asyncio.Event()
        self._hash_keys = hash_keys
        self._tasks: asyncio.TaskGroup | None = None
        self._running_sessions: dict[str, asyncio.Task[None]] = {}
        self.core = Core(
            configuration,
            random_hash_keys=self._make_hash_keys(configuration),
            kept_intents=intents,
            station_capacity=station_capacity(pipeline.p4info),
            transit_cells=transit_cells(pipeline.p4info),
            events=events,
            now_ns=time.monotonic_ns(),
        )
        self.poller = StatusPoller(configuration, self._report_management)
        self.connection_poller = ConnectionPoller(
            self.core.nodes,
            self.core.bucket_functions,
            self.core.balancing.connections,
            self._report_connections,
            tls=maybe_authority(configuration),
        )
        self.key_distribution = KeyDistribution(
            self.core,
            repository,
            kept_ticket_keys,
            epoch=epoch,
            poller=lambda: self.poller,
            dispatch=self.dispatch,
        )
        self.session_ids = SessionIdDistribution(self.core, repository, session_ids)
        self._probe_key = secrets.randbits(64)
        self.sessions = [self._make_session(switch) for switch in configuration.switches]

    def _make_session(self, switch: Switch) -> SwitchSession:
        return SwitchSession(
            self.core,
            switch,
            self._pipeline,
            epoch=self._epoch,
            probe_key=self._probe_key,
            report_probe=self._report_probe,
            dispatch=self.dispatch,
            drained=self._drained,
        )

    def _make_hash_keys(self, configuration: Configuration) -> dict[int, int]:
        return {v.id: self._hash_keys.get(v.name, secrets.randbits(64)) for v in configuration.vservers}

    async def run(self) -> None:
        """Control the array until cancelled; switches are left as they are."""
        async with asyncio.TaskGroup() as group:
            self._tasks = group
            for session in self.sessions:
                self._running_sessions[session.name] = group.create_task(session.run())
            self._polling = group.create_task(self.poller.run())
            group.create_task(self.connection_poller.run())
            group.create_task(self._tick())
            group.create_task(self._keep_hash_keys())
            group.create_task(self._elect())
            group.create_task(self._advance())
            group.create_task(self.key_distribution.run())
            group.create_task(self.session_ids.run())

    def reconfigure(self, configuration: Configuration) -> None:
        """Run another configuration, which `check_changeover` allows. Sessions with switches that remain go on."""
        group = self._tasks
        assert group is not None, "it runs"
        changes = self.core.reconfigure(configuration, self._make_hash_keys(configuration), time.monotonic_ns())
        self.connection_poller.nodes = self.core.nodes
        self.connection_poller.tls = maybe_authority(configuration)
        self.key_distribution.reconfigure(configuration)
        self.session_ids.reconfigure(configuration)
        sessions = {session.name: session for session in self.sessions}
        self.sessions = []
        for switch in configuration.switches:
            session = sessions.get(switch.name)
            if session is not None and session.reaches(switch):
                del sessions[switch.name]
                session.reconfigure(switch)
            else:
                session = self._make_session(switch)
            self.sessions.append(session)
        for name, session in sessions.items():
            running = self._running_sessions.pop(name)
            if name in self.core.stations.tables:  # it remains, and is reached in another way
                running.cancel()
                changes += self.core.lost(name, "it is to be reached in another way", time.monotonic_ns())
            else:
                given_up = [found for found in changes if found.switch == name]
                group.create_task(self._let_go(session, running, given_up))
        for session in self.sessions:
            if session.name not in self._running_sessions:
                self._running_sessions[session.name] = group.create_task(session.run())
        self._polling.cancel()
        self.poller = self.poller.succeeded_by(configuration)
        self._polling = group.create_task(self.poller.run())
        group.create_task(self._keep_hash_keys())
        for following in changes:
            self.dispatch(following)

    async def _let_go(self, session: SwitchSession, running: asyncio.Task[None], given_up: Iterable[Changes]) -> None:
        """A switch is no longer configured: its session ends once it has given up the VIPs."""
        if not await session.let_go(given_up):
            log.warning("a switch that is no longer configured may go on answering for VIPs", switch=session.name)
        running.cancel()

    async def ask_connections(self, nodes: Collection[int]) -> None:
        """Have some nodes say now which connections are open."""
        functions = self.core.all_bucket_functions()
        async with self.connection_poller.client() as client:
            await self.connection_poller.ask_once(client, lambda: dict.fromkeys(nodes, functions))

    async def ask_session(self, node: Node, vserver: str, question: SessionQuestion) -> SessionAnswer:
        """See `RunningArray`."""
        poller = self.connection_poller
        try:
            async with asyncio.timeout(ASK_S), poller.client() as client:
                body = await ask_node(
                    client, poller.url(node, f"/sessions/{vserver}"), question.model_dump(mode="json")
                )
            return SessionAnswer.model_validate_json(body)
        except ValidationError:
            raise NodeSilent("what it answers makes no sense") from None
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            raise NodeSilent(str(error) or f"no answer within {ASK_S:g} s") from None

    async def _tick(self) -> None:
        """What the core does when time has passed, not when something happens."""
        while True:
            await asyncio.sleep(TICK_S)
            self.dispatch(self.core.tick(TIDY_BUCKETS, time.monotonic_ns()))

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

    async def _elect(self) -> None:
        """Keep the election going; a switch that hangs keeps only its own announcements waiting."""
        while True:
            now_ns = time.monotonic_ns()
            sessions = {session.name: session for session in self.sessions}
            for changes in self.core.elect(now_ns):
                self.dispatch(changes)
            for announcement in self.core.announcements(now_ns):
                sessions[announcement.switch].announce(announcement.frames)
            await asyncio.sleep(ELECTION_INTERVAL_S)

    async def _advance(self) -> None:
        """Buckets on their way go on."""
        while True:
            await asyncio.sleep(ADVANCE_S)
            now_ns = time.monotonic_ns()
            for node_id in self.core.nodes if self.core.balancing.is_moving or self.core.assigns_on_demand else ():
                if status := self.poller.maybe_status(node_id):
                    self.core.balancing.loads.take(node_id, status.document, status.at_ns)
            self.dispatch(self.core.advance(now_ns))

    def dispatch(self, changes: Changes | None) -> None:
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
            self.dispatch(self.core.tidy(TIDY_BUCKETS))

    def _report_connections(self, node_id: int, failure: str) -> None:
        if failure:
            log.warning("open connections are not known", node=self.core.nodes[node_id].name, reason=failure)

    def _report_probe(self, observation: Observation) -> None:
        self.dispatch(
            self.core.observe(observation.node_id, observation.check, observation.outcome, time.monotonic_ns())
        )

    def _report_management(self, node_id: int, outcome: Outcome) -> None:
        self.dispatch(self.core.observe(node_id, Check(CheckKind.MANAGEMENT), outcome, time.monotonic_ns()))


class Controller:
    """One controller, which leads or follows: its REST API is that of the present role."""

    def __init__(self, given: Given, store: Store, *, name: str, lease_s: int) -> None:
        """
        Args:
            given: the configuration that counts until another one is pushed.
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
        self._check(given.configuration)
        self._given = given
        self._authenticator = Authenticator(given.configuration.controller.tokens)
        self._store = store
        self._name = name
        self._events = EventLog(epoch_offset_ns=time.time_ns() - time.monotonic_ns(), listener=_log_event)
        self._leadership = Leadership(
            store,
            name=name,
            address=_address(given.configuration.controller, name),
            lease_s=lease_s,
            report=self._report,
        )
        self.settled = asyncio.Event()
        self._follower_api = create_follower_api(self._leadership)
        self._api: ASGIApp = self._follower_api

    def _check(self, configuration: Configuration) -> None:
        check_macs(configuration, "the configuration")
        check_capacity(self._pipeline.p4info, configuration, str(self._pipeline.p4info_path))
        maybe_authority(configuration)
        maybe_seal(configuration)

    async def _in_force(self, repository: Repository) -> InForce:
        """What the store says, or, when nothing was ever pushed, what this controller was given."""
        current = await repository.current()
        if current is None:
            version = await repository.push(
                self._given.text, who=self._name, at_s=time.time(), comment="the first controller's file", expected=0
            )
            return InForce(number=version.number, text=self._given.text, configuration=self._given.configuration)
        number = current[0].number
        text = await repository.text(number)
        if text is None:
            raise ConfigurationError(f"configuration version {number}", "is in force, but its text is not in the store")
        if text != self._given.text:
            log.warning("the store's configuration is in force, not the file's: push that to change it", version=number)
        configuration = parse(text, f"configuration version {number}", base=self._given.base)
        self._check(configuration)
        return InForce(number=number, text=text, configuration=configuration)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request (ASGI)."""
        await self._api(scope, receive, send)

    async def run(self) -> None:
        """Lead, or wait for the lead, until cancelled."""
        await self._leadership.run(self._lead)

    async def _lead(self, epoch: int) -> None:
        repository = Repository(self._store, epoch)
        in_force = await self._in_force(repository)
        ids = {node.name: node.id for node in in_force.configuration.nodes}
        intents = {ids[name]: intent for name, intent in (await repository.intents()).items() if name in ids}
        array = Array(
            in_force.configuration,
            self._pipeline,
            epoch=epoch,
            repository=repository,
            hash_keys=await repository.hash_keys(),
            intents=intents,
            kept_ticket_keys=await read_kept(repository, in_force.configuration),
            session_ids=await repository.session_ids(),
            events=self._events,
        )
        operations = Operations(
            array.core,
            repository,
            in_force,
            base=self._given.base,
            check=self._check,
            dispatch=array.dispatch,
            enforce=array.reconfigure,
        )
        running = Running(array=array, operations=operations, repository=repository)
        self._api = create_api(running, name=self._name, authenticator=self._authenticator)
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
    given: Given,
    *,
    store_url: str = MEMORY,
    store_tls: StoreTls | None = None,
    name: str = "",
    started: Callable[[], None] | None = None,
) -> None:
    """Run the controller until cancelled. The data plane goes on without it: nothing is taken back at the end.

    Args:
        given: the configuration that counts until another one is pushed.
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
    settings = given.configuration.controller
    rest = settings.rest
    with listen(rest.host, rest.port, f"controller.rest {rest}") as listener:
        store = open_store(store_url, store_tls)
        try:
            if store_url == MEMORY:
                log.info("nothing outlives this process: it has no store but its memory")
            lease_s = MEMORY_LEASE_S if store_url == MEMORY else settings.lease_s
            controller = Controller(given, store, name=name or socket.gethostname(), lease_s=lease_s)
            await _serve(controller, listener, settings, started)
        finally:
            await store.close()


async def _serve(
    controller: Controller,
    listener: socket.socket,
    settings: ControllerSettings,
    started: Callable[[], None] | None,
) -> None:
    certificate, key = (settings.tls.certificate, settings.tls.key) if settings.tls else (None, None)
    server = HttpServer(
        uvicorn.Config(
            controller,
            log_config=None,
            access_log=False,
            lifespan="off",
            ssl_certfile=certificate,
            ssl_keyfile=key,
            ssl_ca_certs=settings.agents_ca,
            ssl_cert_reqs=ssl.CERT_OPTIONAL if settings.agents_ca else ssl.CERT_NONE,
            http=PeerProtocol if settings.agents_ca else "auto",
            timeout_graceful_shutdown=1,
        )
    )
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


def _address(settings: ControllerSettings, name: str) -> str:
    """Where the REST API answers; by the controller's name if it listens on all addresses."""
    rest = settings.rest
    host = name if rest.host in _ALL_ADDRESSES else rest.host
    scheme = "https" if settings.tls else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{rest.port}"


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
