"""`python -m benchmarks`: what `make bench` runs, in namespaces of its own."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import figures, machine, record
from benchmarks.catalogue import chosen
from benchmarks.figures import Figure
from benchmarks.harness import FULL, QUICK, run
from pentaflow.errors import EXIT_FAILURE, EXIT_USAGE, HostError, PentaflowError

BUILD = Path("build/bench.json")
DOCS = Path("docs")
TABLE_WIDTH = 150


def main() -> int:
    """Measure and write; 1 if a row could not be measured."""
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("--only", default="", metavar="NAME,…", help="these rows only")
    parser.add_argument("--quick", action="store_true", help="one short sample each: does it run?")
    parser.add_argument("--keep", action="store_true", help="keep this full run in docs/")
    parser.add_argument("--output", type=Path, default=BUILD, help="where the figures go as JSON")
    options = parser.parse_args()
    if options.keep and (options.only or options.quick):
        parser.error("only a full run is kept: --keep goes without --only and --quick")
    try:
        _check_sandbox()
        benchmarks = chosen(options.only)
    except PentaflowError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return EXIT_USAGE
    on = machine.describe()
    profile = QUICK if options.quick else FULL
    measured: list[Figure] = []
    failed = False
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(benchmarks) * profile.alternations)
        for done, benchmark in enumerate(benchmarks):
            progress.update(task, description=benchmark.name, completed=done * profile.alternations)
            try:
                measured += run(benchmark, profile, progress=lambda: progress.advance(task))
            except PentaflowError as error:
                failed = True
                progress.console.print(f"{benchmark.name}: not measured: {error}", style="red", markup=False)
        progress.update(task, description="done", completed=len(benchmarks) * profile.alternations)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(figures.as_json(measured))
    # The table is not broken for a terminal that is narrower than it, nor for a pipe.
    Console(width=max(console.width, TABLE_WIDTH)).print(figures.as_table(measured))
    console.print(f"The figures are in {options.output}.", soft_wrap=True)
    if options.keep and not failed:
        _keep(measured, on)
    return EXIT_FAILURE if failed else 0


def _check_sandbox() -> None:
    """The sandbox is what this process is the first of; without it, interfaces would be made on the host itself."""
    if os.getpid() != 1:
        raise HostError("bench", "not in namespaces of its own: run `make bench`")


def _keep(measured: list[Figure], on: Mapping[str, str]) -> None:
    (DOCS / "bench.json").write_text(figures.as_record(measured, on))
    page = DOCS / "benchmarks.md"
    page.write_text(record.with_table(page.read_text(), figures.as_markdown(measured, on)))


if __name__ == "__main__":
    sys.exit(main())
