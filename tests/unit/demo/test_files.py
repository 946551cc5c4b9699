"""The files of a topology: certificates, secrets, configuration, nginx and curl settings."""

import stat
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pentaflow.demo.certificates import make_certificates
from pentaflow.demo.files import prepare
from pentaflow.files import load_configuration, read_secret
from topologies.inline import INLINE


def test_the_configuration_and_all_that_it_names_load(tmp_path: Path) -> None:
    configuration = load_configuration(prepare(INLINE, tmp_path).configuration)
    assert [n.name for n in configuration.nodes] == ["n1", "n2", "n3"]


def test_private_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    prepare(INLINE, tmp_path)
    for name in ("server.key", "nodes.key", "controller.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    for name in ("cookie.key", "tickets.key"):
        assert len(read_secret(tmp_path / name, name)) == 32


def test_a_second_run_starts_afresh(tmp_path: Path) -> None:
    files = prepare(INLINE, tmp_path)
    old = read_secret(tmp_path / "cookie.key", "cookie.key")
    files.log("n1").write_text("old")
    prepare(INLINE, tmp_path)
    assert read_secret(tmp_path / "cookie.key", "cookie.key") != old
    assert not files.log("n1").exists()


def test_each_server_has_its_own_nginx_configuration(tmp_path: Path) -> None:
    files = prepare(INLINE, tmp_path)
    text = (files.nginx_prefix("w2") / "nginx.conf").read_text()
    assert "listen 10.0.0.22:80;" in text
    assert "X-Server w2" in text


def test_curl_is_told_the_authority_and_the_address(tmp_path: Path) -> None:
    assert prepare(INLINE, tmp_path).curlrc.read_text() == (
        f'cacert = "{tmp_path / "ca.pem"}"\nresolve = "www.pentaflow.test:443:10.0.0.100"\n'
    )


def test_the_server_certificate_is_signed_by_the_authority_and_fits_its_key() -> None:
    made = make_certificates(["www.pentaflow.test", "other.test"])
    authority, server = (x509.load_pem_x509_certificate(pem) for pem in (made.authority, made.chain))
    server.verify_directly_issued_by(authority)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["www.pentaflow.test", "other.test"]
    key = load_pem_private_key(made.key, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == server.public_key()
    assert server.not_valid_before_utc < datetime.now(UTC) < server.not_valid_after_utc
