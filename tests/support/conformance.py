"""docs/conformance.md, written from the conformance tests and their `departs` marks.

`PYTHONPATH=.:tests python -m support.conformance` writes it anew; a unit test compares.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = REPOSITORY / "docs/conformance.md"

# Cases that simple_switch_grpc answered as specified when they were last run on it with SWITCH=bmv2. The marks say it
# exactly but for those that are "partly": there some of the cases depart.
SEEN_ON_BMV2: Mapping[str, int] = {
    "test_stream_arbitration": 9,
    "test_pipeline_config": 12,
    "test_reconcile": 0,
    "test_write": 61,
    "test_read": 8,
    "test_packet_io": 17,
    "test_digest": 6,
    "test_idle_timeout": 6,
}

_HEAD = """\
# Conformance to P4Runtime

What the conformance tests (`tests/conformance`) check, by section of the P4Runtime 1.5 specification. Each case is
one exchange with a running server; the same tests run against the softswitch (`make test`) and against BMv2's
`simple_switch_grpc` (`make test SWITCH=bmv2`). A test that BMv2 is known to fail says so with a mark, and unless only
some of its cases fail it fails the run if BMv2 passes it one day. This page is written from the tests by
`tests/support/conformance.py` and compared with them by a unit test; BMv2's column was counted on simple_switch_grpc
1.15.5.

What the softswitch does not offer is in [limits.md](limits.md); it is answered UNIMPLEMENTED, and that is tested, too.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One test function: how many cases it has, what BMv2 does instead, and whether it does so in some only."""

    name: str
    cases: int
    departure: str | None
    partly: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One file of tests and the sections of the specification that it is about."""

    file: str
    sections: str
    checks: tuple[Check, ...]

    @property
    def cases(self) -> int:
        return sum(check.cases for check in self.checks)

    @property
    def departing(self) -> int:
        """Cases that certainly depart on BMv2."""
        return sum(check.cases for check in self.checks if check.departure and not check.partly)

    @property
    def doubtful(self) -> int:
        """Cases of which some depart on BMv2."""
        return sum(check.cases for check in self.checks if check.partly)


def chapters() -> Iterator[Chapter]:
    """All of them, in the order of `SEEN_ON_BMV2`."""
    for file in SEEN_ON_BMV2:
        module = _load(REPOSITORY / f"tests/conformance/{file}.py")
        sections = inspect.cleandoc(module.__doc__ or "").removeprefix("P4Runtime 1.5, ").rstrip(".").replace("\n", " ")
        functions = [value for name, value in vars(module).items() if name.startswith("test_")]
        yield Chapter(file=file, sections=sections, checks=tuple(map(_check, functions)))


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"conformance_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _check(function: Any) -> Check:
    marks = getattr(function, "pytestmark", [])
    departures = [mark for mark in marks if mark.name == "xfail"]
    return Check(
        name=function.__name__.removeprefix("test_").replace("_", " "),
        cases=math.prod(len(mark.args[1]) for mark in marks if mark.name == "parametrize"),
        departure=departures[0].kwargs["reason"].removeprefix("BMv2: ") if departures else None,
        partly=bool(departures) and not departures[0].kwargs["strict"],
    )


def render() -> str:
    """The whole page."""
    lines = [_HEAD, "| sections | cases | softswitch | BMv2 |", "|---|---|---|---|"]
    found = list(chapters())
    for chapter in found:
        seen = SEEN_ON_BMV2[chapter.file]
        lines.append(f"| {chapter.sections} | {chapter.cases} | {chapter.cases} | {seen} |")
    total = sum(chapter.cases for chapter in found)
    lines += [f"| all | {total} | {total} | {sum(SEEN_ON_BMV2.values())} |", "", "## Where BMv2 departs", ""]
    for chapter in found:
        lines += [f"### {chapter.sections}", "", "| check | cases | BMv2 |", "|---|---|---|"]
        for check in chapter.checks:
            if check.departure is not None:
                cases = f"some of {check.cases}" if check.partly else str(check.cases)
                lines.append(f"| {check.name} | {cases} | {check.departure} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    DOCUMENT.write_text(render())
