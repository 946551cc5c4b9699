"""What nodes' agents report, and who lags behind."""

from __future__ import annotations

from controller.agents import GRACE_S, AgentReport, Agents

S = 1_000_000_000
GRACE = int(GRACE_S * S)


def report(version: int, at_ns: int, error: str = "") -> AgentReport:
    return AgentReport(version=version, error=error, at_ns=at_ns)


def test_a_node_has_time_to_follow_and_then_lags() -> None:
    agents = Agents()
    agents.enforce(1, {"n1", "n2", "n3"}, 0)
    agents.take("n1", report(1, S))
    agents.enforce(2, {"n1", "n2", "n3"}, 2 * S)
    assert agents.lagging(2 * S) == {}
    late = 3 * S + GRACE
    agents.take("n1", report(1, late, "vserver web: tls.key: broken"))
    agents.take("n2", report(2, late))
    agents.take("n3", report(0, late))
    assert agents.lagging(late) == {
        "n1": "runs version 1, 2 is in force: vserver web: tls.key: broken",
        "n3": "runs no configuration, 2 is in force",
    }
    agents.take("n1", report(2, late))
    agents.take("n3", report(2, late))
    assert agents.lagging(late) == {}


def test_an_agent_that_is_silent_is_noticed_and_a_node_without_one_is_not() -> None:
    agents = Agents()
    agents.enforce(1, {"n1", "n2"}, 0)
    agents.take("n1", report(1, 0))
    assert agents.lagging(GRACE) == {}
    assert agents.lagging(GRACE + 1) == {"n1": "its agent has not reported for 30 s"}
    assert agents.maybe_report("n2") is None


def test_a_node_that_is_configured_no_more_is_forgotten() -> None:
    agents = Agents()
    agents.enforce(1, {"n1"}, 0)
    agents.take("n1", report(1, 0))
    agents.enforce(2, {"n2"}, S)
    assert agents.maybe_report("n1") is None
    assert agents.lagging(10 * GRACE) == {}
