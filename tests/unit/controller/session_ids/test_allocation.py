"""A vserver's session ids from the first plan to a hand-over, step by step [P6]."""

from __future__ import annotations

import pytest

from controller.session_ids.allocation import CLOCK_MARGIN_S, EMPTY, Allocation, Stage, make_record, make_table
from controller.session_ids.passing import advance, grant, take_report
from controller.session_ids.replan import replan
from controller.session_ids.shares import Wanted, wanted_by
from pentaflow.config import Pool
from pentaflow.session_id_settings import SessionIds
from pentaflow.session_ids import KEYS, GroupReport, IdInUse, SessionIdReport

NOW_S = 1_700_000_000
SETTINGS = SessionIds(lifetime_s=300, lease_s=1000, exceptions=2)
ACKNOWLEDGED = 1 << 30


def pool(*names: str) -> Pool:
    servers = [{"name": name, "id": i + 1, "address": f"10.0.0.{i + 1}:443"} for i, name in enumerate(names)]
    return Pool.model_validate({"name": "web", "servers": servers})


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({}, {1: 19661, 2: 19661, 3: 19660}),
        ({"spare_percent": 0}, {1: 21846, 2: 21845, 3: 21845}),
        ({"percent": {"a": 50, "c": 12.5}}, {1: 32768, 2: 0, 3: 8192}),
        ({"need": {"a": 100, "b": 7}}, {1: 100, 2: 7, 3: 0}),
        ({"need": {"a": 100, "b": 7}, "shared": [["b", "a"]]}, {2: 107, 3: 0}),
    ],
)
def test_shares(settings: dict[str, object], sizes: dict[int, int]) -> None:
    wanted = wanted_by(SessionIds.model_validate(settings), pool("a", "b", "c"))
    assert wanted.sizes == sizes
    assert wanted.spare == KEYS - sum(sizes.values())


def allocated(wanted: Wanted) -> Allocation:
    """What is wanted, known to all load balancers."""
    return advance(replan(EMPTY, wanted), NOW_S, ACKNOWLEDGED)


BOTH = wanted_by(SETTINGS, pool("a", "b"))


def test_nobody_issues_before_load_balancers_know() -> None:
    first = replan(EMPTY, BOTH)
    assert first.held(1, Stage.OFFERED) == 29491
    assert advance(first, NOW_S, first.version - 1) == first
    assert make_record("www", grant(first, 1, SETTINGS, NOW_S), 1, SETTINGS).issues == ""
    known = advance(first, NOW_S, first.version)
    assert known.held(1, Stage.ISSUING) == 29491
    record = make_record("www", grant(known, 1, SETTINGS, NOW_S), 1, SETTINGS)
    assert (record.issues, record.version, record.issue_until_s) == ("0000-7332", known.version, NOW_S + 1000)
    assert make_table("www", known, None).find(bytes.fromhex("7332")) == 1


def test_without_a_lease_nothing_is_issued_nor_waited_for() -> None:
    allocation = allocated(BOTH)
    assert make_record("www", allocation, 2, SETTINGS).issue_until_s == 0
    moved = advance(replan(allocation, Wanted(members={1: (1,)}, sizes={1: KEYS})), NOW_S, 0)
    assert moved.held(1, Stage.OFFERED) == KEYS - 29491


def test_a_lease_is_kept_until_half_of_it_is_over() -> None:
    allocation = grant(allocated(BOTH), 1, SETTINGS, NOW_S)
    assert grant(allocation, 1, SETTINGS, NOW_S + 499) == allocation
    later = grant(allocation, 1, SETTINGS, NOW_S + 500)
    assert later.grants[1].issue_until_s == NOW_S + 1500
    assert later.grants[1].last_expiry_s == NOW_S + 1500 + 300 + CLOCK_MARGIN_S
    assert grant(allocation, 3, SETTINGS, NOW_S) == allocation, "it has no ids to issue"


def test_a_silent_server_keeps_its_group_until_its_last_id_can_have_expired() -> None:
    allocation = grant(allocated(BOTH), 2, SETTINGS, NOW_S)
    stopped = replan(allocation, Wanted(members={1: (1,)}, sizes={1: KEYS}))
    assert (stopped.held(2, Stage.DRAINING), stopped.held(2, Stage.ISSUING)) == (29491, 0)
    assert make_table("www", stopped, None).find(b"\x80\0") == 2
    end_s = NOW_S + 1000 + 300 + CLOCK_MARGIN_S
    assert advance(stopped, end_s, 0) == stopped
    assert make_table("www", advance(stopped, end_s + 1, 0), None).find(b"\x80\0") == 1


