"""Pools in the configuration: servers, how one is chosen, and how their health is judged [N5] [N6]."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from pentaflow.fields import Endpoint, Integer, Model, Name, Seconds
from pentaflow.tls import ServerTls

TcpPort = Annotated[Integer, Field(ge=1, le=65_535)]
Milliseconds = Annotated[Integer, Field(ge=10, le=600_000)]


class Server(Model):
    """A back-end web server. `id` is its number in cookies: stable, never given to another server of the pool.

    `weight: 0` leaves it the requests that are bound to it; `max_connections` bounds its requests in progress.
    """

    name: Name
    id: Integer = Field(ge=1, le=65535)
    address: Endpoint
    weight: Integer = Field(default=1, ge=0, le=1000)
    max_connections: Annotated[Integer, Field(ge=1, le=1_000_000)] | None = None


class Policy(StrEnum):
    """How a pool chooses a server for a request that no persistence rule binds."""

    ROUND_ROBIN = "round_robin"
    LEAST_CONNECTIONS = "least_connections"
    RESPONSE_TIME = "response_time"
    POWER_OF_TWO = "power_of_two"
    URL_HASH = "url_hash"
    SOURCE_HASH = "source_hash"


class UrlHash(Model):
    """What policy `url_hash` hashes, and how far above the mean load a server may get: `load_factor` times."""

    query: bool = False
    load_factor: float = Field(default=1.25, gt=1, le=100)


class CountedErrors(StrEnum):
    """What counts against a server: 502, 503, 504 and no proper answer, or any 5xx but 501 and 505 as well."""

    GATEWAY = "gateway"
    ANY_5XX = "any_5xx"


class Ejection(Model):
    """Passive ejection: a server is left out after `after` errors in a row.

    The first time for `base_s`, each further time for twice as long, up to `max_s`; never more than `max_share` of the
    pool at once.
    """

    after: Integer = Field(default=5, ge=1, le=10_000)
    errors: CountedErrors = CountedErrors.GATEWAY
    base_s: Seconds = 10
    max_s: Seconds = 300
    max_share: float = Field(default=0.5, gt=0, le=1)

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.max_s < self.base_s:
            raise ValueError(f"max_s ({self.max_s:g}) must not be less than base_s ({self.base_s:g})")
        return self


class CheckProtocol(StrEnum):
    """What an active check does: connect, or ask for a page."""

    TCP = "tcp"
    HTTP = "http"
    HTTPS = "https"


class StatusRange(Model):
    """Statuses from `first` to `last`; written `200-399` or `204` in YAML."""

    first: Integer = Field(ge=100, le=599)
    last: Integer = Field(ge=100, le=599)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.first > self.last:
            raise ValueError(f"{self.first}-{self.last} ends before it begins")
        return self


def _status_range(value: object) -> object:
    if isinstance(value, (dict, StatusRange)):
        return value
    match = re.fullmatch(r"(\d{3})(?:-(\d{3}))?", str(value))
    if match is None:
        raise ValueError(f"{value!r} is neither a status like 204 nor a range like 200-399")
    return {"first": int(match[1]), "last": int(match[2] or match[1])}


Statuses = Annotated[StatusRange, BeforeValidator(_status_range)]


class ServerCheck(Model):
    """An active check of each server of a pool: `fall` failures in a row make one down, `rise` successes up.

    A page is asked for by `path` (`/` unless given) and must have one of the `status` (200-399 unless given). `host` is
    the Host field, the server's own address unless given. With `ca` an https server must show a certificate of it for
    `host`; without, one that goes with the pool's `tls`, or any if the pool has none. `port` when another one than the
    server's is asked; `proxy_protocol` is for the latter.
    """

    protocol: CheckProtocol = CheckProtocol.TCP
    port: TcpPort | None = None
    path: Annotated[str, Field(pattern=r"^/[!-~]*$", max_length=2048)] | None = None
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,253}$")] | None = None
    status: Annotated[tuple[Statuses, ...], Field(min_length=1)] | None = None
    ca: Path | None = None
    interval_ms: Milliseconds = 2000
    timeout_ms: Milliseconds = 1000
    rise: Integer = Field(default=2, ge=1, le=100)
    fall: Integer = Field(default=3, ge=1, le=100)

    @model_validator(mode="after")
    def _fits_protocol(self) -> Self:
        if self.protocol is CheckProtocol.TCP:
            for name in ("path", "host", "status"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} goes with protocol http or https")
        if self.ca is not None and self.protocol is not CheckProtocol.HTTPS:
            raise ValueError("ca goes with protocol https")
        if self.ca is not None and self.host is None:
            raise ValueError("ca needs host, the name that the certificate is for")
        return self


class AgentCheck(Model):
    """Asks an agent on each server, at its address and this port, for a line that says how the server is."""

    port: TcpPort
    interval_ms: Milliseconds = 2000
    timeout_ms: Milliseconds = 1000


class Pool(Model):
    """Servers with a scheduling policy.

    `slow_start_s`: how long a server that comes up takes to its full weight. `retries`: how many other servers get a
    request that could not be delivered. `eject: null` ejects none. With `proxy_protocol` each connection begins with a
    header of its version 2, which says whose it is, and serves one request.
    """

    name: Name
    policy: Policy = Policy.ROUND_ROBIN
    url_hash: UrlHash | None = None
    slow_start_s: float = Field(default=0, ge=0, le=3600)
    retries: Integer = Field(default=3, ge=0, le=100)
    eject: Ejection | None = Ejection()
    check: ServerCheck | None = None
    agent_check: AgentCheck | None = None
    tls: ServerTls | None = None
    proxy_protocol: bool = False
    servers: tuple[Server, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_policy(self) -> Self:
        if self.url_hash is not None and self.policy is not Policy.URL_HASH:
            raise ValueError("url_hash goes with policy url_hash")
        return self

    @model_validator(mode="after")
    def _check_speaks_tls(self) -> Self:
        check = self.check
        if self.tls is not None and check is not None and check.protocol is CheckProtocol.HTTP and check.port is None:
            raise ValueError("servers speak TLS: a check of protocol http needs a port of its own; expected https")
        return self
