"""What clients are asked for and what they say about each request (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from pentaflow.addresses import IpAddress

CONNECT_TIMEOUT_S = 1
REQUEST_TIMEOUT_S = 2
# One line for each request, on standard error: it is not buffered, so a line is there when the request is over.
_VARIABLES = (
    "%{exitcode}",
    "%{http_code}",
    "%{local_ip}",
    "%{local_port}",
    "%{num_connects}",
    "%header{via}",
    "%header{x-server}",
)
WRITE_OUT = "%{stderr}" + r"\t".join(_VARIABLES) + r"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One finished request: its connection, and the node (`Via`) and server (`X-Server`) that the answer names."""

    exit_code: int
    status: int
    maybe_client: IpAddress | None
    client_port: int
    connections: int
    node: str
    server: str

    @property
    def ok(self) -> bool:
        """Answered, with status 200, on a connection of its own."""
        return self.exit_code == 0 and self.status == 200 and self.connections == 1


def curl_command(
    url: str, *, count: int, rate_per_s: int | None = None, maybe_cookies: str | None = None, save_cookies: bool = False
) -> list[str]:
    """A curl that makes `count` requests one after the other, each on a TLS connection of its own, none resumed.

    Args:
        url: without a trailing slash; the number of the request is appended as a path segment.
        count: how many requests.
        rate_per_s: start no more than so many a second.
        maybe_cookies: file of cookies to send.
        save_cookies: write received cookies to that file.
    """
    command = ["curl", "--silent", "--no-sessionid", "--header", "Connection: close", "--output", "/dev/null"]
    command += ["--connect-timeout", str(CONNECT_TIMEOUT_S), "--max-time", str(REQUEST_TIMEOUT_S)]
    command += ["--write-out", WRITE_OUT]
    if rate_per_s is not None:
        command += ["--rate", f"{rate_per_s}/s"]
    if maybe_cookies is not None:
        command += ["--cookie-jar" if save_cookies else "--cookie", maybe_cookies]
    return [*command, f"{url}/[1-{count}]"]


def parse_request(line: str) -> Request:
    """One line of `WRITE_OUT`; ValueError if it is not one."""
    fields = line.rstrip("\n").split("\t")
    if len(fields) != len(_VARIABLES):
        raise ValueError(f"{line!r} has {len(fields)} fields; expected {len(_VARIABLES)}")
    exit_code, status, client, port, connections, via, server = fields
    return Request(
        exit_code=int(exit_code),
        status=int(status),
        maybe_client=ip_address(client) if client else None,
        client_port=int(port),
        connections=int(connections),
        node=last_hop(via),
        server=server,
    )


def last_hop(via: str) -> str:
    """The proxy that the client is connected to: the last of `Via` (RFC 9110 7.6.3); empty if there is none."""
    words = via.rpartition(",")[2].split()
    return words[1] if len(words) > 1 else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """A request over a connection that offered a TLS session; `error` is empty when it was answered."""

    resumed: bool
    version: str
    node: str
    server: str
    error: str = ""


def parse_requests(text: str) -> list[Request]:
    """All lines of one curl."""
    return [parse_request(line) for line in text.splitlines()]


def first_failure(requests: Sequence[Request]) -> str:
    """A few words on the first request that failed; empty if none did."""
    failed = [r for r in requests if not r.ok]
    if not failed:
        return ""
    first = failed[0]
    what = f"curl exit code {first.exit_code}, HTTP status {first.status}, {first.connections} connections"
    return f"{len(failed)} of {len(requests)} requests failed, the first with {what}"
