"""The `pentaflow` command as a user runs it: exit statuses, one line on standard error, nothing half-started."""

from __future__ import annotations

import socket
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from support.certificates import Certificate, make_certificate
from support.configurations import small_document

REPOSITORY = Path(__file__).parents[2]


def pentaflow(*arguments: str | Path, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pentaflow", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_refused(done: subprocess.CompletedProcess[str], sentence: str) -> None:
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"pentaflow: {sentence}\n"


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    for name in ("web.pem", "web.key", "cookie.secret"):
        (tmp_path / name).write_text("00112233445566778899aabbccddeeff")
    (tmp_path / "cookie.secret").chmod(0o600)
    path = tmp_path / "array.yaml"
    path.write_text(yaml.safe_dump(small_document()))
    return path


def test_check_config_of_a_good_file(configuration: Path) -> None:
    done = pentaflow("check-config", configuration)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{configuration}: ok (switches: 1, nodes: 2, vservers: 1, pools: 1)\n"


def test_check_config_of_a_misspelt_key(configuration: Path) -> None:
    configuration.write_text("pool: []\n")
    place = f"{configuration}:1: pool"
    assert_refused(pentaflow("check-config", configuration), f"{place}: unknown key; did you mean 'pools'?")


def test_check_config_of_a_key_with_a_line_break_is_still_one_line(configuration: Path) -> None:
    configuration.write_text('"a\\nb": 1\n')
    done = pentaflow("check-config", configuration)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_check_config_of_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    assert_refused(pentaflow("check-config", path), f"{path}: cannot read {path}: No such file or directory")


@pytest.mark.parametrize("command", [("controller",), ("node", "n1")])
def test_servers_refuse_a_missing_certificate_before_they_start(configuration: Path, command: tuple[str, ...]) -> None:
    missing = configuration.parent / "web.pem"
    missing.unlink()
    name, *rest = command
    assert_refused(
        pentaflow(name, configuration, *rest),
        f"{configuration}: vserver web: tls.certificate: cannot read {missing}: No such file or directory",
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "node: needs CONFIG and NAME, or --controller"),
        (("array.yaml", "n1", "--workers", "0"), "--workers: '0' is neither auto nor a number from 1 to 256"),
        (("array.yaml", "n1", "--name", "n1"), "--name, --ca, --cert and --key: go with --controller"),
        (
            ("--controller", "https://a", "--name", "n1", "--ca", "x"),
            "--controller: needs --name, --ca, --cert and --key, and no file",
        ),
        (
            ("--controller", "http://a", "--name", "n1", "--ca", "x", "--cert", "x", "--key", "x"),
            "--controller: 'http://a' is not https://HOST:PORT",
        ),
        (
            ("--controller", "https://a", "--name", "n1", "--ca", "x", "--cert", "x", "--key", "x"),
            "agent.certificate: cannot read x: No such file or directory",
        ),
    ],
)
def test_a_node_that_cannot_be(options: tuple[str, ...], sentence: str) -> None:
    assert_refused(pentaflow("node", *options), sentence)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--store", "redis://a:1"),
            "--store: 'redis://a:1' is not memory:, sqlite:PATH or etcd://HOST:PORT[,HOST:PORT]",
        ),
        (("--store", "etcd://a"), "--store: 'a' is not HOST:PORT"),
        (("--store", "sqlite:/"), "store /: cannot be opened: Is a directory"),
        (("--store-key", "web.key"), "--store-cert: needs --store-ca, too"),
        (("--store-ca", "web.pem"), "--store-ca: is for etcd://, and the store is memory:"),
    ],
)
def test_a_store_that_cannot_be(configuration: Path, options: tuple[str, ...], sentence: str) -> None:
    assert_refused(pentaflow("controller", configuration, *options), sentence)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--listen", "443"), "--listen: '443' is not HOST:PORT"),
        (("--cert", "none"), "--cert: cannot read none: No such file or directory"),
        (
            ("--record", "http://:8080/session-ids/www/web-1"),
            "--record: 'http://:8080/session-ids/www/web-1' is not the URL of a record, as "
            "http://HOST:PORT/session-ids/VSERVER/SERVER",
        ),
        (("--token-file", "none"), "--token-file: cannot read none: No such file or directory"),
        (("--ca", "good.key"), "--ca: expected certificates in PEM"),
        (
            ("--client-cert", "good.crt"),
            "--client-key: missing: a certificate and its private key go together",
        ),
        (("--client-cert", "good.crt", "--client-key", "good.key"), "--client-cert: needs --ca, too"),
    ],
)
def test_a_back_end_that_cannot_be(tmp_path: Path, options: tuple[str, ...], sentence: str) -> None:
    make_certificate().write(tmp_path, "good")
    given = {"--name": "web-1", "--listen": "127.0.0.1:0", "--record": "record"}
    given |= {"--cert": "good.crt", "--key": "good.key"} | dict(zip(options[::2], options[1::2], strict=True))
    done = pentaflow("backend", *chain.from_iterable(given.items()), cwd=tmp_path)
    assert_refused(done, sentence)


