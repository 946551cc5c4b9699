"""One octet there and back over TCP: `serve ADDRESS PORT`, or `ask ADDRESS PORT COUNT`, which prints microseconds."""

from __future__ import annotations

import socket
import sys
import time
from statistics import median

PAUSE_S = 0.001
TIMEOUT_S = 5.0


def serve(address: str, port: int) -> None:
    """Echo one connection after the other."""
    with socket.create_server((address, port)) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while octet := connection.recv(1):
                    connection.send(octet)


def ask(address: str, port: int, count: int) -> float:
    """The median round trip in µs, at no more than 1,000 a second."""
    times = []
    with socket.create_connection((address, port), timeout=TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            time.sleep(PAUSE_S)
            began = time.perf_counter_ns()
            connection.send(b"x")
            connection.recv(1)
            times.append(time.perf_counter_ns() - began)
    return median(times) / 1000


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", address, port]:
            serve(address, int(port))
        case ["ask", address, port, count]:
            print(ask(address, int(port), int(count)))
        case _:
            sys.exit(__doc__)
