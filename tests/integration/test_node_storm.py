"""Thousands of clients and servers that behave at random: nothing is left of them, and nobody gets what is another's.

STORM_CLIENTS=100000 makes it a long one.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.hostile_node import node_before, resident_mib, until_quiet, worker_pid
from support.storm import storm, tell

CLIENTS = int(os.environ.get("STORM_CLIENTS", "600"))
SEED = 5
GROWTH_MIB = 8.0


@pytest.mark.timeout(7200 if CLIENTS > 10_000 else 120)
async def test_a_storm_leaves_nothing_and_mixes_nothing(tmp_path: Path) -> None:
    async with node_before(tmp_path, tell) as node:
        pid = await worker_pid(node)
        resident: dict[int, float] = {}
        done = answers = 0
        for mark in (CLIENTS // 10, CLIENTS // 2, CLIENTS):
            seen = await storm(node, seed=SEED, clients=mark - done, first=done)
            await until_quiet(node)
            done = mark
            answers += seen.answers
            resident[mark] = round(resident_mib(pid), 1)
            assert seen.wrong == []
        print("resident after so many clients, MiB:", resident)
        assert len(seen.behaved) == 8
        assert answers > CLIENTS // 2
        assert resident[CLIENTS] - resident[CLIENTS // 10] < GROWTH_MIB
        assert await worker_pid(node) == pid  # it was not started again
