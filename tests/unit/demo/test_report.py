"""The report of the demo: table and JSON document."""

import io
import json

from rich.console import Console

from pentaflow.demo.judge import NodeFailure, NodeShare, Persistence, Spread, Tickets
from pentaflow.demo.report import NodeReturn, Report, Up, as_json, as_table

FULL = Report(
    topology="inline",
    switch="softswitch",
    started_at="2026-01-01T00:00:00+00:00",
    held=True,
    seconds=30.5,
    up=Up(seconds=4.0),
    spread=Spread(
        connections=300, as_mapped=300, by_node={"n1": NodeShare(connections=300, buckets=4096)}, problems=()
    ),
    persistence=Persistence(
        requests=200, server="w2", to_server=200, by_node={"n1": 100}, without_cookie={"w1": 10}, problems=()
    ),
    tickets=Tickets(
        connections=90,
        version="TLSv1.3",
        resumed=89,
        server="w3",
        to_server=88,
        by_node={"n1": 91},
        keys=("0a1b2c3d", "4e5f6a7b"),
        problems=(),
    ),
    node_failure=NodeFailure(
        node="n2",
        requests=500,
        failed_requests=7,
        detection_ms=290.5,
        recovery_ms=311.0,
        last_failure_ms=295.0,
        switch_writes=16,
        expected_switch_writes=16,
        problems=(),
    ),
    node_return=NodeReturn(node="n2", up_ms=900.0),
)


def text(report: Report) -> str:
    output = io.StringIO()
    Console(width=120, file=output).print(as_table(report))
    return output.getvalue()


def test_the_document_has_the_documented_keys() -> None:
    document = json.loads(as_json(FULL))
    assert document["held"] is True
    assert document["spread"]["by_node"] == {"n1": {"connections": 300, "buckets": 4096}}
    assert document["persistence"]["to_server"] == 200
    assert document["node_failure"]["switch_writes"] == 16
    assert document["node_return"] == {"node": "n2", "up_ms": 900.0, "problems": []}


def test_the_table_shows_every_figure() -> None:
    shown = text(FULL)
    for figure in (
        *("300 of 300", "w2: 200", "resumed: 89", "w3: 88", "0a1b2c3d → 4e5f6a7b"),
        *("7 of 500", "290.5 ms", "311 ms", "16 (16 slots of a node)", "all held"),
    ):
        assert figure in shown


def test_a_report_that_stopped_early_says_why_and_shows_what_there_is() -> None:
    report = Report(topology="inline", switch="bmv2", started_at="x", up=Up(seconds=1.0), problems=("n2 owns nothing",))
    document = json.loads(as_json(report))
    assert document["spread"] is None
    assert document["problems"] == ["n2 owns nothing"]
    shown = text(report)
    assert "did not hold" in shown
    assert "n2 owns nothing" in shown
    assert "session" not in shown
