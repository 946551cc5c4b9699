"""What a node knows of one server."""

from __future__ import annotations

from pentaflow.config import Server


class ServerState:
    """A server of a pool: who it is, its load and its health as seen by connecting. Changed by `ServerPool`.

    Attributes:
        id, name, host, port, weight: as configured.
        open: requests in progress.
        hits: requests sent to it.
        failed: connects that failed and requests that it did not answer properly.
        responses: whole responses.
        response_time_s: sum over `responses`, from choosing the server to the end of its response.
        down: the last connect failed.
        retry_at: while down: when it may be tried again.
    """

    __slots__ = (
        "down",
        "failed",
        "hits",
        "host",
        "id",
        "name",
        "open",
        "port",
        "response_time_s",
        "responses",
        "retry_at",
        "weight",
    )

    def __init__(self, server: Server) -> None:
        self.id = server.id
        self.name = server.name
        self.host = server.address.host
        self.port = server.address.port
        self.weight = server.weight
        self.open = 0
        self.hits = 0
        self.failed = 0
        self.responses = 0
        self.response_time_s = 0.0
        self.down = False
        self.retry_at = 0.0
