"""Keeping a full run in docs/ (pure)."""

from __future__ import annotations

BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def with_table(page: str, table: str) -> str:
    """The page with what is between its two marks replaced; ValueError if it has no such marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("the page has no marks for the table")
    return f"{before}{begin}\n{table}\n{end}{after}"
