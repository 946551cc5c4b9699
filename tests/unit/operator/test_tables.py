"""Tables of the command line."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from pentaflow.operator import tables


def text_of(shown: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=500, markup=False)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (90_061, "1 d 1 h"), (86_400, "1 d")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert tables.duration(seconds) == text


def drain(**changes: Any) -> dict[str, Any]:
    return {
        "node": "n1",
        "intent": "draining",
        "drained": False,
        "buckets_waiting": 2000,
        "buckets_split": 3,
        "buckets_moved": 5,
        "buckets_forced": 0,
        "connections_at_risk": 0,
        "connections_left": 7,
        "deadline_ms": 0,
    } | changes


def test_drains() -> None:
    assert text_of(tables.drains({"reason": None, "estimate_s": None, "nodes": []})) == "nothing moves\n"
    shown = text_of(tables.drains({"reason": "drain", "estimate_s": 61, "nodes": [drain()]}))
    assert "buckets move: drain, done in about 1 min 1 s" in shown
    assert all(part in shown for part in ("n1", "draining", "2,000", "1970-01-01 00:00:00Z"))
    empty = drain(drained=True, buckets_waiting=0, buckets_split=0, buckets_moved=0, deadline_ms=None)
    done = text_of(tables.drains({"reason": None, "estimate_s": None, "nodes": [empty]}))
    assert "drained" in done
    assert "buckets move" not in done


def test_how_far_a_version_is() -> None:
    behind = [{"node": "n2", "configuration_version": 6, "configuration_error": "no such [file]"}]
    head, _, row = text_of(tables.rollout(7, 3, behind)).splitlines()
    assert head.endswith(" 2 of 3 nodes run version 7")
    assert row.split() == ["n2", "6", "no", "such", "[file]"]


def test_what_is_not_known_is_a_dash() -> None:
    row = {"node": "n1", "mac": "m", "management": "a", "state": "active", "health": "up", "weight": 1, "buckets": 1024}
    unknown = dict.fromkeys(("hits", "open_connections", "response_ms", "failed", "configuration_version"))
    assert text_of(tables.nodes([row | unknown])).splitlines()[1].split() == [
        *("n1", "active", "up", "1", "1,024"),
        *("-" * 5),
        *("m", "a"),
    ]


def test_an_event_is_one_line() -> None:
    row = {"id": 7, "at_ms": 1000, "kind": "node_up", "details": {"node": "n1", "reason": "[red] x", "empty": ""}}
    assert text_of(tables.event(row)) == "     7 1970-01-01 00:00:01Z node_up node=n1 reason=[red] x\n"


def test_no_alarms_and_an_alarm() -> None:
    assert text_of(tables.alarms([])) == "no alarms\n"
    row = {"kind": "switch_lost", "subject": "s1", "reason": "[no] answer", "since_s": 61}
    assert text_of(tables.alarms([row])).splitlines()[1].split(maxsplit=2)[2] == "1 min 1 s  [no] answer"


def test_ticket_keys_and_who_has_them() -> None:
    ring = {
        "name": "web",
        "rotation_wanted": False,
        "keys": [{"name": "0a1b2c3d", "state": "active", "age_s": 61.5}],
    }
    holders = [
        {"node": "n1", "version": 7, "current": True, "counts": True},
        {"node": "n2", "version": 0, "current": False, "counts": False},
    ]
    found = {"version": 7, "kept": True, "vservers": [ring], "nodes": holders}
    lines = [line.split() for line in text_of(tables.ticket_keys(found)).splitlines()]
    assert ["web", "0a1b2c3d", "active", "1", "min", "1", "s"] in lines
    assert ["n1", "7", "yes", "yes"] in lines
    assert ["n2", "0", "no", "no"] in lines
    nothing = {"version": 0, "kept": False, "vservers": [], "nodes": []}
    assert tables.ticket_keys(nothing) == "nodes make ticket keys of their own"


@pytest.mark.parametrize(
    ("server", "by", "refusal", "head"),
    [
        ("w1", "cookie", None, "web at n1: server w1 of pool p, by cookie"),
        (None, "policy", None, "web at n1: whichever server of pool p policy url_hash chooses"),
        (None, "source", None, "web at n1: a server of pool p by source, which the question does not say"),
        (None, "cookie", "every server is full", "web at n1: no server, every server is full"),
    ],
)
def test_which_server_a_client_would_get(server: str | None, by: str, refusal: str | None, head: str) -> None:
    answer = {"node": "n1", "vserver": "web", "pool": "p", "policy": "url_hash", "server": server, "chosen_by": by}
    steps = [
        {"by": "ticket", "verdict": "server_gone", "server": None},
        {"by": by, "verdict": "honoured", "server": "w1"},
    ]
    first, _, *rows = text_of(tables.session(answer | {"refusal": refusal, "steps": steps})).splitlines()
    assert first == head
    assert [row.split() for row in rows] == [["ticket", "server", "gone", "-"], [by, "honoured", "w1"]]


def test_session_ids_and_a_plan_for_them() -> None:
    group = {"keys": "0000-3fff", "size": 16384, "stage": "draining", "server": "a", "heir": "b", "ends_s": 61}
    spare = {"keys": "4000-ffff", "size": 49152, "stage": "spare", "server": "", "heir": "", "ends_s": None}
    row = {"vserver": "tls", "version": 7, "exceptions": 2, "is_as_configured": False, "behind": ["n1", "n2"]}
    lines = text_of(tables.session_ids([row | {"groups": [group, spare]}])).splitlines()
    sentence = "not as configured: `session-ids plan` says what to do; not yet known to n1, n2"
    assert lines[0] == f"tls, version 7, 2 exceptions: {sentence}"
    assert lines[2].split() == ["0000-3fff", "16,384", "draining", "a", "b", *tables.moment(61_000).split()]
    assert lines[3].split() == ["4000-ffff", "49,152", "spare", "-", "-", "-"]
    assert text_of(tables.session_ids([])) == "no vserver has persistence.session_ids\n"
    planned = text_of(tables.session_id_plan({"id": "0a1b", "moves": 16384, "after": [spare]})).splitlines()
    assert planned[0] == "plan 0a1b: 16,384 keys are no longer issued"
