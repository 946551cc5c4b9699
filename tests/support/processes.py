"""`pentaflow …` as a process of a test."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_ROOT = Path(__file__).parents[2]


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
