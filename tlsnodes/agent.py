"""The agent of a node [N9] (shell): joins a controller with mutual TLS, takes configurations from it, and reports.

What it gets is applied in the two steps of every reload: a configuration that the node cannot run changes nothing, and
the controller hears why. Files come with the configuration and are held in memory only.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

import httpx
import structlog
from pydantic import ValidationError

from pentaflow.config import MutualTls
from pentaflow.errors import ConfigurationError, HostError, PentaflowError
from pentaflow.mutual import client_context
from pentaflow.node_configuration import NodeConfiguration
from pentaflow.ticket_keys import TicketKeySet
from tlsnodes.node import NodeOptions, RunningNode

WAIT_S = 20.0
REPORT_S = 5.0
RETRY_S = 1.0
HOST_RETRY_S = 10.0
"""After which a configuration that this host lacked something for is tried again."""
_TIMEOUT_S = 10.0
_MAX_ERROR = 1000

_log = structlog.get_logger()


class Agent:
    """A node's side of its talk with the controllers.

    Args:
        controllers: URLs of their REST APIs; the one that leads is found.
        name: of the node.
        tls: the node's certificate and key, and the authority of the controllers'.

    Raises:
        ConfigurationError: a file of `tls` is not usable.
    """

    def __init__(self, controllers: Sequence[str], name: str, tls: MutualTls) -> None:
        self._controllers = list(controllers)
        self._name = name
        self._context: ssl.SSLContext = client_context(tls, "agent")
        self._leader = self._controllers[0]
        self._tag = ""
        self._complaint = ""
        self._version = 0
        self._error = ""
        self._news = asyncio.Event()

    def client(self) -> httpx.AsyncClient:
        """What to talk with."""
        return httpx.AsyncClient(verify=self._context, trust_env=False, timeout=_TIMEOUT_S, follow_redirects=True)

    async def next(self, client: httpx.AsyncClient, *, wait_s: float = WAIT_S) -> NodeConfiguration | None:
        """A configuration that is another one than the last; None when there is none within `wait_s`.

        Raises:
            HostError: no controller can be asked.
            ConfigurationError: a controller refuses, or its answer makes no sense.
        """
        failure = ""
        for url in dict.fromkeys((self._leader, *self._controllers)):
            try:
                response = await client.get(
                    f"{url}/agents/{self._name}/configuration",
                    params={"wait_s": wait_s},
                    headers={"If-None-Match": self._tag} if self._tag else {},
                    timeout=wait_s + _TIMEOUT_S,
                )
            except httpx.HTTPError as error:
                failure = f"{url}: {str(error) or type(error).__name__}"
                continue
            if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
                failure = f"{url}: {_detail(response)}"
                continue
            self._leader = str(response.url.copy_with(raw_path=b"")).rstrip("/")
            return self._take(response)
        raise HostError("controller", failure)

    async def next_ticket_keys(
        self, client: httpx.AsyncClient, *, acknowledged: int, wait_s: float
    ) -> TicketKeySet | None:
        """The ticket keys that follow those of version `acknowledged`, which all workers have; None: not in time.

        Raises:
            HostError: the controller that leads does not give any now.
        """
        url = f"{self._leader}/agents/{self._name}/ticket-keys"
        try:
            response = await client.get(
                url, params={"acknowledged": acknowledged, "wait_s": wait_s}, timeout=wait_s + _TIMEOUT_S
            )
            if response.status_code == httpx.codes.NOT_MODIFIED:
                return None
            if response.status_code == httpx.codes.OK:
                return TicketKeySet.model_validate_json(response.content)
        except httpx.HTTPError as error:
            raise HostError("controller", f"{self._leader}: {str(error) or type(error).__name__}") from None
        except ValidationError:
            raise HostError("controller", f"{self._leader}: its ticket keys make no sense") from None
        raise HostError("controller", f"{self._leader}: {_detail(response)}")

    def _take(self, response: httpx.Response) -> NodeConfiguration | None:
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return None
        if response.status_code != httpx.codes.OK:
            raise ConfigurationError(f"controller {self._leader}", _detail(response))
        try:
            configuration = NodeConfiguration.model_validate_json(response.content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ConfigurationError(f"controller {self._leader}", f"{where}: {first['msg']}") from None
        self._tag = response.headers.get("ETag", "")
        return configuration

    def forget(self) -> None:
        """Have the same configuration come again."""
        self._tag = ""

    def ran(self, version: int) -> None:
        """The node runs this version: report it."""
        self._version, self._error = version, ""
        self._news.set()

    def failed(self, error: str) -> None:
        """The node can't run what came: report why, and what it still runs."""
        self._error = error[:_MAX_ERROR]
        self._news.set()

    async def keep_reporting(self) -> None:
        """Report whenever there is news, and every now and then without."""
        async with self.client() as client:
            while True:
                self._news.clear()
                document = {"version": self._version, "error": self._error}
                try:
                    await client.put(f"{self._leader}/agents/{self._name}/report", json=document)
                except httpx.HTTPError as error:
                    _log.debug("report not delivered", reason=str(error) or type(error).__name__)
                try:
                    await asyncio.wait_for(self._news.wait(), REPORT_S)
                except TimeoutError:
                    continue

    def complain(self, error: PentaflowError) -> None:
        """Log why there is no configuration, once for each reason."""
        if str(error) != self._complaint:
            _log.warning("no configuration from a controller", node=self._name, reason=str(error))
        self._complaint = str(error)


