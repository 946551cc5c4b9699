"""Bearer tokens: the file, roles, reloading."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from controller.api.access import LOCAL, Authenticator, Role, Token, load_tokens, make_token
from controller.api.problems import Problem
from pentaflow.errors import ConfigurationError


def write(path: Path, *tokens: Token, at_ns: int = 1) -> None:
    path.write_text(yaml.safe_dump([token.model_dump(mode="json") for token in tokens]))
    os.utime(path, ns=(at_ns, at_ns))


def test_roles_include_those_before_them() -> None:
    assert [[role.includes(other) for other in Role] for role in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_without_a_file_everybody_is_admin() -> None:
    assert Authenticator(None).identify(None) == LOCAL


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    (ann, ann_entry), (bob, bob_entry) = make_token("ann", Role.ADMIN), make_token("bob", Role.VIEWER)
    write(path, ann_entry)
    authenticator = Authenticator(path)
    assert authenticator.identify(ann).name == "ann"
    write(path, bob_entry, at_ns=2)
    assert authenticator.identify(bob).role is Role.VIEWER
    for text, detail in ((ann, "is not known"), (None, "is needed"), ("", "is needed")):
        with pytest.raises(Problem, match=detail) as raised:
            authenticator.identify(text)
        assert raised.value.status == 401
    path.write_text("[")
    with pytest.raises(Problem, match="can't be read") as raised:
        authenticator.identify(bob)
    assert raised.value.status == 503
    write(path, bob_entry, at_ns=3)
    assert authenticator.identify(bob).name == "bob"
    path.unlink()
    with pytest.raises(Problem, match="can't be read"):
        authenticator.identify(bob)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"[", "not YAML"),
        (b"a: 2026-99-99", "not YAML"),
        (b"[" * 100_000, "not YAML"),
        (b"\xff", "can't be read"),
        (b"tokens: 1", "valid tuple"),
        (b"- {name: ann, role: root, sha256: '" + b"0" * 64 + b"'}", "0.role"),
        (b"- {name: ann, role: admin, sha256: secret}", "0.sha256"),
        (b"- &a {name: ann, role: admin, sha256: '" + b"0" * 64 + b"'}\n- *a", "'ann' has two tokens"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: bytes, sentence: str) -> None:
    path = tmp_path / "tokens.yaml"
    path.write_bytes(text)
    with pytest.raises(ConfigurationError, match=sentence):
        load_tokens(path)
