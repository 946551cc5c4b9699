"""Pools in the configuration: servers, how one is chosen, and how their health is judged [N5] [N6]."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from pentaflow.fields import Endpoint, Integer, Model, Name, Seconds


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


class Pool(Model):
    """Servers with a scheduling policy.

    `slow_start_s`: how long a server that comes up takes to its full weight. `retries`: how many other servers get a
    request that could not be delivered. `eject: null` ejects none.
    """

    name: Name
    policy: Policy = Policy.ROUND_ROBIN
    url_hash: UrlHash | None = None
    slow_start_s: float = Field(default=0, ge=0, le=3600)
    retries: Integer = Field(default=3, ge=0, le=100)
    eject: Ejection | None = Ejection()
    servers: tuple[Server, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_policy(self) -> Self:
        if self.url_hash is not None and self.policy is not Policy.URL_HASH:
            raise ValueError("url_hash goes with policy url_hash")
        return self
