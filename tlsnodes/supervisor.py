"""The workers of a node: started, kept alive, and changed together [N4] (shell).

For each vserver and worker the supervisor holds a listening socket for as long as the vserver is there. A worker that
ends is started again with the same sockets, so that connections that the kernel has queued for it are served late and
not reset. Another configuration is prepared by all workers before any of them changes.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol

import structlog

from pentaflow.addresses import IpAddress
from pentaflow.errors import ConfigurationError, HostError
from pentaflow.logs import log_settings
from pentaflow.node_configuration import NodeConfiguration
from pentaflow.session_ids import SessionIdTables
from pentaflow.sessions import SessionQuestion
from pentaflow.ticket_keys import KEY_BYTES, TicketKeySet
from tlsnodes.access_log import open_access_log
from tlsnodes.channel import MAX_SOCKETS, Caller, ChannelLost
from tlsnodes.checks import ServerChecks
from tlsnodes.listeners import Address, bind_all
from tlsnodes.open_question import Question
from tlsnodes.scheduling.judgement import Judgement
from tlsnodes.store.folder import StoreFolder
from tlsnodes.ticket_keys import NodeTicketKeys

CALL_S = 60.0
"""How long a worker may take to prepare a configuration."""
STATUS_S = 2.0
STABLE_S = 10.0
"""A worker that ended sooner is started again with a delay."""
MIN_DELAY_S, MAX_DELAY_S = 0.1, 5.0
WATCH_S = 1.0
ANSWER_S, MAX_MISSED = 5.0, 2
"""A worker that has not answered so many questions in a row, each within that time, hangs: it never computes for longer
than some milliseconds, so that ten seconds are a machine that gives it no time at all, and still not a lost one. Two
questions, since a machine that was halted for a while finds the first one overdue when it wakes.
"""
RETIRED_S = 0.5
TICKET_KEYS_S = 1.0
"""How often it is looked whether the node's own ticket keys are to change."""
_END_S = 2.0

_log = structlog.get_logger()


class Vips(Protocol):
    """Who puts VIPs on this host; called in threads, one call after the other."""

    def hold(self, vips: Collection[IpAddress]) -> None:
        """Have these, beside what is there."""
        ...

    def keep_only(self, vips: Collection[IpAddress]) -> None:
        """Take off all others of its own."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How workers are run.

    Attributes:
        count: how many.
        user: name of the user that they run as; empty: the supervisor's own.
        drain_s: how long open requests may take when the node ends.
        access_log: the file of all vservers that have one.
    """

    count: int
    user: str = ""
    drain_s: float = 5.0
    access_log: Path | None = None


@dataclass(slots=True, eq=False)
class _Worker:
    number: int
    sockets: dict[Address, socket.socket] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    caller: Caller | None = None
    served: set[Address] = field(default_factory=set)
    is_ready: bool = False
    started_at: float = 0.0
    restarts: int = 0
    missed: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, what: str, *, timeout_s: float = CALL_S, **arguments: Any) -> Any:
        if self.caller is None:
            raise ChannelLost("the worker has ended")
        return await self.caller.call(what, timeout_s=timeout_s, **arguments)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()


