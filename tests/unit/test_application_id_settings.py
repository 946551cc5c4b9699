"""`persistence.session_id` in the configuration: what is refused, and why [P2]."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pentaflow.config import Configuration
from pentaflow.persistence import SessionIdPersistence
from support.configurations import small_document
from tlsnodes.http.names import is_passed_on


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "expected parameter, header or both"),
        ({"cookie": "JSESSIONID"}, "expected parameter, header or both"),
        ({"parameter": "a b"}, "should match pattern"),
        ({"parameter": "a="}, "should match pattern"),
        ({"parameter": "x" * 65}, "should match pattern"),
        ({"header": "X:Y"}, "should match pattern"),
        ({"parameter": "a", "cookie": "a b"}, "should match pattern"),
        ({"parameter": "a", "lifetime_s": 0}, "greater than or equal to 1"),
        ({"parameter": "a", "paramter": "b"}, "paramter"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        SessionIdPersistence.model_validate(settings)


def test_a_store_is_needed() -> None:
    document = small_document()
    document["vservers"][0]["persistence"] = {"session_id": {"parameter": "sid"}}
    with pytest.raises(ValidationError, match="needs a store, where all workers find"):
        Configuration.model_validate(document)
    document["store"] = {}
    (vserver, *_) = Configuration.model_validate(document).vservers
    assert vserver.persistence.session_id == SessionIdPersistence(parameter="sid")


@pytest.mark.parametrize(
    ("name", "passed"),
    [
        (b"X-Session", True),
        (b"Authorization", True),
        (b"Cookie", False),
        (b"Connection", False),
        (b"x-request-id", False),
        (b"X-Forwarded-Session", False),
    ],
)
def test_ids_stand_only_in_fields_that_are_passed_on(name: bytes, passed: bool) -> None:
    assert is_passed_on(name) is passed
