"""A node's TLS towards its clients, as configured: certificates, policy, certificates of clients, sessions."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.certificates import Authority, Certificate, make_certificate
from support.node_load import steady_load
from support.tlsnode import RunningNode, node_document, running_node, scripted_server
from support.virtual_array import eventually

AUTHORITY = Authority("clients")
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
Document = dict[str, Any]


async def echo_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that answers each request with its head."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(head), head))


def tls_of(document: Document) -> Document:
    tls: Document = document["vservers"][0]["tls"]
    return tls


def more(folder: Path, name: str, certificate: Certificate) -> Document:
    paths = certificate.write(folder, name)
    return {"certificate": str(paths[0]), "key": str(paths[1])}


def trusting(maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """A client that takes any certificate, of at most this version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = maximum
    return context


def connect(
    port: int, context: ssl.SSLContext, *, name: str | None = None, session: ssl.SSLSession | None = None
) -> ssl.SSLSocket:
    """A connection that has had an answer, and so its tickets."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=30)
    secure = context.wrap_socket(plain, server_hostname=name, session=session)
    secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert secure.recv(65_536).startswith(b"HTTP/1.1 200 ")
    return secure


def shown(port: int, name: str | None) -> bytes:
    """The certificate that a client gets that asks for `name`, DER."""
    with connect(port, trusting(), name=name) as connection:
        certificate = connection.getpeercert(binary_form=True)
        assert certificate is not None
        return certificate


async def test_the_name_that_is_asked_for_chooses_the_certificate(tmp_path: Path) -> None:
    async with scripted_server(echo_head) as port:
        document = node_document(tmp_path, [("w1", "127.0.0.1", port)])
        shop, wild = make_certificate("shop.example.test"), make_certificate("*.wild.test", kind="rsa")
        tls_of(document)["more"] = [more(tmp_path, "shop", shop), more(tmp_path, "wild", wild)]
        async with running_node(document, tmp_path) as node:
            for name, expected in (
                ("shop.example.test", shop),
                ("a.wild.test", wild),
                ("www.example.test", make_certificate()),
                ("unknown.test", make_certificate()),
                (None, make_certificate()),
            ):
                assert await asyncio.to_thread(shown, node.port, name) == expected.der, name


async def test_the_modern_policy_has_no_tls_1_2(tmp_path: Path) -> None:
    async with scripted_server(echo_head) as port:
        document = node_document(tmp_path, [("w1", "127.0.0.1", port)])
        tls_of(document)["policy"] = "modern"
        async with running_node(document, tmp_path) as node:
            old = await node.curl("--tls-max", "1.2", "/")
            assert (old.exit_status, b"protocol version" in old.stderr) == (35, True), old
            assert (await node.curl("--tlsv1.3", "/")).exit_status == 0


async def test_an_ocsp_response_is_stapled(tmp_path: Path) -> None:
    async with scripted_server(echo_head) as port:
        document = node_document(tmp_path, [("w1", "127.0.0.1", port)])
        issued = AUTHORITY.issue("shop.example.test")
        (tmp_path / "shop.ocsp").write_bytes(AUTHORITY.ocsp_response(issued.certificate_pem))
        tls_of(document)["more"] = [more(tmp_path, "shop", issued) | {"ocsp": str(tmp_path / "shop.ocsp")}]
        async with running_node(document, tmp_path) as node:
            command = ["openssl", "s_client", "-connect", f"127.0.0.1:{node.port}", "-status", "-servername"]
            for name, said in (("shop.example.test", "Cert Status: good"), ("other", "no response sent")):
                done = await asyncio.to_thread(
                    subprocess.run, [*command, name], input=b"", capture_output=True, timeout=60, check=False
                )
                assert said in done.stdout.decode(errors="replace")


@pytest.mark.parametrize("required", [True, False])
async def test_certificates_of_clients(tmp_path: Path, required: bool) -> None:
    client, revoked = AUTHORITY.issue("client"), AUTHORITY.issue("revoked")
    (tmp_path / "clients.pem").write_bytes(AUTHORITY.certificate_pem)
    (tmp_path / "clients.crl").write_bytes(AUTHORITY.revocation_list(revoked))
    files = {
        "client": client.write(tmp_path, "client"),
        "revoked": revoked.write(tmp_path, "revoked"),
        "strange": Authority("clients").issue("client").write(tmp_path, "strange"),
    }
    async with scripted_server(echo_head) as port:
        document = node_document(tmp_path, [("w1", "127.0.0.1", port)])
        tls_of(document)["clients"] = {
            "ca": str(tmp_path / "clients.pem"),
            "crl": str(tmp_path / "clients.crl"),
            "required": required,
        }
        forged = ("--header", "Client-Cert: :Zm9yZ2Vk:", "--header", "client_cert: :Zm9yZ2Vk:")
        expected = f"Client-Cert: :{b64encode(client.der).decode()}:"
        async with running_node(document, tmp_path) as node:

            async def fields(name: str | None, *arguments: str) -> list[str] | None:
                """The fields of Client-Cert that a server got; None when the handshake failed."""
                shown = ("--cert", files[name][0], "--key", files[name][1]) if name else ()
                done = await node.curl(*shown, *arguments, "/")
                if done.exit_status:
                    assert done.exit_status in (35, 56), done.stderr
                    return None
                return [line for line in done.text.splitlines() if "cert" in line.lower()]

            for version in (("--tls-max", "1.2"), ("--tlsv1.3",)):
                assert await fields("client", *version) == [expected]
                assert await fields("client", *version, *forged) == [expected]
                assert await fields("revoked", *version) is None
                assert await fields("strange", *version) is None
                assert await fields(None, *version, *forged) == (None if required else [])
            failed = (await node.vserver_status())["tls_handshakes"]["failed"]
            assert failed["certificate revoked"] == 2
            assert sum(failed.values()) == (6 if required else 4)


@asynccontextmanager
async def resumed(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None) -> AsyncIterator[None]:
    """Twenty connections at a time that all resume the session; they are open in the block."""
    connections = [await asyncio.to_thread(connect, port, context, session=session) for _ in range(20)]
    try:
        assert [connection.session_reused for connection in connections] == [True] * 20
        yield
    finally:
        for connection in connections:
            connection.close()


async def workers(node: RunningNode) -> list[Document]:
    found: list[Document] = (await node.status())["workers"]
    return found


@pytest.mark.parametrize("version", VERSIONS)
async def test_sessions_resume_on_every_worker_also_after_reloads_and_restarts(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    async with scripted_server(echo_head) as port:
        document = node_document(tmp_path, [("w1", "127.0.0.1", port)])
        async with running_node(document, tmp_path, workers=2) as node:
            context = trusting(version)

            def begin() -> ssl.SSLSession | None:
                with connect(node.port, context) as connection:
                    assert not connection.session_reused
                    return connection.session

            session = await asyncio.to_thread(begin)
            async with resumed(node.port, context, session):
                assert all(worker["open_connections"] > 0 for worker in await workers(node))

            make_certificate("renewed.test").write(tmp_path)
            assert (await node.curl("--request", "POST", f"http://{node.management}/reload")).exit_status == 0
            renewed = make_certificate("renewed.test").der
            assert await asyncio.to_thread(shown, node.port, None) == renewed
            async with resumed(node.port, context, session):
                pass

            killed = (await workers(node))[0]
            os.kill(killed["pid"], signal.SIGKILL)
            await eventually(lambda: restarted(node), "the worker runs again")
            async with resumed(node.port, context, session):
                assert all(worker["open_connections"] > 0 for worker in await workers(node))


async def restarted(node: RunningNode) -> bool:
    return [worker["restarts"] for worker in await workers(node)] == [1, 0]


async def test_sighup_brings_other_certificates_and_drops_nothing(tmp_path: Path) -> None:
    async with scripted_server(echo_head) as port:
        document = node_document(tmp_path, [("w1", "127.0.0.1", port)])
        async with running_node(document, tmp_path, workers=2) as node, steady_load(node, 20) as load:
            renewed, shop = make_certificate("renewed.test"), make_certificate("shop.example.test", kind="rsa")
            renewed.write(tmp_path)
            tls_of(document)["more"] = [more(tmp_path, "shop", shop)]
            (tmp_path / "array.yaml").write_text(json.dumps(document))
            before = load.answered
            node.process.send_signal(signal.SIGHUP)

            async def all_are_renewed() -> bool:
                """Of two workers, as good as certain that both were asked."""
                for _ in range(16):
                    if await asyncio.to_thread(shown, node.port, None) != renewed.der:
                        return False
                return True

            await eventually(all_are_renewed, "the renewed certificate is shown by both workers")
            for _ in range(10):
                assert await asyncio.to_thread(shown, node.port, "shop.example.test") == shop.der
        assert load.failures == []
        assert load.answered > before
