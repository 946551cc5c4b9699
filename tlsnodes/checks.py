"""Active checks of servers, and questions to their agents [N6] (shell).

Whoever runs them tells others what they come to: a judgement is reported when it changes, and all that are known when
the checks begin.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from pentaflow.addresses import with_port
from pentaflow.config import Pool, Server
from pentaflow.credentials import Identity, check_certificates, check_identity
from pentaflow.errors import ConfigurationError
from pentaflow.files import read_file
from pentaflow.pools import AgentCheck, CheckProtocol, ServerCheck
from pentaflow.tls import ServerTls
from tlsnodes.http.proxy_protocol import LOCAL_HEADER
from tlsnodes.scheduling.agent import MAX_LINE, parse_line
from tlsnodes.scheduling.checking import CheckFailed, ServerJudge, check_request, check_status_line, pause_s
from tlsnodes.scheduling.judgement import UNJUDGED, Judgement

MOST_AT_ONCE = 64
"""How many checks may be in progress."""

_MAX_STATUS_LINE = 8192

Report = Callable[[str, int, Judgement], None]
"""Is told the pool's name, the server's id and what checks say of it."""

Read = Callable[[Path, str], bytes]

_log = structlog.get_logger()


class _Subject:
    """A server that is checked: what is asked of it, and what it is judged to be."""

    def __init__(self, pool: Pool, server: Server, trust: ssl.SSLContext | None) -> None:
        self.pool = pool.name
        self.server = server
        self.check = pool.check
        self.agent_check = pool.agent_check
        self.trust = trust
        self.name = _name_of(pool, server)
        self.speaks_proxy_protocol = pool.proxy_protocol
        self.judge = ServerJudge(pool.check)
        self.said = UNJUDGED

    @property
    def key(self) -> tuple[object, ...]:
        """Subjects of the same key are the same server under the same checks."""
        return (self.pool, self.server.id, self.server.address, self.check, self.agent_check)


class ServerChecks:
    """The checks of all servers of some pools.

    Args:
        pools: their configuration.
        report: is called from `run`.
        read: path and what errors call it → contents of a file that they name.

    Raises:
        ConfigurationError: a certificate authority cannot be read.
    """

    def __init__(self, pools: Sequence[Pool], report: Report, *, read: Read = read_file) -> None:
        self._report = report
        self._subjects: dict[tuple[str, int], _Subject] = {}
        for pool in pools:
            if pool.check is not None or pool.agent_check is not None:
                trust = _maybe_trust(pool, read)
                for server in pool.servers:
                    self._subjects[pool.name, server.id] = _Subject(pool, server, trust)
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)

    def succeeded_by(self, pools: Sequence[Pool], *, read: Read = read_file) -> ServerChecks:
        """The checks of another configuration; they know what these do of servers that are checked as before.

        Raises:
            ConfigurationError: as `__init__`.
        """
        successor = ServerChecks(pools, self._report, read=read)
        known = {subject.key: subject for subject in self._subjects.values()}
        for subject in successor._subjects.values():
            if (old := known.get(subject.key)) is not None:
                subject.judge, subject.said = old.judge, old.said
        return successor

    def describe(self, pool: str, server_id: int) -> dict[str, Any] | None:
        """The counts of a server's checks, for the status document; None if it is not checked."""
        subject = self._subjects.get((pool, server_id))
        if subject is None:
            return None
        judge = subject.judge
        counts: dict[str, Any] = {}
        if subject.check is not None:
            counts |= {"passed": judge.checks.passed, "failed": judge.checks.failed}
        if subject.agent_check is not None:
            counts |= {
                "agent_answers": judge.agent.passed,
                "agent_silent": judge.agent.failed,
                "agent_unknown_words": judge.unknown_words,
            }
        return counts

    async def run(self) -> None:
        """Check until cancelled."""
        for subject in self._subjects.values():
            if subject.said != UNJUDGED:
                self._report(subject.pool, subject.server.id, subject.said)
        async with asyncio.TaskGroup() as group:
            for i, subject in enumerate(self._subjects.values()):
                place = i / len(self._subjects)  # evenly spread over the interval
                if subject.check is not None:
                    group.create_task(self._check(subject, subject.check, place))
                if subject.agent_check is not None:
                    group.create_task(self._ask(subject, subject.agent_check, place))

    async def _check(self, subject: _Subject, rule: ServerCheck, place: float) -> None:
        judge = subject.judge
        await asyncio.sleep(place * rule.interval_ms / 1000)
        while True:
            failure = await self._maybe_failure(partial(_look, subject, rule), rule.timeout_ms)
            if failure is None:
                judge.passed()
            else:
                judge.failed(failure)
            self._tell(subject)
            await asyncio.sleep(pause_s(rule.interval_ms, changing=judge.changing, draw=random.random()))

    async def _ask(self, subject: _Subject, rule: AgentCheck, place: float) -> None:
        judge = subject.judge
        await asyncio.sleep(place * rule.interval_ms / 1000)
        while True:
            if await self._maybe_failure(partial(_listen, subject, rule), rule.timeout_ms) is not None:
                judge.not_heard()
            self._tell(subject)
            await asyncio.sleep(pause_s(rule.interval_ms, changing=False, draw=random.random()))

    async def _maybe_failure(self, work: Callable[[], Awaitable[None]], timeout_ms: int) -> str | None:
        """Do it in its turn and in time; why it failed, if it did."""
        async with self._slots:
            try:
                async with asyncio.timeout(timeout_ms / 1000):
                    await work()
            except TimeoutError:
                return f"no answer within {timeout_ms} ms"
            except CheckFailed as failure:
                return str(failure)
            except ssl.SSLError as error:
                return f"TLS: {getattr(error, 'verify_message', None) or error.reason or error}"
            except OSError as error:
                return os.strerror(error.errno) if error.errno else str(error)
            return None

    def _tell(self, subject: _Subject) -> None:
        judgement = subject.judge.judgement()
        if judgement == subject.said:
            return
        subject.said = judgement
        _log.info(
            "server judged",
            pool=subject.pool,
            server=subject.server.name,
            alive=judgement.alive,
            draining=judgement.draining,
            weight_percent=judgement.weight_percent,
            max_connections=judgement.max_connections,
            reason=judgement.reason,
        )
        self._report(subject.pool, subject.server.id, judgement)


