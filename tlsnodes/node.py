"""A node: its workers, its management address and where its configuration comes from (shell)."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import structlog
import uvicorn

from pentaflow.addresses import with_port
from pentaflow.config import MutualTls, Node, is_loopback
from pentaflow.errors import ConfigurationError, HostError, PentaflowError
from pentaflow.mutual import PeerProtocol, load_identity, server_context
from pentaflow.node_configuration import NodeConfiguration
from pentaflow.serving import HttpServer, listen
from pentaflow.sessions import SessionQuestion
from pentaflow.ticket_keys import TicketKeySet
from tlsnodes.management import ManagedNode, create_management
from tlsnodes.merging import merge_open, merge_statuses
from tlsnodes.notify import notify
from tlsnodes.open_question import Question
from tlsnodes.statistics import servers_by_pool
from tlsnodes.supervisor import Supervisor, Vips, WorkerOptions

MAX_MANAGEMENT_CONNECTIONS = 256
TICKET_KEYS_WAIT_S = 5.0
"""How long a node that starts waits for its controller's ticket keys."""
_PER_WORKER = ("number", "pid", "restarts", "open_connections", "cpu_s", "access_log_lost")

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """How a node runs, beside its configuration.

    Attributes:
        workers: how they are run.
        holds_vips: whether it puts its VIPs on the loopback and takes them off.
        management_tls: of the management address, in place of the configuration's.
    """

    workers: WorkerOptions
    holds_vips: bool
    management_tls: MutualTls | None = None


async def run_node(
    load: Callable[[], NodeConfiguration], options: NodeOptions, *, started: asyncio.Event | None = None
) -> None:
    """Run a node that reads its configuration itself, until the task is cancelled; SIGHUP reads it again.

    Open requests then get `options.workers.drain_s` to finish; cancelled once more, it ends at once.

    Args:
        load: reads the configuration; ConfigurationError when it is wrong.
        options: how it runs.
        started: set once every vserver is being served.

    Raises:
        ConfigurationError: the configuration, or a file that it names, is not usable.
        HostError: a port or address cannot be listened on. Nothing has been served then.
    """
    configuration = load()
    node = RunningNode(options, configuration.node)

    async def begin() -> None:
        if configuration.has_given_ticket_keys:
            await node.wait_for_ticket_keys()
        await node.apply(configuration)

    async def go_on() -> None:
        if started is not None:
            started.set()
        await asyncio.get_running_loop().create_future()

    async def reload() -> None:
        # Reading many files takes a while, and the supervisor has answers to give.
        await node.apply(await asyncio.to_thread(load))

    await node.run(begin, go_on, reload)


