"""What the demo found, as a table and as `build/demo.json`.

The keys of the JSON document are the fields of `Report` and of the results in it; a phase that was not reached is
null. They stay; new ones may be added.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from rich.table import Table

from pentaflow.demo.judge import NodeFailure, Persistence, Spread, Tickets


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """All processes run, all nodes are up and every client gets answers."""

    seconds: float
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReturn:
    """The killed node was started again; `up_ms`: from its start until the controller calls it up."""

    node: str
    up_ms: float
    problems: tuple[str, ...] = ()


Result = Up | Spread | Persistence | Tickets | NodeFailure | NodeReturn


@dataclass(slots=True, kw_only=True)
class Report:
    """All results; `held` says whether everything that the demo has to show holds.

    `started_at` is ISO 8601 in UTC, `seconds` the duration of the whole.
    """

    topology: str
    switch: str
    started_at: str
    held: bool = False
    problems: tuple[str, ...] = ()
    seconds: float = 0.0
    up: Up | None = None
    spread: Spread | None = None
    persistence: Persistence | None = None
    tickets: Tickets | None = None
    node_failure: NodeFailure | None = None
    node_return: NodeReturn | None = None


def as_json(report: Report) -> str:
    """The document of `build/demo.json`."""
    return json.dumps(asdict(report), indent=2) + "\n"


def as_table(report: Report) -> Table:
    """One row for each thing shown, as far as the demo came."""
    table = Table(title=f"Pentaflow demo: topology {report.topology} on {report.switch}", title_justify="left")
    table.add_column("what")
    table.add_column("figures")
    if up := report.up:
        table.add_row("everything up", f"in {up.seconds:.1f} s")
    if spread := report.spread:
        shares = {n: f"{s.connections} ({s.buckets} buckets)" for n, s in spread.by_node.items()}
        table.add_row(f"{spread.connections} TLS connections", _pairs(shares))
        table.add_row("  where the bucket map says", f"{spread.as_mapped} of {spread.connections}")
    if session := report.persistence:
        table.add_row(f"{session.requests} requests of one session", f"{session.server}: {session.to_server}")
        table.add_row("  through nodes", _pairs(session.by_node))
        table.add_row("  without the cookie", _pairs(session.without_cookie))
    if tickets := report.tickets:
        table.add_row(f"{tickets.connections} times {tickets.version} again, no cookie", f"resumed: {tickets.resumed}")
        table.add_row("  to the first one's server", f"{tickets.server}: {tickets.to_server}")
        table.add_row("  through nodes", _pairs(tickets.by_node))
        table.add_row("  while the ticket key changed", " → ".join(tickets.keys))
    if failure := report.node_failure:
        table.add_row(f"kill -9 of {failure.node} under load", f"detected after {failure.detection_ms:g} ms")
        table.add_row("  failed requests", f"{failure.failed_requests} of {failure.requests}")
        back = "not" if failure.recovery_ms is None else f"after {failure.recovery_ms:g} ms"
        table.add_row("  its clients answered again", f"{back}, last failure after {failure.last_failure_ms:g} ms")
        writes = f"{failure.switch_writes} ({failure.expected_switch_writes} slots of a node)"
        table.add_row("  switch writes used", writes)
    if returned := report.node_return:
        table.add_row(f"{returned.node} started again", f"up after {returned.up_ms:g} ms")
    table.add_row("all held" if report.held else "did not hold", f"{report.seconds:.1f} s in all")
    for problem in report.problems:
        table.add_row("", problem, style="red")
    return table


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in values.items())
