"""What an idle TLS connection costs in memory, after one request on each."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from benchmarks.figures import Better
from benchmarks.harness import Profile
from benchmarks.lab import HOSTNAME, SMALL_BYTES, Lab, client_context, connect, running
from benchmarks.proxies import Proxy, against_proxies
from pentaflow.errors import HostError

CONNECTIONS = 5000
WARM_UP = 50
AT_ONCE = 4
_REQUEST = f"GET /small HTTP/1.1\r\nHost: {HOSTNAME}\r\n\r\n".encode()
_ANSWER_BYTES = 16_384


def sample(proxy: Proxy, profile: Profile) -> Mapping[str, float]:
    """KiB in the proxy's processes."""
    count = round(CONNECTIONS * profile.scale)
    with running(proxy) as lab, ExitStack() as held:
        _hold(lab, WARM_UP, held)
        before = lab.memory_kib()
        _hold(lab, count, held)
        return {f"{count:,} connections": (lab.memory_kib() - before) / count}


def _hold(lab: Lab, count: int, held: ExitStack) -> None:
    """Open connections, each with one request, and keep them; a few at a time."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for client in threads.map(lambda _: _used_once(lab), range(count)):
            held.enter_context(client)


def _used_once(lab: Lab) -> ssl.SSLSocket:
    client = connect(client_context(), lab.port)
    client.sendall(_REQUEST)
    answer = b""
    while not answer.endswith(b"x" * SMALL_BYTES):
        received = client.recv(_ANSWER_BYTES)
        if not received:
            raise HostError(lab.proxy, f"ended a connection that should stay, after {answer!r}")
        answer += received
    return client


BENCHMARK = against_proxies(name="idle_tls_conn_kib", unit="KiB", better=Better.LESS, sample=sample)
