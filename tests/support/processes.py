"""`pentaflow …` as a process of a test, which may fail but not crash."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_CRASH = re.compile(r"worker ended; .* status=-(?:4|6|7|8|11)\b.*")  # the signals of the kernel and of abort()


@asynccontextmanager
async def pentaflow(log: Path, *arguments: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the command line, its output appended to `log`; it is told to end at the end, and killed if it does not."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from pentaflow.cli import main; main()", *map(str, arguments)),
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 30)
            except TimeoutError:
                process.kill()
                await process.wait()
    assert_no_crash(log)


def assert_no_crash(log: Path) -> None:
    """Of no worker of a node that wrote this log: another one takes its place, so that nobody else may notice."""
    assert not (found := _CRASH.search(log.read_text(errors="replace"))), f"{log}: {found[0]}"
