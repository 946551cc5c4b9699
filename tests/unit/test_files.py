"""Loading a configuration with the files that it names."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pentaflow.config import SwitchTls
from pentaflow.errors import ConfigurationError
from pentaflow.files import load_configuration, read_secret
from support.certificates import make_certificate
from support.configurations import small_document

SECRET = "00112233445566778899aabbccddeeff"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a whole configuration: array.yaml, web.pem, web.key, cookie.secret."""
    (tmp_path / "array.yaml").write_text(yaml.safe_dump(small_document()))
    (tmp_path / "web.pem").write_text("certificate")
    (tmp_path / "web.key").write_text("key")
    (tmp_path / "cookie.secret").write_text(SECRET + "\n")
    (tmp_path / "cookie.secret").chmod(0o600)
    return tmp_path


def error_of(folder: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(folder / "array.yaml")
    return str(caught.value).replace(f"{folder}/", "")


def test_a_whole_configuration_is_loaded(folder: Path) -> None:
    configuration = load_configuration(folder / "array.yaml")
    tls = configuration.vservers[0].tls
    assert tls
    assert tls.certificate == folder / "web.pem"


def test_missing_configuration(folder: Path) -> None:
    (folder / "array.yaml").unlink()
    assert error_of(folder) == "array.yaml: cannot read array.yaml: No such file or directory"


def test_a_folder_in_place_of_the_configuration(folder: Path) -> None:
    (folder / "array.yaml").unlink()
    (folder / "array.yaml").mkdir()
    assert error_of(folder) == "array.yaml: cannot read array.yaml: Is a directory"


def test_bytes_that_are_no_text(folder: Path) -> None:
    (folder / "array.yaml").write_bytes(b"\xff\xfe\x00pools: []")
    assert error_of(folder).startswith("array.yaml: not YAML: ")


@pytest.mark.parametrize(("name", "key"), [("web.pem", "certificate"), ("web.key", "key")])
def test_missing_certificate_or_key(folder: Path, name: str, key: str) -> None:
    (folder / name).unlink()
    assert error_of(folder) == f"array.yaml: vserver web: tls.{key}: cannot read {name}: No such file or directory"


def with_switch_tls(folder: Path, **tls: str) -> None:
    document = small_document()
    document["switches"][0]["tls"] = tls
    (folder / "array.yaml").write_text(yaml.safe_dump(document))
    certificate = make_certificate()
    (folder / "ca.pem").write_bytes(certificate.certificate_pem)
    (folder / "controller.crt").write_bytes(certificate.certificate_pem)
    (folder / "controller.key").write_bytes(certificate.key_pem)


def test_paths_of_switch_credentials_are_taken_from_the_folder(folder: Path) -> None:
    with_switch_tls(folder, ca="ca.pem", certificate="controller.crt", key="controller.key")
    tls = load_configuration(folder / "array.yaml").switches[0].tls
    assert tls == SwitchTls(ca=folder / "ca.pem", certificate=folder / "controller.crt", key=folder / "controller.key")


def test_a_switch_may_be_trusted_without_a_certificate_of_the_controller(folder: Path) -> None:
    with_switch_tls(folder, ca="ca.pem")
    assert load_configuration(folder / "array.yaml").switches[0].tls == SwitchTls(ca=folder / "ca.pem")


def test_missing_switch_credentials(folder: Path) -> None:
    with_switch_tls(folder, ca="none.pem")
    assert error_of(folder) == "array.yaml: switch s1: tls.ca: cannot read none.pem: No such file or directory"


def test_switch_credentials_that_are_none(folder: Path) -> None:
    with_switch_tls(folder, ca="array.yaml")
    assert error_of(folder) == "array.yaml: switch s1: tls.ca: expected certificates in PEM"


def test_a_certificate_of_the_controller_without_its_key(folder: Path) -> None:
    with_switch_tls(folder, ca="ca.pem", certificate="controller.crt")
    assert error_of(folder).endswith("switches[0].tls: certificate and key go together")


def test_a_name_that_no_file_can_have(folder: Path) -> None:
    document = small_document()
    document["vservers"][0]["tls"]["key"] = "web\0.key"
    (folder / "array.yaml").write_text(yaml.safe_dump(document))
    assert error_of(folder) == "array.yaml: vserver web: tls.key: 'web\\x00.key' is not a file name"


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o660])
def test_secret_that_others_can_read(folder: Path, mode: int) -> None:
    (folder / "cookie.secret").chmod(mode)
    place = "array.yaml: vserver web: persistence.cookie.secret_file"
    assert error_of(folder) == f"{place}: cookie.secret can be read by others; expected mode 0600"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("00112233", "cookie.secret holds 4 bytes; expected at least 16"),
        ("", "cookie.secret holds 0 bytes; expected at least 16"),
        ("correct horse battery staple", "cookie.secret is not hexadecimal text"),
    ],
)
def test_secret_that_is_no_key(folder: Path, text: str, expected: str) -> None:
    (folder / "cookie.secret").write_text(text)
    assert error_of(folder).endswith(f"persistence.cookie.secret_file: {expected}")


def test_missing_secret(folder: Path) -> None:
    (folder / "cookie.secret").unlink()
    assert error_of(folder).endswith("secret_file: cannot read cookie.secret: No such file or directory")


def test_secret_is_its_bytes(folder: Path) -> None:
    assert read_secret(folder / "cookie.secret", "test") == bytes.fromhex(SECRET)


def test_errors_do_not_show_the_secret(folder: Path) -> None:
    (folder / "cookie.secret").write_text(f"{SECRET}xyz")
    assert SECRET not in error_of(folder)