@pytest.mark.parametrize(
    ("ports", "sentence"),
    [
        (["eth0"], "--port: 'eth0' is not N=INTERFACE with N from 1 to 510"),
        (["0=eth0"], "--port: '0=eth0' is not N=INTERFACE with N from 1 to 510"),
        (["511=eth0"], "--port: '511=eth0' is not N=INTERFACE with N from 1 to 510"),
        (["1="], "--port: '1=' is not N=INTERFACE with N from 1 to 510"),
        (["-1=eth0"], "--port: '-1=eth0' is not N=INTERFACE with N from 1 to 510"),
        (["510=eth0"], "--port: port 510 is the CPU port; an interface needs another number"),
        (["1=eth0", "1=eth1"], "--port: port 1 is given twice"),
        (["1=eth0", "2=eth0"], "--port: interface eth0 is given twice"),
    ],
)
def test_switch_refuses_ports_that_it_cannot_have(ports: list[str], sentence: str) -> None:
    assert_refused(pentaflow("switch", *(f"--port={port}" for port in ports)), sentence)


@pytest.mark.parametrize(
    ("captures", "sentence"),
    [
        (["a.pcap"], "--pcap: 'a.pcap' is not N=FILE with N one of the ports"),
        (["2=a.pcap"], "--pcap: '2=a.pcap' is not N=FILE with N one of the ports"),
        (["1="], "--pcap: '1=' is not N=FILE with N one of the ports"),
        (["1=a.pcap", "1=b.pcap"], "--pcap: port 1 is given twice"),
        (["1=a.pcap", "3=a.pcap"], "--pcap: file a.pcap is given twice"),
    ],
)
def test_switch_refuses_captures_that_it_cannot_make(captures: list[str], sentence: str) -> None:
    ports = ["--port=1=lo", "--port=3=eth9"]
    assert_refused(pentaflow("switch", *ports, *(f"--pcap={capture}" for capture in captures)), sentence)


CERTIFICATES = {
    "good": make_certificate(),
    "other": make_certificate("other.example.test"),
    "broken": Certificate(certificate_pem=b"nonsense", key_pem=b"nonsense"),
}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["cert=good.crt"], "--tls-key: missing: a certificate and its private key go together"),
        (["key=good.key"], "--tls-cert: missing: a certificate and its private key go together"),
        (["ca=good.crt"], "--tls-ca: needs --tls-cert and --tls-key, too"),
        (["cert=none.crt", "key=good.key"], "--tls-cert: cannot read none.crt: No such file or directory"),
        (["cert=good.crt", "key=none.key"], "--tls-key: cannot read none.key: No such file or directory"),
        (["cert=good.crt", "key=."], "--tls-key: cannot read .: Is a directory"),
        (["cert=broken.crt", "key=good.key"], "--tls-cert: expected certificates in PEM"),
        (["cert=good.crt", "key=broken.key"], "--tls-key: expected a private key in PEM"),
        (
            ["cert=good.crt", "key=locked.key"],
            "--tls-key: the private key is encrypted; expected one without a password",
        ),
        (["cert=good.crt", "key=other.key"], "--tls-key: the private key is not that of the certificate"),
        (["cert=good.crt", "key=good.key", "ca=broken.crt"], "--tls-ca: expected certificates in PEM"),
        (
            ["cert=good.crt", "key=good.key", "ca=none.crt"],
            "--tls-ca: cannot read none.crt: No such file or directory",
        ),
    ],
)
def test_switch_refuses_credentials_that_it_cannot_use(tmp_path: Path, options: list[str], sentence: str) -> None:
    for name, certificate in CERTIFICATES.items():
        (tmp_path / f"{name}.crt").write_bytes(certificate.certificate_pem)
        (tmp_path / f"{name}.key").write_bytes(certificate.key_pem)
    key = load_pem_private_key(CERTIFICATES["good"].key_pem, None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    (tmp_path / "locked.key").write_bytes(locked)
    done = pentaflow("switch", "--port=1=lo", *(f"--tls-{option}" for option in options), cwd=tmp_path)
    assert_refused(done, sentence)


@pytest.mark.parametrize("text", ["9090", ":9090", "localhost:", "localhost:http", "localhost:65536"])
def test_switch_refuses_metrics_at_no_end_point(text: str) -> None:
    assert_refused(pentaflow("switch", "--port=1=lo", f"--metrics={text}"), f"--metrics: {text!r} is not HOST:PORT")


def test_an_absurdly_long_port_number_is_refused_too() -> None:
    done = pentaflow("switch", f"--port={'9' * 5000}=eth0")
    assert done.returncode == 2
    assert done.stderr.endswith("is not N=INTERFACE with N from 1 to 510\n")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["switch", "--help"]])
def test_help_is_shown(arguments: list[str]) -> None:
    assert "Usage:" in "".join(pentaflow(*arguments).stdout)


def test_check_pipeline_of_what_the_softswitch_runs() -> None:
    done = pentaflow("check-pipeline", "p4/build/pentaflow.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("p4/build/pentaflow.json: ok (")


def test_check_pipeline_names_what_the_softswitch_does_not_run() -> None:
    done = pentaflow("check-pipeline", "tests/p4/refused/meter.json")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("pentaflow: tests/p4/refused/meter.json")
    assert "meter" in line.removeprefix("pentaflow: tests/p4/refused/meter.json")


@pytest.mark.root
def test_a_switch_whose_grpc_port_is_in_use_says_so_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = pentaflow("switch", "--port", "1=lo", "--grpc", address)
    sentence = "the P4Runtime server can't listen here: the address is in use or not this host's"
    assert_refused(done, f"{address}: {sentence}")