def report(version: int, *, last_expiry_s: int, in_use: tuple[IdInUse, ...] | None) -> SessionIdReport:
    group = GroupReport(keys="0000/0", last_expiry_s=last_expiry_s, in_use=in_use)
    return SessionIdReport(version=version, groups=(group,))


def stopped_server() -> Allocation:
    allocation = grant(allocated(BOTH), 2, SETTINGS, NOW_S)
    return replan(allocation, Wanted(members={1: (1,)}, sizes={1: KEYS}))


def test_a_server_that_has_stopped_says_how_long_to_wait() -> None:
    stopped = stopped_server()
    early = take_report(stopped, 2, report(stopped.version - 1, last_expiry_s=0, in_use=()), SETTINGS, NOW_S)
    assert early == stopped, "it does not obey yet"
    told = take_report(stopped, 2, report(stopped.version, last_expiry_s=NOW_S + 9, in_use=None), SETTINGS, NOW_S)
    assert advance(told, NOW_S + 9 + CLOCK_MARGIN_S, 0) == told
    assert advance(told, NOW_S + 10 + CLOCK_MARGIN_S, 0).held(1, Stage.OFFERED) == KEYS - 29491


def test_cancelled_ids_are_not_waited_for() -> None:
    stopped = stopped_server()
    told = take_report(stopped, 2, report(stopped.version, last_expiry_s=0, in_use=()), SETTINGS, NOW_S)
    assert advance(told, NOW_S, 0).held(2, Stage.DRAINING) == 0


def test_few_ids_stay_behind_as_exceptions() -> None:
    stopped = stopped_server()
    left = tuple(IdInUse(session_id=f"8000{n:04x}", expires_s=NOW_S + 200) for n in range(2))
    told = take_report(stopped, 2, report(stopped.version, last_expiry_s=NOW_S + 200, in_use=left), SETTINGS, NOW_S)
    moved = advance(advance(told, NOW_S, 0), NOW_S, ACKNOWLEDGED)
    table = make_table("www", moved, None)
    assert (table.find(bytes.fromhex("80000001")), table.find(bytes.fromhex("80000002"))) == (2, 1)
    assert make_record("www", moved, 1, SETTINGS).excluded == ("80000000", "80000001")
    gone = advance(moved, NOW_S + 200 + CLOCK_MARGIN_S + 1, ACKNOWLEDGED)
    assert make_table("www", gone, None).exceptions == ()
    assert gone.version > moved.version


def test_more_ids_than_exceptions_are_waited_for() -> None:
    stopped = stopped_server()
    left = tuple(IdInUse(session_id=f"8000{n:04x}", expires_s=NOW_S + 200) for n in range(3))
    told = take_report(stopped, 2, report(stopped.version, last_expiry_s=NOW_S + 200, in_use=left), SETTINGS, NOW_S)
    assert told.staying == ()
    assert advance(told, NOW_S + 200, 0).held(2, Stage.DRAINING) == 29491


def test_what_drains_can_be_taken_back() -> None:
    stopped = stopped_server()
    assert replan(stopped, BOTH).held(2, Stage.ISSUING) == 29491


def test_servers_that_share_issue_from_one_group_and_stand_in_for_each_other() -> None:
    settings = SETTINGS.model_copy(update={"shared": (("a", "b"),)})
    allocation = allocated(wanted_by(settings, pool("a", "b", "c")))
    first, second = (make_record("www", allocation, server, settings) for server in (1, 2))
    assert first.issues == second.issues == "0000-9999"
    assert (first.shared_with, second.shared_with) == ((2,), (1,))
    assert make_table("www", allocation, None).holders(b"\0\0") == (1, 2)
    without = replan(allocation, Wanted(members={2: (2,), 3: (3,)}, sizes={2: 39322, 3: 19660}))
    assert without.held(2, Stage.ISSUING) == 39322, "the other one goes on, and nothing moves"


def test_spare_is_kept_for_the_next_server() -> None:
    allocation = allocated(BOTH)
    for server in (1, 2):
        allocation = grant(allocation, server, SETTINGS, NOW_S)
    three = replan(allocation, wanted_by(SETTINGS, pool("a", "b", "c")))
    assert three.held(None, Stage.SPARE) == KEYS - 2 * 29491
    assert three.held(1, Stage.DRAINING) + three.held(2, Stage.DRAINING) == 19660
    assert {piece.heir for piece in three.pieces if piece.stage is Stage.DRAINING} == {3}
