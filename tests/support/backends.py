"""Reference back ends as processes, and OpenSSL's client, which resumes sessions of TLS 1.2 by their ids."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from support.certificates import make_certificate
from support.ports import free_port

_PATIENCE_S = 20.0
_REQUEST = b"GET / HTTP/1.1\r\nHost: www.example.test\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a back end said of a connection."""

    server: str
    session_id: str
    resumed: bool


@asynccontextmanager
async def running_backend(name: str, record: str, directory: Path, *options: str | Path) -> AsyncIterator[int]:
    """A back end on loopback; its port."""
    certificate, key = make_certificate().write(directory, name)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pentaflow", "backend", "--name", name, "--listen", f"127.0.0.1:{port}"),
        *("--record", record, "--cert", certificate, "--key", key, *options),
    )
    try:
        await _accepting(port, process)
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        assert await asyncio.wait_for(process.wait(), _PATIENCE_S) == 0


async def _accepting(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            assert process.returncode is None, "the back end has ended"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def ask(
    port: int, *, session: Path | None = None, keep: Path | None = None, options: tuple[str, ...] = ("-tls1_2",)
) -> Answered:
    """One request by `openssl s_client`, without tickets; client and server agree on whether the session was resumed.

    Args:
        port: on loopback.
        session: the file of a session to resume.
        keep: where to write the session.
        options: of s_client.
    """
    files = (*(("-sess_in", session) if session else ()), *(("-sess_out", keep) if keep else ()))
    process = await asyncio.create_subprocess_exec(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "www.example.test"),
        *("-no_ticket", "-ign_eof", *options, *files),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(_REQUEST), _PATIENCE_S)
    handshake, _, response = output.partition(b"HTTP/1.1 200 ")
    body = response.partition(b"\r\n\r\n")[2]
    assert body, (output, errors)
    answered = Answered(**json.JSONDecoder().raw_decode(body.decode())[0])
    assert (b"\nReused, TLSv1.2, " if answered.resumed else b"\nNew, TLSv1.2, ") in handshake, output
    return answered
