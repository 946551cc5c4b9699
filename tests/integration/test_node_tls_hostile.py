"""TLS that is broken, slow, or not TLS at all, on a node's port; and what testssl.sh finds."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from support.hostile_node import LAST_REQUEST, OK, answer, connect_raw, node_before, until_status
from support.tlsnode import RunningNode

HARMLESS = ("OK", "INFO", "LOW", "WARN", "DEBUG")
OF_THE_CERTIFICATE = "cert_"  # the test's own is valid for a day, self-signed, and names no authority's addresses
# Alerts (RFC 8446, 6).
FATAL = 2
UNEXPECTED_MESSAGE, ILLEGAL_PARAMETER, DECODE_ERROR = 10, 47, 50
FULL = "TESTSSL_FULL" in os.environ


async def handshake(node: RunningNode, *, step: int) -> tuple[int, bytes]:
    """Shake hands in pieces of `step` bytes, send a request, and read its answer.

    Returns:
        How many bytes were sent before the handshake was over, and the answer.
    """
    reader, writer = await connect_raw(node)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context(cafile=node.ca).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    sent = 0

    async def send() -> None:
        nonlocal sent
        data = outgoing.read()
        for i in range(0, len(data), step):
            writer.write(data[i : i + step])
            await writer.drain()
            await asyncio.sleep(0)
        sent += len(data)

    async def receive() -> None:
        data = await asyncio.wait_for(reader.read(65_536), 30)
        incoming.write(data) if data else incoming.write_eof()

    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            await send()
            await receive()
    before = sent
    tls.write(LAST_REQUEST)
    await send()
    text = b""
    while True:
        try:
            if not (part := tls.read(65_536)):
                break
            text += part
        except ssl.SSLWantReadError:
            await receive()
        except ssl.SSLZeroReturnError:
            break
    writer.transport.abort()
    return before, text


def record(kind: int, content: bytes) -> bytes:
    """A TLS record as it is before there are keys."""
    return bytes((kind, 3, 1)) + len(content).to_bytes(2, "big") + content


def client_hello() -> bytes:
    """Python's, as a record."""
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def outcome(node: RunningNode, data: bytes) -> bytes:
    """What comes back for these bytes until the node closes."""
    reader, writer = await connect_raw(node)
    writer.write(data)
    text = b""
    with suppress(ConnectionError):
        while part := await asyncio.wait_for(reader.read(65_536), 30):
            text += part
    writer.transport.abort()
    return text


async def test_a_handshake_byte_by_byte_is_a_handshake(tmp_path: Path) -> None:
    async with node_before(tmp_path, answer) as node:
        for step in (1, 2, 7, 500):
            sent, text = await handshake(node, step=step)
            assert sent > 200
            assert text.startswith(b"HTTP/1.1 200 OK\r\n")
        assert (await node.vserver_status())["tls_handshakes"]["failed"] == {}


async def test_a_client_hello_in_many_records_is_one(tmp_path: Path) -> None:
    """Fragments of a handshake message (RFC 8446, 5.1): the server answers with its flight, not with an alert."""
    hello = client_hello()[5:]
    async with node_before(tmp_path, answer, timeouts={"handshake_s": 0.5}) as node:
        for size in (1, 50):
            data = b"".join(record(22, hello[i : i + size]) for i in range(0, len(hello), size))
            assert (await outcome(node, data))[:1] == b"\x16"


async def test_what_breaks_tls_gets_its_alert(tmp_path: Path) -> None:
    rows = [
        ("a message of 16 MB", record(22, b"\x01\xff\xff\xff" + b"\x00" * 50), ILLEGAL_PARAMETER),
        ("data before the handshake", record(23, b"hello"), UNEXPECTED_MESSAGE),
        ("a change of cipher before the handshake", record(20, b"\x01") * 3, UNEXPECTED_MESSAGE),
        ("the handshake's end", record(22, b"\x14\x00\x00\x0c" + b"\x00" * 12), UNEXPECTED_MESSAGE),
        ("a hello that is not one", record(22, b"\x01\x00\x00\x30" + b"\xff" * 48), DECODE_ERROR),
        ("an alert", record(21, b"\x02\x28"), UNEXPECTED_MESSAGE),
        ("an end of the connection", record(21, b"\x01\x00"), UNEXPECTED_MESSAGE),
        ("nothing in a record", record(22, b""), None),
        ("HTTP", LAST_REQUEST, None),
    ]
    async with node_before(tmp_path, answer, timeouts={"handshake_s": 0.5}) as node:
        for what, data, alert in rows:
            text = await outcome(node, data)
            assert text[5:] == (b"" if alert is None else bytes((FATAL, alert))), (what, text)
        failed = (await node.vserver_status())["tls_handshakes"]["failed"]
        assert sum(failed.values()) == len(rows), failed
        assert failed["http request"] == 1


async def test_random_bytes_on_the_port_hurt_nobody(tmp_path: Path) -> None:
    generator = random.Random(5)
    hello = client_hello()

    def garbage() -> bytes:
        if generator.random() < 0.5:
            return generator.randbytes(generator.randint(1, 2000))
        changed = bytearray(hello)
        for _ in range(generator.randint(1, 10)):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        return bytes(changed)

    async with node_before(tmp_path, answer, timeouts={"handshake_s": 1}) as node:
        for _ in range(10):
            await asyncio.gather(*(outcome(node, garbage()) for _ in range(50)))
            assert (await node.send(LAST_REQUEST)).startswith(b"HTTP/1.1 200 ")
        await until_status(node, lambda vserver: sum(vserver["tls_handshakes"]["failed"].values()) == 500)


async def careful(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server with the header fields that an application should send."""
    fields = (
        b"Strict-Transport-Security: max-age=31536000\r\nX-Frame-Options: DENY\r\nX-Content-Type-Options: nosniff\r\n"
    )
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK.replace(b"\r\n\r\n", b"\r\n" + fields + b"\r\n"))


async def run_testssl(node: RunningNode, folder: Path, *options: str) -> list[dict[str, str]]:
    """What testssl.sh finds; it is told nothing but where the node is."""
    findings = folder / "findings.json"
    process = await asyncio.create_subprocess_exec(
        *("testssl", "--warnings", "off", "--color", "0", "--nodns", "none", "--jsonfile", str(findings), *options),
        f"127.0.0.1:{node.port}",
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    found: list[dict[str, str]] = json.loads(findings.read_text())
    return found


@pytest.mark.timeout(1200 if FULL else 240)
@pytest.mark.skipif(shutil.which("testssl") is None, reason="needs the Debian package testssl.sh")
async def test_testssl_finds_nothing_above_low(tmp_path: Path) -> None:
    """Protocols, suites and vulnerabilities; with TESTSSL_FULL in the environment everything that it knows."""
    options = () if FULL else ("--protocols", "--fs", "--server-preference", "--vulnerable")
    async with node_before(tmp_path, careful) as node:
        found = await run_testssl(node, tmp_path, *options)
        assert {"TLS1_2", "TLS1_3", "cipher_order", "heartbleed", "ROBOT", "secure_renego"} <= {
            row["id"] for row in found
        }
        bad = [row for row in found if row["severity"] not in HARMLESS]
        assert [row for row in bad if not row["id"].startswith(OF_THE_CERTIFICATE)] == []
