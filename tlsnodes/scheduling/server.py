"""What a node knows of one server."""

from __future__ import annotations

import math
import sys

from pentaflow.pools import Server
from tlsnodes.persistence.affinity import server_generation
from tlsnodes.scheduling.judgement import UNJUDGED

FORGET_S = 5.0
"""Time constant of the average response time: what is this old weighs 37 %."""


class ServerState:
    """A server of a pool: who it is, its load and its health. Changed by `ServerPool` and its policy.

    Health has three sources, each with its own state: connects (`down`, `retry_at`), errors in answers (`errors`,
    `ejected_until`) and checks (`judgement`). `usable` is what they come to.

    Attributes:
        id, name, host, port, weight, max_connections: as configured.
        generation: tells it from others that have, or had, its id.
        effective_weight: what policies go by: the weight after checks and slow start; 0: bound requests only.
        per_weight: 1 / `effective_weight`; 0.0 when that is 0.
        open: requests in progress.
        limit: how many may be.
        full: `open` has reached `limit`.
        hits: requests given to it, those that could not reach it included.
        connect_failures: connects that failed.
        failed: those, and requests that it did not answer properly.
        responses: whole responses.
        response_time_s: sum over `responses`, from choosing the server to the end of its response.
        average_s: the average that forgets, with `FORGET_S`.
        answered_at: when it was last updated; -inf: never.
        cost: what one more request costs there, for policy response_time.
        turn: when its turn is, for policies that break ties by turns.
        down: the last connect failed.
        retry_at: while down: when one request may try it again.
        errors: failures in a row.
        strikes: ejections that the next one's length goes by.
        ejections: all of them.
        ejected_until: when it returns.
        judgement: what checks say.
        healthy: neither down nor ejected nor judged dead.
        up_since: when it last became healthy; -inf: it always was.
        usable: it may get requests: healthy, on trial, or the best there is.
    """

    __slots__ = (
        "answered_at",
        "average_s",
        "connect_failures",
        "cost",
        "down",
        "effective_weight",
        "ejected_until",
        "ejections",
        "errors",
        "failed",
        "full",
        "generation",
        "healthy",
        "hits",
        "host",
        "id",
        "judgement",
        "limit",
        "max_connections",
        "name",
        "open",
        "per_weight",
        "port",
        "response_time_s",
        "responses",
        "retry_at",
        "strikes",
        "turn",
        "up_since",
        "usable",
        "weight",
    )

    def __init__(self, server: Server) -> None:
        self.id = server.id
        self.name = server.name
        self.host = server.address.host
        self.port = server.address.port
        self.generation = server_generation(self.id, self.host, self.port)
        self.weight = server.weight
        self.max_connections = server.max_connections
        self.effective_weight = float(server.weight)
        self.per_weight = 0.0
        self.open = 0
        self.limit = sys.maxsize
        self.full = False
        self.hits = 0
        self.connect_failures = 0
        self.failed = 0
        self.responses = 0
        self.response_time_s = 0.0
        self.average_s = 0.0
        self.answered_at = -math.inf
        self.cost = 0.0
        self.turn = 0.0
        self.down = False
        self.retry_at = 0.0
        self.errors = 0
        self.strikes = 0
        self.ejections = 0
        self.ejected_until = -math.inf
        self.judgement = UNJUDGED
        self.healthy = True
        self.up_since = -math.inf
        self.usable = True

    def measure(self, seconds: float, now: float) -> None:
        """Let an answer that took so long into the average that forgets."""
        forgotten = math.exp((self.answered_at - now) / FORGET_S)
        self.average_s = seconds + (self.average_s - seconds) * forgotten
        self.answered_at = now
        self.cost = self.average_s * self.per_weight
