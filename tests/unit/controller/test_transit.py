"""How much of the transit filter splits may use."""

from __future__ import annotations

import math

import pytest

from controller.transit import MAX_TICKS, Load, flow_limit, flows_of_bucket, window_ticks


def test_the_window_is_the_idle_timeout_in_ticks_of_the_filters_clock() -> None:
    assert window_ticks(90) == math.ceil(90e6 / 1024)
    assert window_ticks(1e9) == MAX_TICKS


@pytest.mark.parametrize("wrong_rate", [1e-6, 1e-5, 1e-3])
def test_the_limit_is_where_the_filters_error_is_what_was_asked_for(wrong_rate: float) -> None:
    flows = flow_limit(65_536, wrong_rate)
    assert (1 - math.exp(-flows / 65_536)) ** 2 == pytest.approx(wrong_rate)


def test_the_default_limit_is_that_of_the_guide() -> None:
    assert 207 <= flow_limit(65_536) < 208


def test_flows_of_a_split_bucket_are_those_open_and_those_of_a_window() -> None:
    assert flows_of_bucket(Load(open_connections=4096, new_per_s=1000), 60, 4096) == pytest.approx(1 + 60_000 / 4096)
