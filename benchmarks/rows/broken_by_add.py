"""Connections that the addition of a node breaks, on a trace."""

from __future__ import annotations

from benchmarks.simulation.comparison import broken_row
from benchmarks.simulation.events import Happening

BENCHMARK = broken_row("broken_by_add", Happening.ADD)
