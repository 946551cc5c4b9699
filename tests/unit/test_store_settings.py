"""`store:` in the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pentaflow.config import Configuration, StoreSettings
from pentaflow.errors import ConfigurationError
from pentaflow.files import read_node_configuration
from support.configurations import small_document


def test_defaults() -> None:
    settings = StoreSettings.model_validate({})
    assert (settings.sqlite, settings.redis, settings.timeout_ms) == (None, None, 50)
    assert Configuration.model_validate(small_document()).store is None


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1", "redis://user@cache.example:6380/3", "rediss://[2001:db8::1]:6379", "rediss://a/"]
)
def test_urls_of_redis(url: str) -> None:
    assert StoreSettings.model_validate({"redis": url}).redis == url


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"redis": "redis://:hush@127.0.0.1"}, "a password has no place in the URL"),
        ({"redis": "http://127.0.0.1"}, r"expected redis://\[user@\]host"),
        ({"redis": "redis://"}, "expected redis://"),
        ({"redis": "redis://127.0.0.1:99999"}, "expected redis://"),
        ({"redis": "redis://127.0.0.1/db"}, "expected redis://"),
        ({"redis": "redis://127.0.0.1?password=hush"}, "expected redis://"),
        ({"sqlite": "sessions.sqlite"}, "should match pattern"),
        ({"sqlite": "/tmp/"}, "should match pattern"),
        ({"sqlite": "/tmp/a", "redis": "redis://a"}, "exclude each other"),
        ({"sqlite": "/tmp/a", "password_file": "a"}, "go with redis"),
        ({"ca": "a"}, "go with redis"),
        ({"redis": "redis://a", "ca": "a"}, "ca goes with rediss://"),
        ({"timeout_ms": 0}, "greater than or equal to 1"),
    ],
)
def test_what_is_wrong_is_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as refused:
        StoreSettings.model_validate(document)
    assert "hush" not in refused.value.errors()[0]["msg"]


def test_a_node_gets_the_settings_and_their_files(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("hush\n")
    password.chmod(0o600)
    document = small_document()
    document["vservers"] = []
    document["store"] = {"redis": "redis://127.0.0.1", "password_file": str(password)}
    configuration = Configuration.model_validate(document)
    node = read_node_configuration(configuration, "n1")
    assert node.store == configuration.store
    assert node.files_of_store() == {password: b"hush\n"}
    assert "hush" not in repr(node)
    password.chmod(0o644)
    with pytest.raises(ConfigurationError, match=r"store: password_file: .* can be read by others"):
        read_node_configuration(configuration, "n1")
