"""The same trace and the same event for everybody, side by side."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.figures import Better
from benchmarks.harness import Benchmark, Peer, Profile
from benchmarks.simulation.events import Event, Happening, Outcome, Policy, outcome
from benchmarks.simulation.hashing import Maglev, Modulo, Tracking
from benchmarks.simulation.pentaflow import Pentaflow
from benchmarks.simulation.trace import Trace, make_trace
from benchmarks.simulation.transit import CELLS

CONNECTIONS = 100_000
SEED = 4
NODES = range(1, 17)
OURS, MAGLEV, MODULO = "Pentaflow", "Maglev", "modulo"
#: Of as many connections as the transit filter's registers have cells.
TRACKING = f"Maglev, {CELLS:,} connections tracked"
#: Where it happens, as a share of the time in which connections begin.
_MIDDLE = 0.4


def event_on(trace: Trace, happening: Happening) -> Event:
    """The event in the middle of a trace: node 17 comes, or node 5 of 16 goes."""
    node = NODES[-1] + 1 if happening is Happening.ADD else 5
    return Event(happening=happening, node=node, time_s=float(trace.began[-1]) * _MIDDLE, before=NODES)


def policies() -> Mapping[str, Policy]:
    """Name → policy."""
    return {OURS: Pentaflow(), MAGLEV: Maglev(), MODULO: Modulo(), TRACKING: Tracking(CELLS)}


def compare(trace: Trace, event: Event, among: Mapping[str, Policy]) -> dict[str, Outcome]:
    """Policy → what became of the connections."""
    return {name: outcome(trace, event, policy.route(trace, event)) for name, policy in among.items()}


def broken_row(name: str, happening: Happening) -> Benchmark:
    """A row of the benchmarks: connections that the event breaks, ours beside those of hashing alone."""

    def trace_of(profile: Profile) -> Trace:
        return make_trace(int(CONNECTIONS * profile.scale), SEED)

    def ours(profile: Profile) -> Mapping[str, float]:
        trace = trace_of(profile)
        event = event_on(trace, happening)
        broken = outcome(trace, event, Pentaflow().route(trace, event)).broken
        return {f"against {MAGLEV}": broken, f"against {MODULO}": broken}

    def theirs(profile: Profile) -> Mapping[str, float]:
        trace = trace_of(profile)
        found = compare(trace, event_on(trace, happening), {MAGLEV: Maglev(), MODULO: Modulo()})
        return {f"against {peer}": its.broken for peer, its in found.items()}

    peer = Peer(name="hashing alone", is_installed=lambda: True, sample=theirs)
    return Benchmark(name=name, unit="connections", better=Better.LESS, sample=ours, peers=(peer,))
