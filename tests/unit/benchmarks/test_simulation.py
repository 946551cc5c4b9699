"""100,000 connections replayed: what a node that comes or goes breaks, here and with hashing alone."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from benchmarks.harness import QUICK
from benchmarks.rows import broken_by_add, broken_by_drain, broken_by_remove
from benchmarks.simulation.comparison import (
    CONNECTIONS,
    MAGLEV,
    MODULO,
    NODES,
    OURS,
    SEED,
    TRACKING,
    compare,
    event_on,
    policies,
)
from benchmarks.simulation.events import Event, Happening, Outcome, outcome
from benchmarks.simulation.hashing import MAGLEV_SIZE, Maglev, Tracking, maglev_table, populate
from benchmarks.simulation.pentaflow import Pentaflow, Report
from benchmarks.simulation.trace import LONGEST_S, Trace, make_trace
from benchmarks.simulation.transit import CELLS, TransitFilter

Replayed = dict[Happening, tuple[dict[str, Outcome], Report]]


@pytest.fixture(scope="module")
def trace() -> Trace:
    return make_trace(CONNECTIONS, SEED)


@pytest.fixture(scope="module")
def replayed(trace: Trace) -> Replayed:
    found = {}
    for happening in Happening:
        ours = Pentaflow()
        outcomes = compare(trace, event_on(trace, happening), {**policies(), OURS: ours})
        found[happening] = outcomes, ours.report
    return found


def table_of(replayed: Replayed) -> Table:
    table = Table(title=f"Broken connections of {CONNECTIONS:,}, {len(NODES)} nodes, seed {SEED}")
    for column in ("", OURS, "its filter's expectation", MAGLEV, MODULO, TRACKING):
        table.add_column(column)
    for happening, (outcomes, report) in replayed.items():
        cells = [f"{its.broken:,}" + (f" + {its.own:,} its own" if its.own else "") for its in outcomes.values()]
        table.add_row(happening, cells[0], f"{report.expected_wrong:.1g}", *cells[1:])
    return table


def test_nothing_breaks_but_what_was_on_a_node_that_died(replayed: Replayed) -> None:
    Console(width=140).print(table_of(replayed))
    for happening, (outcomes, _) in replayed.items():
        others = {name: its.broken for name, its in outcomes.items() if name in (MAGLEV, MODULO)}
        assert outcomes[OURS].broken == 0, happening
        assert 0 < others[MAGLEV] < others[MODULO], happening
        assert (outcomes[OURS].own > 0) == (happening is Happening.REMOVE)


def test_the_moves_were_made_and_under_load(replayed: Replayed) -> None:
    for happening, (_, report) in replayed.items():
        assert report.left == 0, happening
        assert report.moved >= 4096 // (len(NODES) + 1), happening
    for happening in (Happening.ADD, Happening.DRAIN):
        report = replayed[happening][1]
        assert report.old_flows > 50, "connections were open in the buckets that moved"
        assert 0 < report.expected_wrong < 0.01, "with this seed none is taken for a new one, nor should one be"


def test_a_deadline_that_does_not_wait_breaks_what_is_still_open(trace: Trace) -> None:
    event = event_on(trace, Happening.DRAIN)
    assert outcome(trace, event, Pentaflow(deadline_s=10).route(trace, event)).broken > 0


def test_a_table_of_all_connections_breaks_none_and_a_small_one_does(trace: Trace, replayed: Replayed) -> None:
    assert all(outcomes[TRACKING].broken == 0 for outcomes, _ in replayed.values())
    event = event_on(trace, Happening.ADD)
    assert outcome(trace, event, Tracking(entries=256).route(trace, event)).broken > 0


def test_a_trace_is_made_of_whole_connections(trace: Trace) -> None:
    packets = np.bincount(trace.connections)
    assert len(packets) == CONNECTIONS
    assert packets.min() >= 3
    assert trace.are_syn.sum() == CONNECTIONS
    assert (np.diff(trace.times) >= 0).all()
    assert np.array_equal(trace.times[trace.are_syn], trace.began)
    assert np.isclose((trace.ended - trace.made).max(), LONGEST_S), "the tail is heavy: some are capped"
    clients = trace.sources[:, 0].astype(np.int64) << 16 | trace.ports
    assert len(np.unique(clients)) == CONNECTIONS


def test_no_connection_is_silent_for_longer_than_nodes_keep_it(trace: Trace) -> None:
    order = np.argsort(trace.connections, kind="stable")
    gaps = np.diff(trace.times[order])
    assert gaps[np.diff(trace.connections[order]) == 0].max() < 60


def test_a_seed_is_a_trace() -> None:
    assert np.array_equal(make_trace(1000, 7).times, make_trace(1000, 7).times)
    assert not np.array_equal(make_trace(1000, 7).began, make_trace(1000, 8).began)


def two_connections() -> Trace:
    """0: packets at 1, 2 and 9 s; 1: at 3, 4 and 10 s."""
    return Trace(
        sources=np.array([[1], [2]], dtype=np.uint32),
        ports=np.array([1024, 1024], dtype=np.uint32),
        began=np.array([1.0, 3.0]),
        made=np.array([2.0, 4.0]),
        ended=np.array([9.0, 10.0]),
        connections=np.array([0, 0, 1, 1, 0, 1]),
        times=np.array([1.0, 2.0, 3.0, 4.0, 9.0, 10.0]),
        are_syn=np.array([True, False, True, False, False, False]),
    )


@pytest.mark.parametrize(
    ("happening", "expected"),
    [(Happening.DRAIN, Outcome(broken=2, own=0)), (Happening.REMOVE, Outcome(broken=1, own=1))],
)
def test_a_connection_is_broken_by_a_packet_that_strays(happening: Happening, expected: Outcome) -> None:
    event = Event(happening=happening, node=1, time_s=5, before=(1, 2, 3))
    assert outcome(two_connections(), event, np.array([1, 1, 2, 2, 3, 3])) == expected
    assert outcome(two_connections(), event, np.array([1, 1, 2, 2, 1, 2])).broken == 0


def test_the_transit_filter_is_wrong_as_often_as_is_said(trace: Trace) -> None:
    marked = 16_000
    transit = TransitFilter(trace, idle_timeout_s=90)
    for connection in range(marked):
        assert transit.knows(connection, 1.0, is_syn=True)
    transit.age(1.0)
    assert transit.most_in_transit == marked
    others = range(marked, CONNECTIONS)
    rate = (1 - math.exp(-marked / CELLS)) ** 2
    wrong = sum(transit.knows(connection, 50.0, is_syn=False) for connection in others)
    assert wrong == pytest.approx(rate * len(others), rel=0.1)
    assert not any(transit.knows(connection, 150.0, is_syn=False) for connection in range(CONNECTIONS))


def test_maglev_fills_its_table_as_the_paper_s_example_says() -> None:
    assert populate(offsets=[3, 0, 3], skips=[4, 2, 1], size=7) == [1, 0, 1, 0, 2, 2, 0]


def test_maglev_is_even_and_a_node_less_disturbs_few_others() -> None:
    whole, less = (maglev_table(nodes, MAGLEV_SIZE) for nodes in (list(NODES), [n for n in NODES if n != 5]))
    sizes = Counter(whole.tolist()).values()
    assert max(sizes) - min(sizes) <= 1
    stayed = whole != 5
    assert 0 < (whole[stayed] != less[stayed]).mean() < 0.05


def test_maglev_sends_a_connection_to_one_node_while_nothing_changes(trace: Trace) -> None:
    event = Event(happening=Happening.ADD, node=17, time_s=math.inf, before=NODES)
    assert outcome(trace, event, Maglev().route(trace, event)) == Outcome(broken=0, own=0)


@pytest.mark.parametrize("row", [broken_by_add, broken_by_drain, broken_by_remove])
def test_rows_have_ours_beside_each_peer(row: object) -> None:
    benchmark = vars(row)["BENCHMARK"]
    settings = {"against Maglev", "against modulo"}
    assert benchmark.sample(QUICK) == dict.fromkeys(settings, 0)
    (peer,) = benchmark.peers
    theirs = peer.sample(QUICK)
    assert theirs.keys() == settings
    assert theirs["against modulo"] > theirs["against Maglev"]
