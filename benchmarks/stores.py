"""Reads of a store of sessions as workers make them: how long each takes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from hashlib import blake2b
from typing import Any, TypeVar

import uvloop

from pentaflow.errors import HostError
from tlsnodes.store.store import SessionStore

KEY_BYTES, VALUE_BYTES = 24, 300
"""Of a TLS 1.2 session without a client certificate."""
LIFETIME_S = 86_400.0
TIMEOUT_S = 5.0
_KEYS_READ = 10_000

_T = TypeVar("_T")


def key(number: int) -> bytes:
    """Of a record: a hash, as those of sessions are."""
    return blake2b(number.to_bytes(8, "big"), digest_size=KEY_BYTES).digest()


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run it in a loop as workers have it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def read(store: SessionStore, records: int, *, at_once: int, seconds: float) -> list[float]:
    """Read records at random, of so many that there are, so many at once.

    Returns:
        How long each read took, in milliseconds.

    Raises:
        HostError: the store does not have one.
    """
    times: list[float] = []
    keys = [key(random.randrange(records)) for _ in range(_KEYS_READ)]
    end = time.monotonic() + seconds

    async def read_on() -> None:
        while (began := time.monotonic()) < end:
            if await store.get(random.choice(keys)) is None:
                raise HostError("bench", "the store has lost a record")
            times.append((time.monotonic() - began) * 1000)

    await asyncio.gather(*(read_on() for _ in range(at_once)))
    return times