class Supervisor:
    """Runs the workers of one node; to be used on one event loop."""

    def __init__(self, options: WorkerOptions, vips: Vips | None) -> None:
        """
        Args:
            options: of the workers.
            vips: None when VIPs are somebody else's business.
        """
        self._options = options
        self._vips = vips
        self._workers = [_Worker(number) for number in range(options.count)]
        self._keepers: list[asyncio.Task[None]] = []
        self._retiring: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._checks = ServerChecks((), self._judge)
        self._checking: asyncio.Task[None] | None = None
        self._judgements: dict[tuple[str, int], Judgement] = {}
        self._telling: set[asyncio.Task[None]] = set()
        # Any worker, and the one that comes after it, resumes the sessions of all. They are never written down.
        self._ticket_keys = NodeTicketKeys(lambda: os.urandom(KEY_BYTES))
        self._rotating: asyncio.Task[None] | None = None
        self._session_ids = SessionIdTables(tables=())
        self._access_log = -1
        self._store_folder = StoreFolder(options.user)
        self._is_ending = False
        self._loop = asyncio.get_running_loop()
        self.configuration: NodeConfiguration | None = None

    # Configuration.

    async def start(self) -> None:
        """Start the workers, which serve nothing yet.

        Raises:
            HostError: they cannot be started, or their access log can't be opened.
        """
        if self._options.access_log is not None:
            self._access_log = open_access_log(self._options.access_log)
        if self._options.user:
            _check_user(self._options.user)
        for worker in self._workers:
            self._spawn(worker)
            self._keepers.append(asyncio.create_task(self._keep(worker)))
        self._keepers.append(asyncio.create_task(self._watch()))
        self._rotating = asyncio.create_task(self._rotate_ticket_keys(), name="rotation of ticket keys")
        self._rotating.add_done_callback(_task_ended)

    async def apply(self, configuration: NodeConfiguration) -> None:
        """Serve this configuration from now on. After an error all is as before.

        Raises:
            ConfigurationError, HostError: a worker cannot run it, or this host has no address or port for it.
        """
        for vserver in configuration.vservers:
            if vserver.access_log and self._options.access_log is None:
                raise ConfigurationError(
                    f"vserver {vserver.name}: access_log",
                    "this node has no file for it: start it with --access-log FILE",
                )
        async with self._turn:
            ready = [worker for worker in self._workers if worker.caller is not None]
            if not ready:
                raise HostError(f"node {configuration.node.name}", "no worker runs; they are being started again")
            try:
                checks = self._checks.succeeded_by(configuration.pools, read=configuration.read)
                await self._prepare(ready, configuration, self._ticket_keys.prepare(configuration, time.time()))
                if self._vips is not None:
                    await asyncio.to_thread(self._vips.hold, {vserver.vip for vserver in configuration.vservers})
                self._bind(configuration)
            except BaseException:
                await self._abort(ready)
                raise
            self.configuration = configuration
            self._ticket_keys.commit(configuration)
            await asyncio.gather(*(self._commit(worker, configuration) for worker in ready))
            self._close_sockets({Address.of(vserver) for vserver in configuration.vservers})
            self._check_by(checks)
        self._retire()

    async def _prepare(
        self, workers: Sequence[_Worker], configuration: NodeConfiguration, ticket_keys: TicketKeySet
    ) -> None:
        place = f"node {configuration.node.name}"
        store_file = self._store_folder.file_for(configuration.store)
        given: dict[str, Any] = {
            "configuration": configuration.model_dump_json(),
            "workers": len(self._workers),
            "ticket_keys": ticket_keys.model_dump_json(),
            "session_ids": self._session_ids.model_dump_json(),
            "store_file": str(store_file) if store_file is not None else "",
        }
        results = await asyncio.gather(
            *(worker.call("prepare", number=worker.number, **given) for worker in workers), return_exceptions=True
        )
        for worker, result in zip(workers, results, strict=True):
            match result:
                case ChannelLost():
                    raise HostError(place, f"worker {worker.number} cannot prepare it: {result}")
                case TimeoutError():
                    worker.kill()
                    raise HostError(place, f"worker {worker.number} has not prepared it within {CALL_S:g} s")
                case BaseException():
                    raise result

    async def _abort(self, workers: Sequence[_Worker]) -> None:
        before = {Address.of(v) for v in self.configuration.vservers} if self.configuration else set()
        self._close_sockets(before)
        self._retire()
        await asyncio.gather(*(worker.call("abort") for worker in workers), return_exceptions=True)

    def _bind(self, configuration: NodeConfiguration) -> None:
        for vserver in configuration.vservers:
            address = Address.of(vserver)
            if any(address not in worker.sockets for worker in self._workers):
                sockets = bind_all(*address, len(self._workers), f"vserver {vserver.name}")
                for worker, listener in zip(self._workers, sockets, strict=True):
                    worker.sockets[address] = listener

    async def _commit(self, worker: _Worker, configuration: NodeConfiguration) -> None:
        """What was prepared is put in place. A worker that fails in that is started anew, with the same one."""
        wanted = {Address.of(vserver) for vserver in configuration.vservers}
        try:
            fresh = sorted(wanted - worker.served)
            for first in range(0, len(fresh), MAX_SOCKETS):
                part = fresh[first : first + MAX_SOCKETS]
                await worker.call("sockets", addresses=part, descriptors=[worker.sockets[a].fileno() for a in part])
            await worker.call("commit")
        except (ChannelLost, TimeoutError) as error:
            _log.error("worker cannot change its configuration", worker=worker.number, reason=str(error) or "no answer")
            worker.kill()
        else:
            worker.served = wanted
            worker.is_ready = True

    def _close_sockets(self, but: Collection[Address]) -> None:
        for worker in self._workers:
            for address in worker.sockets.keys() - but:
                worker.sockets.pop(address).close()

    def _retire(self) -> None:
        if self._retiring is not None:
            self._retiring.cancel()
        if self._vips is not None:
            self._retiring = asyncio.create_task(self._take_off_vips(self._vips))

    async def _take_off_vips(self, vips: Vips) -> None:
        """VIPs that are wanted no more go when nobody is connected to them any more."""
        while self.configuration is not None:
            used = {
                ip_address(vip)
                for document in await self.statuses()
                for vip, count in document["retiring"].items()
                if count
            }
            wanted = {vserver.vip for vserver in self.configuration.vservers}
            await asyncio.to_thread(vips.keep_only, wanted | used)
            if used <= wanted:
                return
            await asyncio.sleep(RETIRED_S)

    async def reopen_access_log(self) -> None:
        """Have the workers go on in a new file of that name: the old one may have been renamed.

        Raises:
            HostError: it can't be opened; they go on in the old one.
        """
        if self._options.access_log is None:
            return
        async with self._turn:
            fresh = open_access_log(self._options.access_log)
            os.close(self._access_log)
            self._access_log = fresh
            workers = [worker for worker in self._workers if worker.caller is not None]
            # One that has ended is started again with this file.
            await asyncio.gather(
                *(worker.call("log", timeout_s=STATUS_S, descriptors=[fresh]) for worker in workers),
                return_exceptions=True,
            )

    # Ticket keys.

    @property
    def ticket_keys(self) -> NodeTicketKeys:
        """Those that the workers have."""
        return self._ticket_keys

    async def give_ticket_keys(self, keys: TicketKeySet) -> None:
        """A controller gives these; all workers have them on return."""
        async with self._turn:
            self._ticket_keys.give(keys)
            await self._hand_out_ticket_keys()

    async def _hand_out_ticket_keys(self) -> None:
        await self._hand_out("ticket-keys", keys=self._ticket_keys.current.model_dump_json())

    async def _hand_out(self, what: str, **given: str) -> None:
        """Have all workers take something that each one which is started later gets with its configuration."""
        workers = [worker for worker in self._workers if worker.is_ready]
        results = await asyncio.gather(
            *(worker.call(what, timeout_s=STATUS_S, **given) for worker in workers), return_exceptions=True
        )
        for worker, result in zip(workers, results, strict=True):
            if isinstance(result, ChannelLost | TimeoutError):
                # The one that comes after it has them.
                reason = str(result) or "no answer"
                _log.error("worker does not take what it is given", worker=worker.number, what=what, reason=reason)
                worker.kill()
            elif isinstance(result, BaseException):
                raise result

    # Session ids.

    @property
    def session_ids(self) -> SessionIdTables:
        """The tables that the workers have."""
        return self._session_ids

    async def give_session_ids(self, tables: SessionIdTables) -> None:
        """A controller gives these tables; all workers have them on return."""
        async with self._turn:
            if tables != self._session_ids:
                self._session_ids = tables
                await self._hand_out("session-ids", tables=tables.model_dump_json())

    async def _rotate_ticket_keys(self) -> None:
        taken = 0
        while True:
            await asyncio.sleep(TICKET_KEYS_S)
            async with self._turn:
                before = self._ticket_keys.current.version
                self._ticket_keys.advance(time.time(), acknowledged=taken)
                if self._ticket_keys.current.version != before:
                    await self._hand_out_ticket_keys()
                taken = self._ticket_keys.current.version

    # Checks of servers: made once for all workers.

    def _check_by(self, checks: ServerChecks) -> None:
        if self._checking is not None:
            self._checking.cancel()
        self._checks = checks
        self._judgements.clear()
        self._checking = asyncio.create_task(checks.run(), name="checks of servers")
        self._checking.add_done_callback(_task_ended)

    def _judge(self, pool: str, server_id: int, judgement: Judgement) -> None:
        self._judgements[pool, server_id] = judgement
        self._tell(self._workers, {(pool, server_id): judgement})

    def _tell(self, workers: Sequence[_Worker], judgements: Mapping[tuple[str, int], Judgement]) -> None:
        for worker in workers:
            if worker.is_ready:
                task = asyncio.create_task(_tell(worker, dict(judgements)))
                self._telling.add(task)
                task.add_done_callback(self._telling.discard)

    def describe_checks(self, pool: str, server_id: int) -> dict[str, Any] | None:
        """The counts of a server's checks; None if it is not checked."""
        return self._checks.describe(pool, server_id)

    # Questions.

    async def statuses(self) -> list[dict[str, Any]]:
        """What each worker says of itself, those that answer; with its number and how often it was started again."""
        answers = await self._ask("status", timeout_s=STATUS_S)
        return [{"number": worker.number, "restarts": worker.restarts, **answer} for worker, answer in answers]

    async def count_open(self, question: Question) -> list[dict[str, Any]]:
        """Each worker's answer about open connections.

        Raises:
            HostError: one of them has not answered: nothing is proven.
        """
        document = question.model_dump(mode="json")
        for name, function in question.vservers.items():
            document["vservers"][name]["hash_key"] = function.hash_key.get_secret_value()
        answers = await self._ask("open-connections", timeout_s=STATUS_S, question=document)
        running = sum(worker.process is not None and worker.process.poll() is None for worker in self._workers)
        if len(answers) < running:
            raise HostError("open connections", f"{running - len(answers)} of {running} workers have not answered")
        return [answer for _, answer in answers]

    async def explain(self, vserver: str, question: SessionQuestion) -> dict[str, Any]:
        """What one worker says of the server that a client would get: a `SessionAnswer`, as JSON.

        Args:
            vserver: its name.
            question: the client.

        Raises:
            ConfigurationError: that vserver has no servers.
            HostError: no worker answers.
        """
        text = question.model_dump_json()
        for worker in self._workers:
            if worker.is_ready:
                with suppress(ChannelLost, TimeoutError):
                    answer = await worker.call("explain", timeout_s=STATUS_S, vserver=vserver, question=text)
                    return dict(answer)
        raise HostError(f"vserver {vserver}", "no worker answers")

    async def _ask(self, what: str, *, timeout_s: float, **arguments: Any) -> list[tuple[_Worker, Any]]:
        asked = [worker for worker in self._workers if worker.is_ready]
        answers = await asyncio.gather(
            *(worker.call(what, timeout_s=timeout_s, **arguments) for worker in asked), return_exceptions=True
        )
        found = []
        for worker, answer in zip(asked, answers, strict=True):
            if not isinstance(answer, BaseException):
                found.append((worker, answer))
            elif not isinstance(answer, ChannelLost | TimeoutError):
                raise answer
        return found

    # Processes.

    def _spawn(self, worker: _Worker) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            settings = log_settings()
            log = self._access_log
            arguments = (theirs.fileno(), self._options.drain_s, settings.level, int(settings.as_json), log)
            try:
                worker.process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "tlsnodes.worker", *map(str, arguments), self._options.user],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), log) if log >= 0 else (theirs.fileno(),),
                )
            except OSError as error:
                ours.close()
                raise HostError("workers", f"cannot start one: {error}") from None
        worker.gone = asyncio.Event()
        worker.caller = Caller(ours, worker.kill)
        worker.missed = 0
        worker.started_at = self._loop.time()
        descriptor = os.pidfd_open(worker.process.pid)
        self._loop.add_reader(descriptor, self._ended, worker, descriptor)

    def _ended(self, worker: _Worker, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        assert worker.process is not None
        assert worker.caller is not None
        worker.process.wait()
        worker.caller.close()
        worker.caller = None
        worker.is_ready = False
        worker.served = set()
        worker.gone.set()

    async def _keep(self, worker: _Worker) -> None:
        """Start a worker again whenever it ends."""
        delay_s = 0.0
        while True:
            if self.configuration is not None:
                await self._install(worker)
            await worker.gone.wait()
            if self._is_ending:
                return
            assert worker.process is not None
            lived_s = self._loop.time() - worker.started_at
            delay_s = 0.0 if lived_s > STABLE_S else min(max(MIN_DELAY_S, 2 * delay_s), MAX_DELAY_S)
            _log.error(
                "worker ended; it is started again",
                worker=worker.number,
                pid=worker.process.pid,
                status=worker.process.returncode,
                delay_s=delay_s,
            )
            await asyncio.sleep(delay_s)
            worker.restarts += 1
            while True:
                try:
                    self._spawn(worker)
                    break
                except HostError as error:
                    _log.error("worker cannot be started", worker=worker.number, reason=str(error))
                    await asyncio.sleep(MAX_DELAY_S)

    async def _watch(self) -> None:
        """Kill workers that hang, so that they are started again."""
        while not self._is_ending:
            await asyncio.sleep(WATCH_S)
            async with self._turn:  # who prepares a configuration may take longer
                asked = [worker for worker in self._workers if worker.is_ready]
                answers = await asyncio.gather(
                    *(worker.call("answer", timeout_s=ANSWER_S) for worker in asked), return_exceptions=True
                )
            for worker, answer in zip(asked, answers, strict=True):
                worker.missed = worker.missed + 1 if isinstance(answer, TimeoutError) else 0
                if worker.missed == MAX_MISSED:
                    _log.error("worker hangs; it is killed", worker=worker.number, silent_s=ANSWER_S * MAX_MISSED)
                    worker.kill()

    async def _install(self, worker: _Worker) -> None:
        """Give a worker that was started again what the others have."""
        async with self._turn:
            configuration = self.configuration
            if configuration is None or worker.is_ready:
                return
            try:
                await self._prepare([worker], configuration, self._ticket_keys.current)
                await self._commit(worker, configuration)
                self._tell([worker], self._judgements)
            except HostError as error:
                _log.error("worker cannot be given its configuration", worker=worker.number, reason=str(error))
                worker.kill()

    # The end.

    async def drain(self) -> None:
        """Take no more connections and wait until the open ones have ended, for `drain_s` at most."""
        self._is_ending = True
        drain_s = self._options.drain_s
        told = [worker.call("drain", drain_s=drain_s) for worker in self._workers if worker.caller is not None]
        await asyncio.gather(*told, return_exceptions=True)
        self._close_sockets(set())
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_s + _END_S):
                await asyncio.gather(*(worker.gone.wait() for worker in self._workers if worker.caller is not None))

    async def end(self) -> None:
        """End all workers now, close all sockets, take off all VIPs."""
        self._is_ending = True
        for task in (*self._keepers, *self._telling, self._retiring, self._checking, self._rotating):
            if task is not None:
                task.cancel()
        for worker in self._workers:
            worker.kill()
        self._close_sockets(set())
        await asyncio.gather(*(worker.gone.wait() for worker in self._workers if worker.caller is not None))
        if self._access_log >= 0:
            os.close(self._access_log)
            self._access_log = -1
        self._store_folder.remove()
        if self._vips is not None:
            await asyncio.to_thread(self._vips.keep_only, set())


async def _tell(worker: _Worker, judgements: Mapping[tuple[str, int], Judgement]) -> None:
    with suppress(ChannelLost, TimeoutError):  # its successor is told
        for (pool, server_id), judgement in judgements.items():
            await worker.call("judge", pool=pool, server_id=server_id, judgement=asdict(judgement))


def _task_ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.error("a task of the supervisor ended", task=task.get_name(), exc_info=error)


def _check_user(name: str) -> None:
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        raise HostError("--user", f"this host has no user {name!r}") from None
    if os.geteuid() not in (0, account.pw_uid):
        raise HostError("--user", "only root can run workers as somebody else")