async def _look(subject: _Subject, rule: ServerCheck) -> None:
    """Check once; CheckFailed or OSError if the server is not well."""
    address = subject.server.address
    port = rule.port or address.port
    reader, writer = await asyncio.open_connection(address.host, port, limit=_MAX_STATUS_LINE)
    try:
        if subject.speaks_proxy_protocol and rule.port is None:
            writer.write(LOCAL_HEADER)
        if subject.trust is not None:
            await writer.start_tls(subject.trust, server_hostname=subject.name)
        if rule.protocol is CheckProtocol.TCP:
            return
        writer.write(check_request(rule, with_port(address.host, port)))
        check_status_line(rule, await _read_line(reader))
    finally:
        writer.transport.abort()


async def _listen(subject: _Subject, rule: AgentCheck) -> None:
    """Hear what the agent says; CheckFailed or OSError if that is nothing."""
    reader, writer = await asyncio.open_connection(subject.server.address.host, rule.port, limit=MAX_LINE)
    try:
        line = await _read_line(reader)
        if not line.strip():
            raise CheckFailed("no line")
        subject.judge.heard(parse_line(line))
    finally:
        writer.transport.abort()


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    """A line, or what there was until the other side closed."""
    try:
        return await reader.readline()
    except ValueError:  # what asyncio makes of a line beyond its limit
        raise CheckFailed("the first line is too long") from None


def _name_of(pool: Pool, server: Server) -> str:
    """The name that a server's certificate must be for, and that it is asked for."""
    if pool.check is not None and pool.check.host is not None and (pool.check.ca is not None or pool.tls is None):
        return pool.check.host
    return (pool.tls and pool.tls.server_name) or server.address.host


def _maybe_trust(pool: Pool, read: Read) -> ssl.SSLContext | None:
    """What https checks go by; None for others."""
    check = pool.check
    if check is None or check.protocol is not CheckProtocol.HTTPS:
        return None
    if check.ca is not None:
        return _trust_in(check.ca, f"pool {pool.name}: check.ca", read)
    if pool.tls is not None:
        trust = _trust_in(pool.tls.ca, f"pool {pool.name}: tls.ca", read)
        _load_revocations(trust, pool.tls, f"pool {pool.name}: tls.crl", read)
        _load_identity(trust, pool.tls, f"pool {pool.name}: tls", read)
        return trust
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname = False
    trust.verify_mode = ssl.CERT_NONE
    return trust


def _trust_in(ca: Path, place: str, read: Read) -> ssl.SSLContext:
    authority = read(ca, place)
    check_certificates(authority, place)
    return ssl.create_default_context(cadata=authority.decode())


def _load_revocations(context: ssl.SSLContext, tls: ServerTls, place: str, read: Read) -> None:
    """Look servers' certificates up in the pool's revocation lists, if it has some."""
    if tls.crl is None:
        return
    with _file_of(read(tls.crl, place)) as path:
        try:
            context.load_verify_locations(cafile=path)
        except ssl.SSLError:
            raise ConfigurationError(place, f"{tls.crl}: no PEM revocation list in it") from None
    context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF


def _load_identity(context: ssl.SSLContext, tls: ServerTls, place: str, read: Read) -> None:
    """Show the pool's certificate, if it has one."""
    if tls.certificate is None or tls.key is None:
        return
    places = f"{place}.certificate", f"{place}.key"
    identity = Identity(certificate=read(tls.certificate, places[0]), key=read(tls.key, places[1]))
    check_identity(identity, certificate_place=places[0], key_place=places[1])
    with _file_of(identity.certificate + b"\n" + identity.key) as path:
        try:
            context.load_cert_chain(path)
        except ssl.SSLError as error:
            raise ConfigurationError(places[0], f"is refused: {error.reason}") from None


@contextmanager
def _file_of(content: bytes) -> Iterator[str]:
    """The path of a file with that, in memory: the contents may be nowhere else, and `ssl` wants a file."""
    with os.fdopen(os.memfd_create("content"), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"
