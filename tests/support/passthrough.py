"""A node that passes TLS on, the servers behind it, and OpenSSL as its client."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.certificates import Authority
from support.nginx import Nginx
from support.ports import free_port
from support.tlsnode import RunningNode, node_document, running_node

AUTHORITY = Authority("servers")
TLS_1_2 = "ssl_protocols TLSv1.2;"
TLS_1_3 = "ssl_protocols TLSv1.2 TLSv1.3;"
BY_ID = f"{TLS_1_2} ssl_session_tickets off; ssl_session_cache shared:sessions:1m;"
REQUEST = b"GET / HTTP/1.0\r\n\r\n"


def tls_nginx(folder: Path, name: str, *, options: str = "", directives: str = TLS_1_3) -> Nginx:
    """An nginx of that name with a certificate for `name`.example, localhost and 127.0.0.1."""
    folder = folder / name
    folder.mkdir()
    certificate, key = AUTHORITY.issue(f"{name}.example").write(folder, "nginx")
    shown = f"ssl_certificate {certificate}; ssl_certificate_key {key};"
    return Nginx(name, folder, options=f"ssl {options}", directives=f"{shown} {directives}")


Pools = Mapping[str, Sequence[tuple[str, int]]]


def passthrough_document(folder: Path, pools: Pools, **vserver: Any) -> dict[str, Any]:
    """Vserver "web" of mode passthrough; `pools`: name → (server's name, port), the first one is its own."""
    document = node_document(folder, [])
    document["vservers"] = [
        {
            "name": "web",
            "id": 1,
            "mode": "passthrough",
            "vip": "127.0.0.1",
            "port": free_port(),
            "pool": next(iter(pools)),
        }
        | vserver
    ]
    document["pools"] = [
        {
            "name": pool,
            "servers": [
                {"name": name, "id": number, "address": f"127.0.0.1:{port}"}
                for number, (name, port) in enumerate(servers, 1)
            ],
        }
        for pool, servers in pools.items()
    ]
    return document


@asynccontextmanager
async def passing_node(
    folder: Path, document: dict[str, Any], *, workers: int = 1, options: Sequence[str] = ()
) -> AsyncIterator[RunningNode]:
    """A node of that configuration, whose clients trust the servers' authority."""
    ca = folder / "authority.pem"
    ca.write_bytes(AUTHORITY.certificate_pem)
    async with running_node(document, folder, ca=ca, workers=workers, options=options) as node:
        yield node


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What `openssl s_client` saw: whether the session was resumed, the protocol, and the response's content."""

    resumed: bool
    version: str
    answer: str


async def s_client(port: int, *arguments: str | Path) -> Said:
    """Ask for `/` over a new connection, which the server closes."""
    process = await asyncio.create_subprocess_exec(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-ign_eof", *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate(REQUEST)
    about = re.search(rb"^(New|Reused), (TLSv[0-9.]+)", output, re.MULTILINE)
    answer = re.search(rb"\r\n\r\n(\w+)\n", output)  # behind the response's head
    assert about, output
    assert answer, output
    return Said(resumed=about[1] == b"Reused", version=about[2].decode(), answer=answer[1].decode())
