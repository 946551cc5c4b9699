"""The demo's phases: each drives real traffic through a running array and hands what it saw to a judge."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from functools import partial

from pentaflow.config import Vserver
from pentaflow.demo import answers
from pentaflow.demo.array import Array, wait_for
from pentaflow.demo.judge import (
    BucketMap,
    Failover,
    NodeFailure,
    Persistence,
    Spread,
    Tickets,
    judge_failure,
    judge_persistence,
    judge_spread,
    judge_tickets,
    recovered,
)
from pentaflow.demo.load import Resuming, SteadyLoad
from pentaflow.demo.report import NodeReturn, Result, Up
from pentaflow.demo.traffic import Request, curl_command, parse_requests
from pentaflow.errors import HostError
from topologies.model import Role

UP_TIMEOUT_S = 60.0
BATCH_TIMEOUT_S = 60.0
SPREAD_CONNECTIONS = 300
SESSION_REQUESTS = 200
UNBOUND_REQUESTS = 30
ROTATIONS = 2
RESUMED_BETWEEN = 30
TICKETS_TIMEOUT_S = 30.0
LOAD_CURLS = 6
LOAD_RATE_PER_S = 16
BASELINE_REQUESTS = 100
RECOVERY_TIMEOUT_S = 20.0
RECOVERY_QUIET_NS = 2_000_000_000
RECOVERY_SUCCESSES = 100
_NS_PER_MS = 1_000_000


class Scenario:
    """The phases over one array and one of its vservers, in the order in which they stand here.

    Every phase raises NotInTimeError or HostError when it cannot go on.
    """

    def __init__(self, array: Array, vserver: int = 0) -> None:
        """`vserver`: its place in the topology."""
        self._array = array
        self._clients = array.names(Role.CLIENT)
        self._nodes = array.names(Role.NODE)
        vip = array.topology.vips[vserver]
        self._vip = vip
        self._url = f"https://{vip.hostname}:{vip.port}"
        self._vserver_name = vip.name

    def up(self) -> Up:
        """Start everything; wait until the controller is ready, all nodes are up and each client gets an answer."""
        began_s = time.monotonic()
        self._array.start()
        wait_for("controller ready", lambda: self._array.maybe_rest("/health"), timeout_s=UP_TIMEOUT_S)
        for node in self._nodes:
            wait_for(f"{node} up", partial(self._is_up, node), timeout_s=UP_TIMEOUT_S)
        for client in self._clients:
            wait_for(f"an answer to {client}", partial(self.is_answered, client), timeout_s=UP_TIMEOUT_S)
        return Up(seconds=round(time.monotonic() - began_s, 1))

    def spread(self) -> Spread:
        """Connections from many client ports of all clients against the bucket map."""
        bucket_map = self._bucket_map()
        each = SPREAD_CONNECTIONS // len(self._clients)
        curls = [self._curl(client, "/spread", count=each) for client in self._clients]
        requests = [request for curl in curls for request in self._finished(curl)]
        if self._bucket_map().version != bucket_map.version:
            raise HostError(self._vserver_name, "the bucket map changed while nothing had happened")
        return judge_spread(requests, bucket_map)

    def persistence(self) -> Persistence:
        """One session over new connections; and requests of nobody's session."""
        client = self._clients[0]
        cookies = str(self._array.files.folder / "cookies.txt")
        login = self._finished(self._curl(client, "/login", count=1, maybe_cookies=cookies, save_cookies=True))
        session = self._finished(self._curl(client, "/session", count=SESSION_REQUESTS, maybe_cookies=cookies))
        without = self._finished(self._curl(client, "/anyone", count=UNBOUND_REQUESTS))
        servers = len(self._array.names(Role.SERVER))
        return judge_persistence(login[0], session, without, nodes=len(self._nodes), servers=servers)

    def tickets(self) -> Tickets:
        """A client with nothing but its TLS 1.3 tickets, while the key that encrypts them is changed."""
        with Resuming(self._array, self._clients[-1], self._vip) as client:
            keys = [self._active_key()]
            for _ in range(ROTATIONS):
                self._wait_resumed(client, len(client.seen()) + RESUMED_BETWEEN)
                self._array.order(f"/ticket-keys/{self._vserver_name}/rotate")
                wait_for("another ticket key", lambda: self._active_key() != keys[-1], timeout_s=TICKETS_TIMEOUT_S)
                keys.append(self._active_key())
            self._wait_resumed(client, len(client.seen()) + RESUMED_BETWEEN)
            return judge_tickets(client.seen(), keys, nodes=len(self._nodes), rotations=ROTATIONS)

    def node_failure(self) -> NodeFailure:
        """`kill -9` of a node's process under a steady load that goes on until it has recovered."""
        array, victim = self._array, self._victim
        bucket_map = self._bucket_map()
        last_event = answers.last_event(array.rest("/events"))
        with SteadyLoad(
            array, self._clients, self._url + "/load", curls=LOAD_CURLS, rate_per_s=LOAD_RATE_PER_S
        ) as load:
            wait_for("a steady load", lambda: len(load.samples()) >= BASELINE_REQUESTS, timeout_s=RECOVERY_TIMEOUT_S)
            killed_ns = time.monotonic_ns()
            array.service(victim).kill()
            failover = wait_for(
                f"the controller moves the traffic of {victim}",
                lambda: self._maybe_failover(last_event),
                timeout_s=RECOVERY_TIMEOUT_S,
            )
            wait_for(
                "traffic without failures",
                lambda: recovered(
                    load.samples(),
                    killed_ns,
                    time.monotonic_ns(),
                    quiet_ns=RECOVERY_QUIET_NS,
                    successes=RECOVERY_SUCCESSES,
                ),
                timeout_s=RECOVERY_TIMEOUT_S,
            )
            samples = load.samples()
        expected = array.configuration.controller.slots_per_node
        survivors = len(self._nodes) - 1
        return judge_failure(samples, killed_ns, failover, bucket_map, expected_writes=expected, survivors=survivors)

    def node_return(self) -> NodeReturn:
        """Start the killed node again and wait until the controller calls it up."""
        victim = self._victim
        began_ns = time.monotonic_ns()
        self._array.service(victim).start()
        self._array.service(victim).wait_listening()
        wait_for(f"{victim} up again", lambda: self._is_up(victim), timeout_s=UP_TIMEOUT_S)
        return NodeReturn(node=victim, up_ms=(time.monotonic_ns() - began_ns) // _NS_PER_MS)

    @property
    def _victim(self) -> str:
        return self._nodes[len(self._nodes) // 2]

    def _active_key(self) -> str:
        return answers.active_ticket_key(self._array.rest("/ticket-keys"), self._vserver_name)

    def _wait_resumed(self, client: Resuming, count: int) -> None:
        wait_for(f"{count} connections", lambda: len(client.seen()) >= count, timeout_s=TICKETS_TIMEOUT_S)

    def _vserver(self) -> Vserver:
        return next(v for v in self._array.configuration.vservers if v.name == self._vserver_name)

    def _bucket_map(self) -> BucketMap:
        return answers.bucket_map(self._array.rest(f"/vservers/{self._vserver_name}/buckets"), self._vserver())

    def _is_up(self, node: str) -> bool:
        return node in answers.nodes_up(self._array.rest("/nodes"))

    def is_answered(self, client: str) -> bool:
        """Whether a client gets an answer to a new connection now."""
        return all(request.ok for request in self._finished(self._curl(client, "/up", count=1)))

    def _maybe_failover(self, after: int) -> Failover | None:
        return answers.maybe_failover(self._array.rest(f"/events?after={after}"), self._victim)

    def _curl(
        self, client: str, path: str, *, count: int, maybe_cookies: str | None = None, save_cookies: bool = False
    ) -> subprocess.Popen[str]:
        command = curl_command(self._url + path, count=count, maybe_cookies=maybe_cookies, save_cookies=save_cookies)
        return self._array.popen(client, command)

    def _finished(self, curl: subprocess.Popen[str]) -> list[Request]:
        with curl:
            try:
                return parse_requests(curl.communicate(timeout=BATCH_TIMEOUT_S)[1])
            except subprocess.TimeoutExpired:
                curl.kill()
                raise HostError("curl", f"took longer than {BATCH_TIMEOUT_S:g} s") from None


#: Field of `Report`, what is shown while it runs, the phase.
PHASES: tuple[tuple[str, str, Callable[[Scenario], Result]], ...] = (
    ("up", "starting servers, nodes, switch, controller", Scenario.up),
    ("spread", f"{SPREAD_CONNECTIONS} TLS connections from many ports", Scenario.spread),
    ("persistence", f"{SESSION_REQUESTS} requests of one session", Scenario.persistence),
    ("tickets", "TLS sessions resumed at all nodes while the ticket key changes", Scenario.tickets),
    ("node_failure", "kill -9 of a node under steady load", Scenario.node_failure),
    ("node_return", "starting the killed node again", Scenario.node_return),
)
