"""One worker process of a node: serves what its supervisor hands it, and ends when the supervisor is gone (shell).

It opens no file of the configuration and binds no socket: contents and listening sockets come over the channel, so it
needs no privilege.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pwd
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import structlog
import uvloop

from pentaflow.logs import configure_logs
from pentaflow.node_configuration import NodeConfiguration
from pentaflow.session_ids import SessionIdTables
from pentaflow.sessions import SessionQuestion
from pentaflow.ticket_keys import TicketKeySet
from tlsnodes.access_log import AccessLog
from tlsnodes.channel import Message, Responder
from tlsnodes.listeners import Address
from tlsnodes.open_question import Question
from tlsnodes.scheduling.judgement import Judgement
from tlsnodes.services import Services
from tlsnodes.stream.poller import Poller

SWEEP_S = 0.25
DRAINING_SWEEP_S = 0.02
LINGER_MS = 10
"""How long the supervisor's calls may wait for clients' data."""

_log = structlog.get_logger()


class Worker:
    """What the supervisor's calls do."""

    def __init__(self, channel: socket.socket, log: AccessLog | None) -> None:
        self._responder = Responder(channel, self._handle)
        self._poller = Poller(LINGER_MS)
        self._services = Services(self._poller, log)
        self._sockets: dict[Address, socket.socket] = {}
        self._deadline: float | None = None
        self._loop = asyncio.get_running_loop()

    async def run(self, *, drain_s: float) -> None:
        """Serve until told to end, or the supervisor is gone; `drain_s`: how long open requests may take then."""
        told = asyncio.create_task(self._responder.run())
        self._loop.add_reader(self._poller.fileno(), self._poller.run)
        try:
            while self._deadline is None:
                await asyncio.wait({told}, timeout=SWEEP_S)
                self._services.sweep()
                if told.done() and self._deadline is None:
                    told.result()
                    _log.warning("the supervisor is gone: this worker drains and ends", pid=os.getpid())
                    self._drain(drain_s)
            while self._loop.time() < self._deadline and self._services.open_connections:
                await asyncio.sleep(DRAINING_SWEEP_S)
                self._services.sweep()
        finally:
            self._services.end()
            await self._services.leave_store()
            self._loop.remove_reader(self._poller.fileno())
            self._poller.close()
            told.cancel()

    async def _handle(self, what: str, given: Message, descriptors: list[int]) -> Any:
        match what:
            case "prepare":
                configuration = NodeConfiguration.model_validate_json(given["configuration"])
                ticket_keys = TicketKeySet.model_validate_json(given["ticket_keys"])
                store_file = Path(given["store_file"]) if given["store_file"] else None
                self._services.prepare(
                    configuration,
                    number=given["number"],
                    workers=given["workers"],
                    ticket_keys=ticket_keys,
                    store_file=store_file,
                )
                self._services.set_session_ids(SessionIdTables.model_validate_json(given["session_ids"]))
            case "session-ids":
                self._services.set_session_ids(SessionIdTables.model_validate_json(given["tables"]))
            case "ticket-keys":
                self._services.set_ticket_keys(TicketKeySet.model_validate_json(given["keys"]))
            case "sockets":
                for end_point, descriptor in zip(given["addresses"], descriptors, strict=True):
                    self._sockets[Address(*end_point)] = socket.socket(fileno=descriptor)
            case "commit":
                sockets, self._sockets = self._sockets, {}
                self._services.commit(sockets)
            case "abort":
                self._services.abort()
            case "log":
                self._services.log_to(descriptors[0])
            case "judge":
                judgement = Judgement(**given["judgement"])
                self._services.apply_check(given["pool"], given["server_id"], judgement)
            case "answer":
                pass
            case "status":
                return self._describe()
            case "open-connections":
                return self._services.count_open(Question.model_validate(given["question"]))
            case "explain":
                client = SessionQuestion.model_validate_json(given["question"])
                return (await self._services.explain(given["vserver"], client)).model_dump()
            case "drain":
                self._drain(given["drain_s"])
            case _:
                raise ValueError(f"no call {what!r}")
        return None

    def _drain(self, drain_s: float) -> None:
        self._services.drain()
        self._deadline = self._loop.time() + drain_s

    def _describe(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "cpu_s": round(time.process_time(), 3),
            "open_connections": self._services.open_connections,
            **self._services.describe(),
        }


def _become(user: str) -> None:
    """Be somebody else for good, once all modules are loaded: that user may not be allowed to read them."""
    account = pwd.getpwnam(user)
    if os.geteuid() == 0:
        os.setgroups([])
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)


def main() -> None:
    """Entry point: `python -m tlsnodes.worker DESCRIPTOR DRAIN_S LOG_LEVEL LOG_AS_JSON ACCESS_LOG USER`.

    ACCESS_LOG is a descriptor or -1, USER may be empty.
    """
    # Signals are the supervisor's business; a terminal's Ctrl-C and a service manager's end reach all of them.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    descriptor, drain_s, log_level, log_as_json, access_log, user = sys.argv[1:]
    configure_logs(log_level, as_json=log_as_json == "1")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if user:
        _become(user)
    channel = socket.socket(fileno=int(descriptor))
    log = None if access_log == "-1" else AccessLog(int(access_log))

    # Modules stay. To look for garbage among them, too, would hold up all clients for tens of milliseconds each time.
    gc.freeze()

    async def run() -> None:
        await Worker(channel, log).run(drain_s=float(drain_s))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


if __name__ == "__main__":
    main()
