"""Whose a session id is, by the range that it is in [P6]."""

from __future__ import annotations

from pentaflow.session_ids import SessionIdTable
from tlsnodes.scheduling.pool import ServerPool
from tlsnodes.scheduling.server import ServerState
from tlsnodes.statistics import Persisted


def find_server(
    table: SessionIdTable, session_id: bytes, pool: ServerPool, now: float, tried: tuple[int, ...]
) -> tuple[ServerState | None, Persisted]:
    """The server for a client that shows an id, if there is one, and what became of the id.

    It is the first one of those whose id it is that can take the client, or the default server if the id is nobody's.
    Elsewhere the client's session is not known; but many an id is made up, so that nobody is turned away for it.

    Args:
        table: whose ids are whose.
        session_id: empty: the client shows none.
        pool: the servers.
        now: the pool's time.
        tried: servers that could not be connected to just now.
    """
    if not session_id:
        return None, Persisted.NONE
    holders = table.holders(session_id)
    default = () if table.default_server is None else (table.default_server,)
    outcome = Persisted.SERVER_GONE if holders else Persisted.UNKNOWN
    for server_id in holders or default:
        server = pool.maybe_server(server_id)
        if server is None:
            continue
        if server_id not in tried and pool.usable(server, now) and not server.full:
            return server, Persisted.HONOURED if holders else Persisted.UNKNOWN
        if holders:
            outcome = Persisted.SERVER_DOWN
    return None, outcome
