"""If-Match."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from controller.api.conditions import check
from controller.api.problems import Problem


@pytest.mark.parametrize("if_match", ["*", '"3"', 'W/"3"', '"1", "3"', '"1" ,*'])
def test_who_knows_the_version_goes_on(if_match: str) -> None:
    check(if_match, 3, "it")


@pytest.mark.parametrize(("if_match", "status"), [(None, 428), ("", 412), ("3", 412), ('"33"', 412), ('"', 412)])
def test_others_learn_the_present_one(if_match: str | None, status: int) -> None:
    with pytest.raises(Problem) as raised:
        check(if_match, 3, "it")
    assert (raised.value.status, raised.value.current, raised.value.path) == (status, '"3"', "If-Match")


def test_what_utf8_cannot_hold_is_written_out() -> None:
    problem = Problem(HTTPStatus.PRECONDITION_REQUIRED, "no \ud800", path="weights.\ud800")
    assert (problem.detail, problem.path) == ("no \\ud800", "weights.\\ud800")
    assert problem.response().status_code == 428
