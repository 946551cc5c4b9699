"""A load of TLS connections that stay open: run as a program on a client host until SIGTERM, then it says what it saw.

    python keepalive.py ADDRESS PORT HOSTNAME CA COUNT

Each connection makes one request after the other. Nothing is retried and nothing is opened again: a connection that
breaks has failed.
"""

from __future__ import annotations

import json
import signal
import socket
import ssl
import sys
import threading
import time
from dataclasses import asdict, dataclass

PAUSE_S = 0.02
# A stall is waited out: what is asked is whether the connection lives.
TIMEOUT_S = 60.0


@dataclass(slots=True)
class Connection:
    """What one connection saw: answered requests, why it broke (empty: it did not), its longest wait for an answer."""

    answered: int = 0
    failure: str = ""
    longest_ms: float = 0.0


def run(connection: Connection, stream: ssl.SSLSocket, hostname: str, stop: threading.Event) -> None:
    """Make requests until `stop`."""
    request = f"GET /keepalive HTTP/1.1\r\nHost: {hostname}\r\n\r\n".encode()
    try:
        with stream:
            while not stop.wait(PAUSE_S):
                began_s = time.monotonic()
                stream.sendall(request)
                answer = read_answer(stream)
                connection.longest_ms = max(connection.longest_ms, (time.monotonic() - began_s) * 1e3)
                if not answer.startswith(b"HTTP/1.1 200 "):
                    raise ConnectionError(f"answered {answer[:40]!r}")
                connection.answered += 1
    except OSError as error:
        connection.failure = repr(error)


def read_answer(stream: ssl.SSLSocket) -> bytes:
    """Head and body of one answer that has a Content-Length."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += received(stream)
    head, _, body = answer.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < int(lengths[0]):
        body += received(stream)
    return head


def received(stream: ssl.SSLSocket) -> bytes:
    """The next bytes; ConnectionError at the end of the stream."""
    data = stream.recv(65_536)
    if not data:
        raise ConnectionError("closed by the other side")
    return data


def main() -> None:
    """See the module."""
    address, port, hostname, authority, count = sys.argv[1:]
    context = ssl.create_default_context(cafile=authority)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    connections = [Connection() for _ in range(int(count))]
    threads = []
    for connection in connections:
        plain = socket.create_connection((address, int(port)), timeout=TIMEOUT_S)
        stream = context.wrap_socket(plain, server_hostname=hostname)
        threads.append(threading.Thread(target=run, args=(connection, stream, hostname, stop)))
    for thread in threads:
        thread.start()
    # A node closes a connection that has asked for nothing yet much sooner than one that has been answered.
    while any(not connection.answered and not connection.failure for connection in connections):
        time.sleep(PAUSE_S)
    print("open", flush=True)
    stop.wait()
    for thread in threads:
        thread.join()
    print(json.dumps([asdict(connection) for connection in connections]))


if __name__ == "__main__":
    main()
