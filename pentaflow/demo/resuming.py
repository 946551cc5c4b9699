"""A client that keeps nothing but its TLS session: `python -m pentaflow.demo.resuming HOST PORT ADDRESS CA`.

It connects again and again, each time with the newest ticket that it was given and never with a cookie, and writes a
line of JSON for each request (`Resumption`) until it is killed.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
from dataclasses import asdict
from http.client import HTTPResponse

from pentaflow.demo.traffic import Resumption, last_hop

TIMEOUT_S = 5.0
PAUSE_S = 0.02


def main() -> None:
    """Entry point."""
    host, port, address, authority = sys.argv[1:]
    context = ssl.create_default_context(cafile=authority)
    session: ssl.SSLSession | None = None
    while True:
        try:
            with (
                socket.create_connection((address, int(port)), timeout=TIMEOUT_S) as plain,
                context.wrap_socket(plain, server_hostname=host, session=session) as secure,
            ):
                found = _ask(secure, host)
                session = secure.session  # TLS 1.3 gives it with the answer (RFC 8446, 4.6.1)
        except OSError as error:
            found = Resumption(resumed=False, version="", node="", server="", error=str(error))
        print(json.dumps(asdict(found)), flush=True)
        time.sleep(PAUSE_S)


def _ask(secure: ssl.SSLSocket, host: str) -> Resumption:
    secure.sendall(f"GET /ticket HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    with HTTPResponse(secure, method="GET") as response:
        response.begin()
        response.read()
        return Resumption(
            resumed=secure.session_reused is True,
            version=secure.version() or "",
            node=last_hop(response.getheader("Via", "")),
            server=response.getheader("X-Server", ""),
            error="" if response.status == 200 else f"HTTP status {response.status}",
        )


if __name__ == "__main__":
    main()
