"""What was measured, as values, as JSON, as tables (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from statistics import median

from rich.table import Table

_COLUMNS = ("name", "setting", "value", "unit", "peer", "its value", "ratio", "spread")
_NUMBERS = {"value", "its value", "ratio", "spread"}
_SIGNIFICANT_DIGITS = 4


class Better(Enum):
    """Which way a figure is better."""

    MORE = "more"
    LESS = "less"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of `build/bench.json`; its fields are the keys there.

    Attributes:
        name: the row, as in the list of benchmarks.
        value: median of the samples.
        unit: of `value` and `peer_value`.
        peer: what it was compared with; None if there is none or it is not installed.
        peer_value: median of the peer's samples.
        ratio: how many times better than the peer: above 1 is better, also where less is better.
        spread: (largest sample - smallest sample) / median, of our own samples.
        setting: which variant of the row; empty if there is one only.
    """

    name: str
    value: float
    unit: str
    peer: str | None
    peer_value: float | None
    ratio: float | None
    spread: float
    setting: str


def summarise(
    *,
    name: str,
    unit: str,
    better: Better,
    setting: str,
    samples: Sequence[float],
    maybe_peer: str | None = None,
    peer_samples: Sequence[float] = (),
) -> Figure:
    """The figure that samples give; `peer_samples` is empty exactly if there is no peer."""
    value = median(samples)
    peer_value = median(peer_samples) if maybe_peer else None
    return Figure(
        name=name,
        value=_rounded(value),
        unit=unit,
        peer=maybe_peer,
        peer_value=None if peer_value is None else _rounded(peer_value),
        ratio=None if peer_value is None else _maybe_ratio(value, peer_value, better),
        spread=round((max(samples) - min(samples)) / value, 3) if value else 0.0,
        setting=setting,
    )


def _maybe_ratio(value: float, peer_value: float, better: Better) -> float | None:
    over, under = (value, peer_value) if better is Better.MORE else (peer_value, value)
    return _rounded(over / under) if under else None


def _rounded(value: float) -> float:
    return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")


def as_json(figures: Sequence[Figure]) -> str:
    """The document `build/bench.json`."""
    return json.dumps([asdict(figure) for figure in figures], indent=2, ensure_ascii=False) + "\n"


def as_record(figures: Sequence[Figure], machine: Mapping[str, str]) -> str:
    """The document `docs/bench.json`: a run that is kept, with the machine that it was made on."""
    record = {"machine": dict(machine), "figures": [asdict(figure) for figure in figures]}
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def as_table(figures: Sequence[Figure]) -> Table:
    """For the terminal."""
    table = Table(title="make bench", title_justify="left")
    for column in _COLUMNS:
        table.add_column(column, justify="right" if column in _NUMBERS else "left", no_wrap=True)
    for figure in figures:
        table.add_row(*_cells(figure))
    return table


def as_markdown(figures: Sequence[Figure], machine: Mapping[str, str]) -> str:
    """For docs/benchmarks.md: the table, and the machine in a list below it."""
    names = [f"`{figure.name}`" for figure in figures]
    rows = [_COLUMNS, ("---",) * len(_COLUMNS)]
    rows += [(name, *_cells(figure)[1:]) for name, figure in zip(names, figures, strict=True)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {key}: {value}" for key, value in machine.items())]) + "\n"


def _cells(figure: Figure) -> tuple[str, ...]:
    return (
        figure.name,
        figure.setting,
        _text(figure.value),
        figure.unit,
        figure.peer or "-",
        _text(figure.peer_value),
        "-" if figure.ratio is None else f"{_text(figure.ratio)} x",
        f"{figure.spread:.0%}",
    )


def _text(maybe_value: float | None) -> str:
    if maybe_value is None:
        return "-"
    return f"{maybe_value:,.0f}" if maybe_value >= 1000 else f"{maybe_value:g}"
