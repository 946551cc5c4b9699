"""Rows of the status document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any

from pentaflow.addresses import with_port
from tlsnodes.scheduling.server import ServerState


class Persisted(IntEnum):
    """What became of the affinity of one request; an index into the counts."""

    NONE = 0
    HONOURED = 1
    SERVER_GONE = 2  # the cookie names one that the pool no longer has
    SERVER_DOWN = 3
    MALFORMED = 4
    FOREIGN = 5
    FORGED = 6
    EXPIRED = 7
    UNKNOWN = 8  # a session id in nobody's range


class SessionIdOutcome(IntEnum):
    """What became of applications' session ids; an index into the counts."""

    NONE = 0  # the request shows none
    HONOURED = 1  # the request went to the server that its id is bound to
    LEARNT = 2  # the id was bound to the server that its first request went to
    LEARNT_FROM_RESPONSE = 3  # the id was bound to the server that has set it
    SERVER_GONE = 4  # the pool no longer has the server
    SERVER_DOWN = 5
    REPLACED = 6  # the id was bound to another server
    TOO_LONG = 7
    MALFORMED = 8
    AMBIGUOUS = 9


class TicketOutcome(IntEnum):
    """What became of TLS tickets; an index into the counts."""

    ISSUED = 0
    RESUMED = 1  # accepted, and with it what it binds the client to
    RETIRING_KEY = 2  # of those: made with a key that makes no tickets any more
    SERVER_GONE = 3  # of those: all servers that it names are gone or down
    UNKNOWN_KEY = 4
    FORGED = 5  # a known key's name, but not made with that key
    MALFORMED = 6
    FOREIGN_VSERVER = 7
    FOREIGN_NAME = 8
    EXPIRED = 9


class SessionOutcome(IntEnum):
    """What became of sessions of TLS 1.2 by their ids; an index into the counts."""

    ISSUED = 0
    RESUMED = 1
    RESUMED_OF_WORKER = 2  # another worker of this node has issued it
    RESUMED_OF_NODE = 3
    UNKNOWN = 4  # the store does not have it, or did not say
    REVOKED = 5
    WORN = 6  # it was resumed as often as it may be
    SERVER_GONE = 7  # all servers that it binds its client to are gone or down
    FORGED = 8  # nobody has issued this id, or with another secret
    UNREADABLE = 9  # what the store has was not made for this id with this secret
    MALFORMED = 10
    FOREIGN_VSERVER = 11
    FOREIGN_NAME = 12
    EXPIRED = 13
    FAILED = 14  # a fatal alert has ended it: it is revoked everywhere


def describe_server(server: ServerState, now: float, checks: dict[str, Any] | None = None) -> dict[str, Any]:
    """A server's row of the status document [N8].

    Args:
        server: whose.
        now: the pool's time.
        checks: what its checks have counted, if it is checked.
    """
    average = server.response_time_s / server.responses if server.responses else None
    return {
        "name": server.name,
        "id": server.id,
        "address": with_port(server.host, server.port),
        "weight": server.weight,
        "effective_weight": round(server.effective_weight, 3),
        "up": server.judgement.alive and not server.down and server.ejected_until <= now,
        "state": _state(server, now),
        "hits": server.hits,
        "open": server.open,
        "failed": server.failed,
        "connect_failures": server.connect_failures,
        "ejections": server.ejections,
        "average_response_ms": None if average is None else round(average * 1000, 3),
        "recent_response_ms": round(server.average_s * 1000, 3) if server.responses else None,
        "checks": checks,
    }


def servers_by_pool(vserver: Mapping[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Name and servers of each pool in a vserver's part of the status document."""
    yield vserver["pool"], vserver["servers"]
    for pool in vserver.get("routed", ()):
        yield pool["name"], pool["servers"]


def _state(server: ServerState, now: float) -> str:
    judgement = server.judgement
    if not judgement.alive:
        return judgement.reason
    if server.down:
        return "cannot be connected to"
    if server.ejected_until > now:
        return f"ejected for another {server.ejected_until - now:.0f} s"
    return judgement.reason or "up"
