"""The demo's process inside the sandbox: `python -m pentaflow.demo.inside`; started by `pentaflow.demo.run`."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pentaflow import sandbox
from pentaflow.demo.array import Array, NotInTimeError, running
from pentaflow.demo.report import Report, as_json, as_table
from pentaflow.demo.scenario import PHASES, Scenario
from pentaflow.errors import EXIT_FAILURE, PentaflowError
from topologies.model import REST_PORT

LOG_LINES = 8


def main() -> int:
    """Run the demo; 0 if everything that it has to show holds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--topology", required=True)
    parser.add_argument("--switch", required=True)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--document", required=True, type=Path)
    parser.add_argument("--stay", action="store_true")
    options = parser.parse_args()
    console = Console()
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    report = Report(topology=options.topology, switch=options.switch, started_at=started_at)
    staying = False
    try:
        sandbox.stop_when_abandoned()
        with running(options.topology, options.switch, options.folder) as array:
            _run_phases(array, report, console)
            options.document.write_text(as_json(report))
            console.print(as_table(report))
            console.print(f"The figures are in {options.document}, the logs in {array.files.logs}.", soft_wrap=True)
            if not report.held:
                _print_logs(array.files.logs, console)
            if options.stay:
                staying = True
                _print_what_to_try(array, console)
                threading.Event().wait()
    except KeyboardInterrupt:
        console.print("Stopped; everything is cleaned up.")
        if not staying:
            return sandbox.EXIT_INTERRUPTED
    return 0 if report.held else EXIT_FAILURE


def _run_phases(array: Array, report: Report, console: Console) -> None:
    """Run the phases into `report`; one that cannot go on ends the run, one that does not hold does not."""
    began_s = time.monotonic()
    problems: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        scenario = Scenario(array)
        task = progress.add_task("", total=len(PHASES))
        try:
            for field, what, phase in PHASES:
                progress.update(task, description=what)
                result = phase(scenario)
                setattr(report, field, result)
                problems += result.problems
                progress.console.print(f"[red]does not hold:[/] {what}" if result.problems else f"[green]ok[/] {what}")
                progress.advance(task)
        except (PentaflowError, NotInTimeError) as error:
            problems.append(f"{what}: {error}")
    report.problems = tuple(problems)
    report.held = not problems
    report.seconds = round(time.monotonic() - began_s, 1)


def _print_logs(logs: Path, console: Console) -> None:
    """The last lines of every process that said something."""
    for log in sorted(logs.iterdir()):
        if lines := log.read_text(errors="replace").splitlines():
            console.rule(log.name, align="left")
            console.print("\n".join(lines[-LOG_LINES:]), markup=False, highlight=False)


def _print_what_to_try(array: Array, console: Console) -> None:
    topology = array.topology
    on = array.files.folder / sandbox.ENTER_SCRIPT
    rest = f"http://{topology.controller.management.ip}:{REST_PORT}"
    site = f"https://{topology.vips[0].hostname}/"
    console.print("The array stays up until Ctrl-C. From another terminal, as root:")
    for command in (
        f"c1 curl -i {site}",
        f"c2 curl -s -o /dev/null -w '%header{{via}} %header{{x-server}}\\n' {site}[1-10]",
        f"c0 curl -s {rest}/nodes",
        f"c0 curl -s {rest}/vservers/{topology.vips[0].name}/buckets",
        f"n1 kill -9 {array.service('n1').pid}",
    ):
        console.print(f"  {on} {command}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
