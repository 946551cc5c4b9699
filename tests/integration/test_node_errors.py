"""What stops a node from starting: one sentence with the place, and nothing half-started."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pentaflow.config import Configuration
from pentaflow.errors import ConfigurationError, HostError, PentaflowError
from pentaflow.files import read_node_configuration
from support.certificates import Authority, make_certificate
from support.ports import free_port
from support.tlsnode import node_document
from tlsnodes.node import NodeOptions, run_node
from tlsnodes.supervisor import WorkerOptions

Document = dict[str, Any]
AUTHORITY = Authority("authority")
OPTIONS = NodeOptions(workers=WorkerOptions(count=2), holds_vips=False)


def start(document: Document, name: str = "node1") -> PentaflowError:
    """The error that the node ends with at once."""
    configuration = Configuration.model_validate(document)

    async def run() -> None:
        async with asyncio.timeout(30):
            await run_node(lambda: read_node_configuration(configuration, name), OPTIONS)

    with pytest.raises(PentaflowError) as caught:
        asyncio.run(run())
    return caught.value


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def unlink(field: str) -> Callable[[Document], None]:
    return lambda document: Path(document["vservers"][0]["tls"][field]).unlink()


def write(field: str, content: bytes) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        Path(document["vservers"][0]["tls"][field]).write_bytes(content)

    return change


def open_secret(document: Document) -> None:
    Path(document["vservers"][0]["persistence"]["cookie"]["secret_file"]).chmod(0o644)


@pytest.mark.parametrize(
    ("change", "place", "sentence"),
    [
        (unlink("certificate"), "vserver web: tls.certificate", "cannot read {}/server.crt: No such file"),
        (unlink("key"), "vserver web: tls.key", "cannot read {}/server.key: No such file"),
        (write("certificate", b"x"), "vserver web: tls.certificate", "{}/server.crt: no PEM certificate in it"),
        (write("key", b"x"), "vserver web: tls.key", "{}/server.key: no unencrypted PEM private key in it"),
        (
            write("key", make_certificate("other.test").key_pem),
            "vserver web: tls.key",
            "{}/server.key: not the key of the certificate",
        ),
        (open_secret, "vserver web: persistence.cookie.secret_file", "can be read by others"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, change: Callable[[Document], None], place: str, sentence: str) -> None:
    document = node_document(tmp_path, [("w1", "127.0.0.1", 1)])
    change(document)
    error = start(document)
    assert isinstance(error, ConfigurationError)
    assert error.place == place
    assert sentence.format(tmp_path) in error.message


def _spoil_more(folder: Path, tls: Document) -> None:
    other = AUTHORITY.issue("other.test")
    certificate, key = other.write(folder, "other")
    whole = {"certificate": str(certificate), "key": str(key)}
    tls["more"] = [whole, whole | {"key": tls["key"]}]


def _staple_anothers(folder: Path, tls: Document) -> None:
    (folder / "ocsp").write_bytes(AUTHORITY.ocsp_response(AUTHORITY.issue("other.test").certificate_pem))
    tls["ocsp"] = str(folder / "ocsp")


def _staple_to_more(folder: Path, tls: Document) -> None:
    (folder / "ocsp").write_bytes(b"x")
    tls["more"] = [{"certificate": tls["certificate"], "key": tls["key"], "ocsp": str(folder / "ocsp")}]


def _authority(folder: Path, tls: Document) -> None:
    (folder / "ca").write_bytes(b"x")
    tls["clients"] = {"ca": str(folder / "ca")}


def _revocation_list(folder: Path, tls: Document) -> None:
    _authority(folder, tls)
    (folder / "ca").write_bytes(AUTHORITY.certificate_pem)
    (folder / "crl").write_bytes(AUTHORITY.certificate_pem)
    tls["clients"]["crl"] = str(folder / "crl")


@pytest.mark.parametrize(
    ("change", "field", "sentence"),
    [
        (_spoil_more, "more[1].key", "{}/server.key: not the key of the certificate"),
        (_staple_anothers, "ocsp", "{}/ocsp: the OCSP response is about another certificate"),
        (_staple_to_more, "more[0].ocsp", "{}/ocsp: no OCSP response in DER"),
        (_authority, "clients.ca", "{}/ca: no PEM certificate in it"),
        (_revocation_list, "clients.crl", "{}/crl: no PEM revocation list in it"),
        (lambda _, tls: tls.update(clients={"ca": "/none"}), "clients.ca", "cannot read /none: No such file"),
    ],
)
def test_tls_files_that_are_wrong(
    tmp_path: Path, change: Callable[[Path, Document], None], field: str, sentence: str
) -> None:
    document = node_document(tmp_path, [("w1", "127.0.0.1", 1)])
    change(tmp_path, document["vservers"][0]["tls"])
    error = start(document)
    assert error.place == f"vserver web: tls.{field}"
    assert error.message.startswith(sentence.format(tmp_path))


@pytest.mark.parametrize(
    ("tls", "place", "sentence"),
    [
        ({"ca": "server.key"}, "pool servers: tls.ca", "{}/server.key: no PEM certificate in it"),
        (
            {"ca": "server.crt", "certificate": "server.crt", "key": "other.key"},
            "pool servers: tls.key",
            "{}/other.key: not the key of the certificate",
        ),
        ({"ca": "none"}, "pool servers: tls.ca", "cannot read {}/none: No such file"),
    ],
)
def test_tls_files_of_a_pool_that_are_wrong(tmp_path: Path, tls: dict[str, str], place: str, sentence: str) -> None:
    document = node_document(tmp_path, [("w1", "127.0.0.1", 1)])
    AUTHORITY.issue("other.test").write(tmp_path, "other")
    document["pools"][0]["tls"] = {name: str(tmp_path / file) for name, file in tls.items()}
    error = start(document)
    assert error.place == place
    assert error.message.startswith(sentence.format(tmp_path))


def test_unknown_node(tmp_path: Path) -> None:
    error = start(node_document(tmp_path, [("w1", "127.0.0.1", 1)]), "node9")
    assert isinstance(error, ConfigurationError)
    assert str(error) == "nodes: there is no node 'node9'; there is node1"


def test_a_port_in_use(tmp_path: Path) -> None:
    document = node_document(tmp_path, [("w1", "127.0.0.1", 1)])
    port = document["vservers"][0]["port"]
    with socket.create_server(("127.0.0.1", port)):
        error = start(document)
    assert isinstance(error, HostError)
    assert str(error) == f"vserver web: cannot listen on 127.0.0.1:{port}: the port is in use"


def test_nothing_is_left_listening_when_a_later_port_is_in_use(tmp_path: Path) -> None:
    document = node_document(tmp_path, [("w1", "127.0.0.1", 1)])
    management = int(document["nodes"][0]["management"].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", management)):
        error = start(document)
    assert isinstance(error, HostError)
    assert error.place == "node node1: management"
    assert not accepts(document["vservers"][0]["port"])


def test_a_vip_that_the_host_does_not_hold(tmp_path: Path) -> None:
    document = node_document(tmp_path, [("w1", "127.0.0.1", 1)])
    document["vservers"][0]["vip"] = "192.0.2.77"
    error = start(document)
    assert isinstance(error, HostError)
    assert "no interface of this host has that address" in error.message


def test_a_node_starts_says_so_and_ends_when_cancelled(tmp_path: Path) -> None:
    document = node_document(tmp_path, [("w1", "127.0.0.1", free_port())])
    configuration = Configuration.model_validate(document)

    async def run() -> None:
        started = asyncio.Event()
        task = asyncio.create_task(
            run_node(lambda: read_node_configuration(configuration, "node1"), OPTIONS, started=started)
        )
        await asyncio.wait_for(started.wait(), 30)
        assert accepts(document["vservers"][0]["port"])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not accepts(document["vservers"][0]["port"])

    asyncio.run(run())
