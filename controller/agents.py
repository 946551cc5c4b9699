"""What nodes' agents have said of the configuration that they run [N9]."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

GRACE_S = 30.0
"""How long after a push, and after its last report, a node may run something else or be silent."""
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReport:
    """A node's last report, at `at_ns` on the monotonic clock.

    Attributes:
        version: of the configuration that it runs; 0: none.
        error: why it does not run the newest that it was given; empty when it does.
    """

    version: int
    error: str
    at_ns: int


class Agents:
    """The nodes that have an agent: those that have reported."""

    def __init__(self) -> None:
        self._reports: dict[str, AgentReport] = {}
        self._version = 0
        self._since_ns = 0

    def enforce(self, version: int, nodes: Collection[str], now_ns: int) -> None:
        """A version is in force from now on, with nodes of these names."""
        self._version, self._since_ns = version, now_ns
        self._reports = {name: report for name, report in self._reports.items() if name in nodes}

    def take(self, name: str, report: AgentReport) -> None:
        """A node has reported."""
        self._reports[name] = report

    def maybe_report(self, name: str) -> AgentReport | None:
        """What a node last reported; None: it has no agent, or has never reported to this controller."""
        return self._reports.get(name)

    def lagging(self, now_ns: int) -> dict[str, str]:
        """Name → why, of the nodes that do not run the version in force though they have had time."""
        grace_ns = int(GRACE_S * _NS_PER_S)
        found = {}
        for name, report in self._reports.items():
            if now_ns - report.at_ns > grace_ns:
                found[name] = f"its agent has not reported for {GRACE_S:g} s"
            elif report.version != self._version and now_ns - self._since_ns > grace_ns:
                runs = f"runs version {report.version}" if report.version else "runs no configuration"
                found[name] = f"{runs}, {self._version} is in force" + (f": {report.error}" if report.error else "")
        return found
