"""A node's part of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from pentaflow.config import Configuration
from pentaflow.errors import ConfigurationError
from pentaflow.files import read_node_configuration
from pentaflow.node_configuration import NodeConfiguration, named_files
from support.configurations import small_document


def configuration(folder: Path) -> Configuration:
    document = small_document()
    vserver = document["vservers"][0] | {"hash_key": "00112233aabbccdd"}
    for name in ("web.pem", "web.key", "cookie.secret"):
        (folder / name).write_bytes(name.encode() + b"\xff")
        (folder / name).chmod(0o600)
    vserver["tls"] = {"certificate": str(folder / "web.pem"), "key": str(folder / "web.key")}
    vserver["persistence"] = {"cookie": {"session_cookie": "s", "secret_file": str(folder / "cookie.secret")}}
    return Configuration.model_validate(document | {"vservers": [vserver]})


def test_it_goes_through_json_and_holds_contents_but_no_hash_keys(tmp_path: Path) -> None:
    part = read_node_configuration(configuration(tmp_path), "n2", version=7)
    again = NodeConfiguration.model_validate_json(part.model_dump_json())
    assert again == part
    assert (again.version, again.node.name, again.vservers[0].hash_key) == (7, "n2", None)
    assert again.files_of(again.vservers[0])[tmp_path / "web.key"] == b"web.key\xff"
    assert again.digest() == part.digest()
    assert "web.key\\xff" not in repr(part)


def test_the_digest_is_another_one_when_a_file_is(tmp_path: Path) -> None:
    whole = configuration(tmp_path)
    before = read_node_configuration(whole, "n1")
    (tmp_path / "web.pem").write_bytes(b"renewed")
    assert read_node_configuration(whole, "n1").digest() != before.digest()


def test_files_are_found_wherever_they_are_named() -> None:
    vserver = Configuration.model_validate(small_document()).vservers[0]
    assert list(named_files({"a": (vserver,)})) == [
        (".a[0].tls.certificate", Path("web.pem")),
        (".a[0].tls.key", Path("web.key")),
        (".a[0].persistence.cookie.secret_file", Path("cookie.secret")),
    ]


def test_what_is_missing_or_open_to_others_is_refused(tmp_path: Path) -> None:
    whole = configuration(tmp_path)
    with pytest.raises(ConfigurationError, match="there is no node 'n9'; there is n1, n2"):
        read_node_configuration(whole, "n9")
    (tmp_path / "cookie.secret").chmod(0o644)
    with pytest.raises(ConfigurationError, match=r"persistence.cookie.secret_file: .* can be read by others"):
        read_node_configuration(whole, "n1")
    (tmp_path / "web.pem").unlink()
    with pytest.raises(ConfigurationError, match=r"vserver web: tls.certificate: cannot read"):
        read_node_configuration(whole, "n1")
