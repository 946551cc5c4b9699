"""Which server the session id of a client leads to, and what is counted [P6]."""

from __future__ import annotations

import pytest

from pentaflow.session_ids import SessionIdTable
from support.pools import pool_with_limits
from tlsnodes.passthrough.ranges import find_server
from tlsnodes.statistics import Persisted

TABLE = SessionIdTable.model_validate_json(
    """{"vserver": "www", "version": 7, "default_server": 3, "exceptions": [{"session_id": "8001", "server": 3}],
        "groups": [{"keys": "0000/2", "servers": [1, 2]}, {"keys": "8000/2", "servers": [2]},
                   {"keys": "c000/2", "servers": [9]}]}"""
)


@pytest.mark.parametrize(
    ("session_id", "tried", "full", "server", "outcome"),
    [
        ("0000aa", (), (), 1, Persisted.HONOURED),
        ("0000aa", (1,), (), 2, Persisted.HONOURED),
        ("0000aa", (), (1,), 2, Persisted.HONOURED),
        ("0000aa", (1, 2), (), None, Persisted.SERVER_DOWN),
        ("8000aa", (), (2,), None, Persisted.SERVER_DOWN),
        ("8001", (), (), 3, Persisted.HONOURED),
        ("c000aa", (), (), None, Persisted.SERVER_GONE),
        ("4000aa", (), (), 3, Persisted.UNKNOWN),
        ("aa", (), (), 3, Persisted.UNKNOWN),
        ("4000aa", (), (3,), None, Persisted.UNKNOWN),
        ("4000aa", (3,), (), None, Persisted.UNKNOWN),
        ("", (), (), None, Persisted.NONE),
    ],
)
def test_an_id_leads_to_the_first_of_its_servers_that_can_take_it(
    session_id: str, tried: tuple[int, ...], full: tuple[int, ...], server: int | None, outcome: Persisted
) -> None:
    pool = pool_with_limits(1, 1, 1)
    for server_id in full:
        taken = pool.maybe_server(server_id)
        assert taken is not None
        pool.began(taken)
    found, said = find_server(TABLE, bytes.fromhex(session_id), pool, 0.0, tried)
    assert (found.id if found else None, said) == (server, outcome)


def test_an_id_that_is_nobodys_leads_nowhere_without_a_default_server() -> None:
    table = TABLE.model_copy(update={"default_server": None})
    assert find_server(table, b"\x40\x00", pool_with_limits(1, 1, 1), 0.0, ()) == (None, Persisted.UNKNOWN)
