"""Session-id ranges in the configuration [P6]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from pentaflow.fields import Integer, Model, Name
from pentaflow.misplaced import Location, MisplacedError, nearest
from pentaflow.modes import VserverMode
from pentaflow.session_ids import KEYS, GroupKind

if TYPE_CHECKING:
    from pentaflow.config import Configuration
    from pentaflow.pools import Pool

Percent = Annotated[float, Field(ge=0, le=100)]
Need = Annotated[Integer, Field(ge=0, le=KEYS)]


class SessionIds(Model):
    """Which server makes which TLS session ids, and so is found by them [P6].

    All servers of the pool get the same, unless `percent` of the ids, or the number of keys (of 65,536) that each is in
    `need` of, are given; then servers that are not named get none. At least `spare_percent` stay free. Servers in one
    list of `shared` make ids from the same group and share their sessions. An id lasts for `lifetime_s`; a server that
    has not got its record anew stops issuing after `lease_s`. When a group is to be another server's, up to
    `exceptions` ids that are still in use stay behind with their issuer instead of being waited for.
    """

    percent: Mapping[Name, Percent] | None = None
    need: Mapping[Name, Need] | None = None
    spare_percent: Percent = 10
    default_server: Name | None = None
    shared: tuple[Annotated[tuple[Name, ...], Field(min_length=2)], ...] = ()
    groups: GroupKind = GroupKind.RANGE
    lifetime_s: Integer = Field(default=300, ge=1, le=86_400)
    lease_s: Integer = Field(default=86_400, ge=10, le=30 * 86_400)
    exceptions: Integer = Field(default=100, ge=0, le=10_000)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.percent is not None and self.need is not None:
            raise ValueError("percent and need exclude each other")
        if self.percent is not None and (total := sum(self.percent.values())) > 100 - self.spare_percent:
            raise ValueError(
                f"percent adds up to {total:g}; with spare_percent {self.spare_percent:g} that is too much"
            )
        free = KEYS - spare_keys(self)
        if self.need is not None and (total_keys := sum(self.need.values())) > free:
            raise ValueError(f"need adds up to {total_keys} keys; there are {free} beside spare_percent")
        names = [name for servers in self.shared for name in servers]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"shared names {twice} twice")
        return self

    def check_servers(self, pool: Pool, place: Location) -> None:
        """All servers that are named are the pool's.

        Raises:
            MisplacedError: one is not.
        """
        servers = [server.name for server in pool.servers]
        for location, name in self._named():
            if name not in servers:
                raise MisplacedError(
                    (*place, *location), f"pool {pool.name} has no server {name!r}{nearest(name, servers)}"
                )

    def _named(self) -> Iterator[tuple[Location, str]]:
        for field, named in (("percent", self.percent), ("need", self.need)):
            for name in named or ():
                yield (field, name), name
        if self.default_server is not None:
            yield ("default_server",), self.default_server
        for i, servers in enumerate(self.shared):
            for j, name in enumerate(servers):
                yield ("shared", i, j), name


def spare_keys(settings: SessionIds) -> int:
    """How many keys are spare at least."""
    return round(KEYS * settings.spare_percent / 100)


def check_session_ids(configuration: Configuration) -> None:
    """Session ids are allocated in mode passthrough only, to servers of the vserver's own pool.

    Raises:
        MisplacedError: what is wrong where it stands.
    """
    pools = {pool.name: pool for pool in configuration.pools}
    for i, vserver in enumerate(configuration.vservers):
        settings = vserver.persistence.session_ids
        if settings is None:
            continue
        place = ("vservers", i, "persistence", "session_ids")
        if vserver.mode is not VserverMode.PASSTHROUGH or vserver.pool is None:
            raise MisplacedError(place, f"belongs to mode passthrough; the mode of {vserver.name} is {vserver.mode}")
        settings.check_servers(pools[vserver.pool], place)
