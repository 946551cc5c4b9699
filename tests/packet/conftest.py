"""One running target for each module of packet tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.targets import SWITCH, Target, running_target


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with running_target(tmp_path_factory.mktemp("target") / f"{SWITCH}.log") as running:
        yield running
