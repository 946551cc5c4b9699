"""What results of checks and lines of agents come to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pentaflow.pools import ServerCheck
from tlsnodes.scheduling.agent import Mode, Reply, parse_line
from tlsnodes.scheduling.checking import CheckFailed, ServerJudge, check_request, check_status_line, pause_s
from tlsnodes.scheduling.judgement import UNJUDGED, Judgement


def rule(**keys: Any) -> ServerCheck:
    return ServerCheck.model_validate({"protocol": "http"} | keys)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"up\n", Reply(alive=True)),
        (b"UP\r\n", Reply(alive=True)),
        (b"up", Reply(alive=True)),
        (b"down\n", Reply(alive=False, reason="down")),
        (b"fail\n", Reply(alive=False, reason="fail")),
        (b"failed#disk is full\r\n", Reply(alive=False, reason="failed: disk is full")),
        (b"stopped # for  the night\n", Reply(alive=False, reason="stopped: for  the night")),
        (b"ready\n", Reply(mode=Mode.READY)),
        (b"drain\n", Reply(mode=Mode.DRAIN)),
        (b"maint\n", Reply(mode=Mode.MAINT)),
        (b"75%\n", Reply(weight_percent=75)),
        (b"0%\n", Reply(weight_percent=0)),
        (b"1000%\n", Reply(weight_percent=1000)),
        (b"1001%\n", Reply(unknown_words=1)),
        (b"-5%\n", Reply(unknown_words=1)),
        (b"%\n", Reply(unknown_words=1)),
        (b"maxconn:30\n", Reply(max_connections=30)),
        (b"maxconn:0\n", Reply(max_connections=0)),
        (b"maxconn:\n", Reply(unknown_words=1)),
        (b"maxconn:x\n", Reply(unknown_words=1)),
        (b"maxconn:99999999\n", Reply(unknown_words=1)),
        (b"75\n", Reply(unknown_words=1)),
        (
            b"ready,up\t50%  maxconn:7\n",
            Reply(alive=True, mode=Mode.READY, weight_percent=50, max_connections=7),
        ),
        (b"down up\n", Reply(alive=True)),  # the last one holds
        (b"up down #a\x1b[31mb\n", Reply(alive=False, reason="down: a[31mb")),
        (b"hello world up\n", Reply(alive=True, unknown_words=2)),
        (b"\xff\xfe\n", Reply(unknown_words=1)),
        (b"", Reply()),
        (b"up\ndown\n", Reply(alive=True)),  # one line
    ],
)
def test_what_an_agent_says(line: bytes, expected: Reply) -> None:
    assert parse_line(line) == expected


@given(st.binary(max_size=200))
def test_no_line_of_an_agent_is_an_error(line: bytes) -> None:
    reply = parse_line(line)
    assert reply.weight_percent is None or 0 <= reply.weight_percent <= 1000
    assert reply.reason.isprintable()


def test_words_of_an_agent_hold_until_they_are_taken_back() -> None:
    judge = ServerJudge(None)
    assert judge.judgement() == UNJUDGED
    steps = [
        (b"50% maxconn:9", Judgement(weight_percent=50, max_connections=9)),
        (
            b"down#tired",
            Judgement(alive=False, weight_percent=50, max_connections=9, reason="agent: down: tired"),
        ),
        (
            b"drain",
            Judgement(alive=False, draining=True, weight_percent=50, max_connections=9, reason="agent: down: tired"),
        ),
        (b"up", Judgement(draining=True, weight_percent=50, max_connections=9, reason="agent: drain")),
        (b"maint", Judgement(alive=False, weight_percent=50, max_connections=9, reason="agent: maint")),
        (b"ready 100% maxconn:0", Judgement(max_connections=0)),
        (b"nonsense", Judgement(max_connections=0)),
    ]
    for line, expected in steps:
        judge.heard(parse_line(line))
        assert judge.judgement() == expected, line
    judge.not_heard()
    assert judge.judgement() == steps[-1][1]
    assert (judge.agent.passed, judge.agent.failed, judge.unknown_words) == (7, 1, 1)


def test_rise_and_fall() -> None:
    judge = ServerJudge(rule(rise=2, fall=3))
    seen = []
    for result in "+--+---+-++-":
        if result == "+":
            judge.passed()
        else:
            judge.failed("status 500")
        seen.append(("U" if judge.judgement().alive else "D") + ("*" if judge.changing else ""))
    assert " ".join(seen) == "U U* U* U U* U* D D* D D* U U*"
    assert judge.judgement().reason == ""
    assert (judge.checks.passed, judge.checks.failed) == (5, 7)


def test_the_first_check_decides_at_once() -> None:
    judge = ServerJudge(rule(rise=2, fall=3))
    judge.failed("Connection refused")
    assert judge.judgement() == Judgement(alive=False, reason="check: Connection refused")


@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.booleans(), min_size=1, max_size=60))
def test_a_server_changes_only_after_as_many_results_in_a_row(rise: int, fall: int, results: list[bool]) -> None:
    judge = ServerJudge(rule(rise=rise, fall=fall))
    alive = results[0]
    for i, good in enumerate(results):
        judge.passed() if good else judge.failed("x")
        needed = fall if alive else rise
        last = results[max(1, i + 1 - needed) : i + 1]
        if len(last) == needed and all(result is not alive for result in last):
            alive = not alive
        assert judge.judgement().alive is alive


def test_both_checks_and_agent_must_agree_to_up() -> None:
    judge = ServerJudge(rule(fall=1, rise=1))
    judge.heard(parse_line(b"up"))
    judge.failed("status 500")
    assert judge.judgement().reason == "check: status 500"
    judge.passed()
    judge.heard(parse_line(b"stopped"))
    assert judge.judgement() == Judgement(alive=False, reason="agent: stopped")


def test_checks_come_faster_while_something_changes_and_never_all_at_once() -> None:
    assert pause_s(2000, changing=False, draw=0.5) == 2.0
    assert pause_s(2000, changing=True, draw=0.5) == 0.5
    assert pause_s(2000, changing=False, draw=0.0) == pytest.approx(1.8)
    assert pause_s(2000, changing=False, draw=1.0) == pytest.approx(2.2)


def test_the_request_of_a_check() -> None:
    assert check_request(rule(), "192.0.2.1:80").startswith(b"GET / HTTP/1.1\r\nHost: 192.0.2.1:80\r\n")
    assert check_request(rule(path="/up?x=1", host="shop.example"), "192.0.2.1:80") == (
        b"GET /up?x=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: pentaflow-check\r\nAccept: */*\r\n"
        b"Connection: close\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("line", "failure"),
    [
        (b"HTTP/1.1 200 OK\r\n", None),
        (b"HTTP/1.0 302\n", None),
        (b"HTTP/1.1 404 Not Found\r\n", "status 404"),
        (b"HTTP/1.1 503 \r\n", "status 503"),
        (b"HTTP/1.1 2000 OK\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200", "the answer is not HTTP"),  # cut short
        (b"SSH-2.0-x\r\n", "the answer is not HTTP"),
        (b"", "closed without an answer"),
    ],
)
def test_the_answer_to_a_check(line: bytes, failure: str | None) -> None:
    if failure is None:
        check_status_line(rule(), line)
    else:
        with pytest.raises(CheckFailed, match=f"^{failure}$"):
            check_status_line(rule(), line)


def test_only_the_statuses_that_are_expected_will_do() -> None:
    picky = rule(status=["204", "401-403"])
    for status, good in ((200, False), (204, True), (400, False), (401, True), (403, True), (404, False)):
        line = b"HTTP/1.1 %d x\r\n" % status
        if good:
            check_status_line(picky, line)
        else:
            with pytest.raises(CheckFailed):
                check_status_line(picky, line)
