"""Mode passthrough in the configuration: where the names lead that clients ask for, and what does not belong [P5]."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from pentaflow.fields import Model, Name
from pentaflow.misplaced import Location, MisplacedError, nearest
from pentaflow.pools import Policy, Pool

if TYPE_CHECKING:
    from pentaflow.config import Vserver

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_PATTERN = re.compile(rf"(?=.{{1,255}}\Z)(\*\.)?{_LABEL}(\.{_LABEL})*\Z")

# What is there without requests.
_HAS = {
    "persistence": ("learn", "session_ids", "source"),
    "timeouts": ("handshake_s", "connect_s", "response_s", "tunnel_s"),
    "limits": ("max_connections", "max_connections_per_client", "min_rate", "min_rate_after_s"),
}


def _pattern(value: str) -> str:
    value = value.lower()
    if not _PATTERN.match(value):
        raise ValueError(f"{value!r} is neither a host name nor one like *.example.com")
    return value


NamePattern = Annotated[str, AfterValidator(_pattern)]


class NameRoute(Model):
    """Clients that ask for one of these names (SNI) get a server of this pool; `*.` stands for one label."""

    names: Annotated[tuple[NamePattern, ...], Field(min_length=1)]
    pool: Name


def check_passthrough(vserver: Vserver, pools: tuple[Pool, ...], place: Location) -> None:
    """What a vserver of mode passthrough says of its servers, and of requests that it does not see.

    Raises:
        MisplacedError: what is wrong or does not belong.
    """
    known = {pool.name: pool for pool in pools}
    named: set[str] = set()
    for i, route in enumerate(vserver.routes):
        if route.pool not in known:
            raise MisplacedError(
                (*place, "routes", i, "pool"), f"no pool {route.pool!r}{nearest(route.pool, list(known))}"
            )
        for j, name in enumerate(route.names):
            if name in named:
                raise MisplacedError((*place, "routes", i, "names", j), f"{name} is used twice")
            named.add(name)
    for pool in pools:
        if pool.policy is Policy.URL_HASH and pool.name in (vserver.pool, *(route.pool for route in vserver.routes)):
            raise MisplacedError(
                (*place, "pool"), f"the policy of {pool.name} is url_hash, and {vserver.name} sees no URLs"
            )
    for part, names in _HAS.items():
        given = getattr(vserver, part)
        for name, field in type(given).model_fields.items():
            if name not in names and getattr(given, name) != field.default:
                message = f"belongs to other modes; {vserver.name}, of mode passthrough, decrypts nothing"
                raise MisplacedError((*place, part, name), message)
