"""A UDP service that says who it is and gives back what it got: `python -m support.udp_echo ADDRESS PORT NAME`."""

from __future__ import annotations

import socket
import sys


def run(address: str, port: str, name: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as service:
        service.bind((address, int(port)))
        while True:
            data, client = service.recvfrom(2048)
            service.sendto(name.encode() + b" " + data, client)


if __name__ == "__main__":
    run(*sys.argv[1:])