class RunningNode:
    """A node's supervisor and its management address."""

    def __init__(self, options: NodeOptions, node: Node) -> None:
        """
        Args:
            options: how it runs.
            node: which one it is; its management address counts from the start to the end.

        Raises:
            ConfigurationError: the management address would be open to everybody, or a file of its TLS is not usable.
        """
        assert node.management is not None  # the schema has made sure
        self._node, self._management = node, node.management
        self._tls = options.management_tls or node.management_tls
        self._place = f"node {node.name}: management"
        if self._tls is None and not (node.management_is_open or is_loopback(self._management.host)):
            raise ConfigurationError(
                self._place,
                f"{self._management} needs management_tls; only loopback may be open to everybody,"
                " or, in a network of its own, any address with management_is_open: true",
            )
        self._context = server_context(self._tls, f"{self._place}_tls") if self._tls else None
        self._began = time.monotonic()
        self._reload: Callable[[], Awaitable[None]] | None = None
        self._reloading: set[asyncio.Task[None]] = set()
        self._serving: asyncio.Task[None] | None = None
        self._is_waiting = False
        self._has_ticket_keys = asyncio.Event()
        self._supervisor = Supervisor(options.workers, _vips(node) if options.holds_vips else None)
        self._server = self._make_server()

    async def run(
        self,
        begin: Callable[[], Awaitable[None]],
        go_on: Callable[[], Awaitable[None]],
        reload: Callable[[], Awaitable[None]],
    ) -> None:
        """Run until `go_on` ends or the task is cancelled: then open requests finish.

        Args:
            begin: applies the first configuration; the management address answers after that, unless ticket keys are
                waited for.
            go_on: whatever is to be done from then on.
            reload: fetches the configuration anew and applies it; for SIGHUP and the management address.

        Raises:
            HostError: the management address cannot be listened on, or no worker started; and what the others raise.
        """
        self._reload = reload
        loop = asyncio.get_running_loop()
        try:
            await self._supervisor.start()
            await begin()
            self._serve_management()
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)
            await go_on()
        finally:
            loop.remove_signal_handler(signal.SIGHUP)
            notify("STOPPING=1")
            try:
                await self._supervisor.drain()
            finally:
                await self._supervisor.end()
                self._server.should_exit = True
                if self._serving is not None:
                    await self._serving

    def _serve_management(self) -> None:
        if self._serving is None:
            listener = listen(self._management.host, self._management.port, self._place)
            self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))  # which closes it

    async def wait_for_ticket_keys(self) -> None:
        """Have the controller's ticket keys before the first client comes; without them, no ticket is made.

        Raises:
            HostError: the management address, where they come to, cannot be listened on.
        """
        self._serve_management()
        self._is_waiting = True
        try:
            await asyncio.wait_for(self._has_ticket_keys.wait(), TICKET_KEYS_WAIT_S)
        except TimeoutError:
            _log.warning("no controller gives ticket keys: no tickets are made until one does", node=self._node.name)

    async def give_ticket_keys(self, keys: TicketKeySet) -> None:
        """The controller gives these.

        Raises:
            HostError: this node is configured to make its own.
        """
        configuration = self._supervisor.configuration
        if configuration is not None and not configuration.has_given_ticket_keys:
            raise HostError(f"node {self._node.name}", "its configuration says nothing of controller.ticket_keys")
        await self._supervisor.give_ticket_keys(keys)
        self._has_ticket_keys.set()

    @property
    def wants_ticket_keys(self) -> bool:
        """Whether the controller's ticket keys are waited for, or in use."""
        configuration = self._supervisor.configuration
        return self._is_waiting if configuration is None else configuration.has_given_ticket_keys

    @property
    def ticket_keys_version(self) -> int:
        """Of the controller's ticket keys; 0: there are none."""
        return self._supervisor.ticket_keys.given_version

    async def apply(self, configuration: NodeConfiguration) -> None:
        """Serve another configuration.

        Raises:
            ConfigurationError, HostError: it can't be; all is as before.
        """
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            if self._context is not None and self._tls is not None:
                load_identity(self._context, self._tls, f"{self._place}_tls")
            await self._supervisor.apply(configuration)
        finally:
            if self._supervisor.configuration is not None:
                notify("READY=1")
        for vserver in configuration.vservers:
            address = with_port(vserver.vip, vserver.port)
            _log.info("serving", node=self._node.name, vserver=vserver.name, address=address)

    def _make_server(self) -> HttpServer:
        managed = ManagedNode(
            describe=self.describe,
            vservers=self._vservers,
            count_open=self._count_open,
            explain=self._explain,
            give_ticket_keys=self.give_ticket_keys,
            give_session_ids=self._supervisor.give_session_ids,
            reload=self._reload_now,
        )
        settings = uvicorn.Config(
            create_management(managed),
            http=PeerProtocol,
            log_config=None,
            access_log=False,
            lifespan="off",
            limit_concurrency=MAX_MANAGEMENT_CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
        settings.load()
        settings.ssl = self._context
        return HttpServer(settings)

    def _hang_up(self) -> None:
        async def reload() -> None:
            with suppress(PentaflowError):  # it is logged
                await self._reload_now()

        task = asyncio.create_task(reload())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def _reload_now(self) -> dict[str, Any]:
        assert self._reload is not None
        try:
            await self._supervisor.reopen_access_log()  # whatever becomes of the configuration
            await self._reload()
        except PentaflowError as error:
            _log.error("reload failed; the old configuration goes on", node=self._node.name, reason=str(error))
            raise
        configuration = self._supervisor.configuration
        assert configuration is not None
        _log.info("reloaded", node=self._node.name, vservers=len(configuration.vservers))
        return {"node": self._node.name, "configuration_version": configuration.version}

    def _vservers(self) -> list[str]:
        configuration = self._supervisor.configuration
        return [vserver.name for vserver in configuration.vservers] if configuration else []

    async def _count_open(self, question: Question) -> dict[str, Any]:
        counted = merge_open(await self._supervisor.count_open(question))
        return {name: counted.get(name, {"open": 0, "buckets": {}}) for name in question.vservers}

    async def _explain(self, vserver: str, question: SessionQuestion) -> dict[str, Any]:
        return await self._supervisor.explain(vserver, question)

    async def describe(self) -> dict[str, Any]:
        """The status document."""
        documents = await self._supervisor.statuses()
        merged = merge_statuses([{name: document[name] for name in ("vservers", "store")} for document in documents])
        for vserver in merged.get("vservers", []):
            for pool, servers in servers_by_pool(vserver):
                for server in servers:
                    server["checks"] = self._supervisor.describe_checks(pool, server["id"])
        configuration = self._supervisor.configuration
        return {
            "node": self._node.name,
            "version": _version(),
            "configuration_version": configuration.version if configuration else 0,
            "ticket_keys": self._supervisor.ticket_keys.describe(),
            "session_ids": self._supervisor.session_ids.versions(),
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._began, 3),
            "workers": [{name: document[name] for name in _PER_WORKER} for document in documents],
            "vservers": merged.get("vservers", []),
            "store": merged.get("store"),
        }


def _vips(node: Node) -> Vips:
    from tlsnodes.vips import LoopbackVips  # and the whole of pyroute2

    return LoopbackVips(node.id)


def _version() -> str:
    try:
        return version("pentaflow")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"
