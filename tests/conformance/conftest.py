"""Fixtures of the conformance tests: a fresh target, and its primary controller."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.p4rt import Client, Target, running_target


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    """A target without a pipeline."""
    async with running_target() as target:
        yield target


@pytest.fixture
async def primary(target: Target) -> AsyncIterator[Client]:
    """The primary of a target that runs the conformance program."""
    async with Client(target) as client:
        await client.commit()
        yield client
