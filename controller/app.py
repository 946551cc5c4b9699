"""The controller as a whole: core, switch sessions, status polls and REST on one event loop (shell)."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable

import structlog
import uvicorn

from controller.api import create_api
from controller.changes import Changes
from controller.core import Core
from controller.events import Event, EventLog
from controller.health import Check, CheckKind, Outcome
from controller.p4info import check_capacity, check_p4info, station_capacity
from controller.pipeline import load_pipeline
from controller.prober import Observation
from controller.southbound import SwitchSession
from controller.status import StatusPoller
from pentaflow.config import Configuration
from pentaflow.serving import HttpServer, listen

TIDY_BUCKETS = 1000
TICK_S = 0.1

log = structlog.get_logger(__name__)


class Array:
    """The core and everything that tells it what happens and carries out what it decides."""

    def __init__(self, configuration: Configuration) -> None:
        """
        Raises:
            ConfigurationError: the configuration needs more than the pipeline holds.
            HostError: the installation lacks the pipeline.
            PipelineMismatchError: the pipeline is of another version.
        """
        pipeline = load_pipeline()
        place = str(pipeline.p4info_path)
        check_p4info(pipeline.p4info, place)
        check_capacity(pipeline.p4info, configuration, place)
        now_ns = time.monotonic_ns()
        self.core = Core(
            configuration,
            random_hash_keys={vserver.id: secrets.randbits(64) for vserver in configuration.vservers},
            station_capacity=station_capacity(pipeline.p4info),
            events=EventLog(epoch_offset_ns=time.time_ns() - now_ns, listener=_log_event),
            now_ns=now_ns,
        )
        self.poller = StatusPoller(configuration, self._report_management)
        probe_key = secrets.randbits(64)
        self.sessions = [
            SwitchSession(
                self.core,
                switch,
                pipeline,
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
            group.create_task(self._tick())

    async def _tick(self) -> None:
        """What the core does when time has passed, not when something happens."""
        while True:
            await asyncio.sleep(TICK_S)
            self._dispatch(self.core.tick(TIDY_BUCKETS, time.monotonic_ns()))

    def _dispatch(self, changes: Changes | None) -> None:
        if changes:
            for session in self.sessions:
                if changes.switch in (None, session.name):
                    session.enqueue(changes)

    def _drained(self) -> None:
        """Background work goes on when every connected switch has what was decided before."""
        if all(session.is_drained for session in self.sessions):
            self._dispatch(self.core.tidy(TIDY_BUCKETS))

    def _report_probe(self, observation: Observation) -> None:
        self._dispatch(
            self.core.observe(observation.node_id, observation.check, observation.outcome, time.monotonic_ns())
        )

    def _report_management(self, node_id: int, outcome: Outcome) -> None:
        self._dispatch(self.core.observe(node_id, Check(CheckKind.MANAGEMENT), outcome, time.monotonic_ns()))


async def run_controller(configuration: Configuration, *, started: Callable[[], None] | None = None) -> None:
    """Run the controller until cancelled. The data plane goes on without it: nothing is taken back at the end.

    Args:
        configuration: the whole array.
        started: called once REST answers; switches may still be unreachable then.

    Raises:
        ConfigurationError: the configuration needs more than the pipeline holds.
        HostError: the REST address is in use or not this host's, or the installation lacks the pipeline.
    """
    _log_through_structlog(logging.getLogger("finsy"))
    array = Array(configuration)
    rest = configuration.controller.rest
    listener = listen(rest.host, rest.port, f"controller.rest {rest}")
    with listener:
        server = HttpServer(
            uvicorn.Config(
                create_api(array.core, array.sessions, array.poller), log_config=None, access_log=False, lifespan="off"
            )
        )
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve(sockets=[listener]))
            try:
                if started:
                    started()
                await array.run()
            finally:
                server.should_exit = True
                await serving


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