async def run_agent(controllers: Sequence[str], name: str, tls: MutualTls, options: NodeOptions) -> None:
    """Run a node that its controllers configure, until the task is cancelled; see `tlsnodes.node.run_node`.

    Raises:
        ConfigurationError: a file of `tls` is not usable.
    """
    agent = Agent(controllers, name, tls)
    async with asyncio.TaskGroup() as group:
        reporting = group.create_task(agent.keep_reporting())
        try:
            await _run(agent, options)
        finally:
            reporting.cancel()


async def _run(agent: Agent, options: NodeOptions) -> None:
    async with agent.client() as client:
        while True:
            first = await _next(agent, client)
            try:
                await _run_node(agent, client, first, options)
            except (ConfigurationError, HostError) as error:
                _log.error("configuration cannot be run", version=first.version, reason=str(error))
                agent.failed(str(error))
                await _after(error, agent)


async def _run_node(agent: Agent, client: httpx.AsyncClient, first: NodeConfiguration, options: NodeOptions) -> None:
    node = RunningNode(options, first.node)
    keeping = asyncio.create_task(_keep_ticket_keys(agent, client, node))
    try:
        await _follow(agent, client, first, node)
    finally:
        keeping.cancel()


async def _keep_ticket_keys(agent: Agent, client: httpx.AsyncClient, node: RunningNode) -> None:
    """Have the controller's ticket keys, and tell it which ones the node has."""
    complaint = ""
    while True:
        if not node.wants_ticket_keys:
            await asyncio.sleep(RETRY_S)
            continue
        try:
            keys = await agent.next_ticket_keys(client, acknowledged=node.ticket_keys_version, wait_s=WAIT_S)
            if keys is not None:
                await node.give_ticket_keys(keys)
            complaint = ""
        except HostError as error:
            if str(error) != complaint:
                _log.warning("no ticket keys from a controller", reason=str(error))
            complaint = str(error)
            await asyncio.sleep(RETRY_S)


async def _follow(agent: Agent, client: httpx.AsyncClient, first: NodeConfiguration, node: RunningNode) -> None:
    async def apply(configuration: NodeConfiguration) -> None:
        await node.apply(configuration)
        agent.ran(configuration.version)

    async def begin() -> None:
        if first.has_given_ticket_keys:
            await node.wait_for_ticket_keys()
        await apply(first)

    async def go_on() -> None:
        while True:
            configuration = await _next(agent, client)
            try:
                await apply(configuration)
            except (ConfigurationError, HostError) as error:
                _log.error(
                    "configuration cannot be run; the old one goes on", version=configuration.version, reason=str(error)
                )
                agent.failed(str(error))
                await _after(error, agent)

    async def reload() -> None:
        agent.forget()
        configuration = await agent.next(client, wait_s=0)
        if configuration is not None:
            await apply(configuration)

    await node.run(begin, go_on, reload)


async def _next(agent: Agent, client: httpx.AsyncClient) -> NodeConfiguration:
    while True:
        try:
            configuration = await agent.next(client)
        except (ConfigurationError, HostError) as error:
            agent.complain(error)
            await asyncio.sleep(RETRY_S)
        else:
            if configuration is not None:
                return configuration


async def _after(error: PentaflowError, agent: Agent) -> None:
    """What this host lacks may be there later; what is wrong in a configuration stays wrong."""
    if isinstance(error, HostError):
        await asyncio.sleep(HOST_RETRY_S)
        agent.forget()


def _detail(response: httpx.Response) -> str:
    try:
        document: dict[str, Any] = response.json()
        return str(document["detail"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"
