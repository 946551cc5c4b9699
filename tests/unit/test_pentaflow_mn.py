"""The pure parts of the Mininet classes."""

import pytest

import pentaflow_mn

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0200FF0A:2557 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0200FF0A:1F90 0100FF0A:C350 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
"""


@pytest.mark.parametrize(
    ("port", "expected", "why"),
    [(9559, True, "state 0A"), (8080, False, "an established connection, not a listener"), (443, False, "not there")],
)
def test_listeners_are_told_from_connections(port: int, expected: bool, why: str) -> None:
    assert pentaflow_mn.listens(TABLE, port) is expected, why


def test_no_name_here_replaces_one_of_mininets_runner() -> None:
    # `mn --custom` merges these four; it takes any other name as the new value of its own global.
    merged = {"topos", "switches", "hosts", "controllers"}
    own = {
        "TOPOS",
        "TOPODEF",
        "SWITCHES",
        "SWITCHDEF",
        "HOSTS",
        "HOSTDEF",
        "CONTROLLERS",
        "LINKS",
        "TESTS",
        "CLI",
        "Host",
    }
    assert not own & vars(pentaflow_mn).keys()
    assert {name for name in merged if hasattr(pentaflow_mn, name)} == {"topos", "switches"}
    assert set(pentaflow_mn.switches) == {"softswitch", "bmv2"}
