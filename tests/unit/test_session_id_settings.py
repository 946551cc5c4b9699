"""`persistence.session_ids` in the configuration: what is refused, and why [P6]."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pentaflow.session_id_settings import SessionIds


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"percent": {"a": 1}, "need": {"a": 1}}, "exclude each other"),
        ({"percent": {"a": 50, "b": 41}}, "percent adds up to 91; with spare_percent 10 that is too much"),
        ({"need": {"a": 58_983}}, "need adds up to 58983 keys; there are 58982 beside spare_percent"),
        ({"shared": [["a", "b"], ["c", "b"]]}, "shared names b twice"),
        ({"shared": [["a"]]}, "at least 2 items"),
        ({"lifetime": 3}, "lifetime"),
    ],
)
def test_what_is_refused(settings: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        SessionIds.model_validate(settings)
