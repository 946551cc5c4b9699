"""Connections that draining a node breaks, on a trace."""

from __future__ import annotations

from benchmarks.simulation.comparison import broken_row
from benchmarks.simulation.events import Happening

BENCHMARK = broken_row("broken_by_drain", Happening.DRAIN)
