"""One TLS proxy before one back end, on loopback: the proxy has a processor for itself, all else shares the others."""

from __future__ import annotations

import os
import resource
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.network import free_port, stop, wait_until
from benchmarks.proxies import CHAIN, CHAIN_AND_KEY, HOST, KEY, MAX_CONNECTIONS, Proxy, nginx_command
from pentaflow.demo.certificates import Certificates, make_certificates
from pentaflow.errors import HostError

HOSTNAME = "www.pentaflow.test"
SMALL_BYTES = 128
SIZES = {"100k": 100 << 10, "1m": 1 << 20}
SUITE = "TLS_AES_128_GCM_SHA256"
"""What every proxy has to agree on with a client of OpenSSL's defaults, or the rows would compare ciphers."""
CONNECT_TIMEOUT_S = 10.0
_PROC = Path("/proc")

_BACK_END = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid nginx.pid;
events {{ worker_connections {files}; }}
http {{
    access_log off;
    server_tokens off;
    default_type application/octet-stream;
    sendfile on;
    open_file_cache max=16;
    keepalive_timeout 300s;
    keepalive_requests 1000000000;
    server {{
        listen {host}:{port} backlog=4096;
        root files;
        location = /small {{ return 200 "{small}"; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A proxy that serves.

    Attributes:
        proxy: which.
        port: where it listens, on `HOST`.
        pid: its first process.
    """

    proxy: Proxy
    port: int
    pid: int

    def url(self, path: str) -> str:
        """Where clients find `path`."""
        return f"https://{HOST}:{self.port}/{path}"

    def cpu_s(self) -> float:
        """Processor time that the proxy's processes have used so far, in user space and in the kernel."""
        return sum(_cpu_ns(pid) for pid in _family(self.pid)) / 1e9

    def memory_kib(self) -> int:
        """What its processes have in memory; what several of them share is counted once (PSS)."""
        return sum(parse_pss_kib((_PROC / str(pid) / "smaps_rollup").read_text()) for pid in _family(self.pid))


@contextmanager
def running(proxy: Proxy) -> Iterator[Lab]:
    """A proxy, started afresh, that serves `small` and the `SIZES` from an nginx behind it.

    This process keeps off the proxy's processor for as long, and so does what it starts.

    Raises:
        HostError: it does not come up, with the end of what it said; or there is one processor only.
    """
    allowed = os.sched_getaffinity(0)
    first, *others = sorted(allowed)
    if not others:
        raise HostError("bench", "these rows need two processors: one is the proxy's alone")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    os.sched_setaffinity(0, others)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o755)  # nginx's workers are another user
            with _back_end(folder / "back-end") as back_end:
                port = free_port()
                files = {**_certificate_files(), **proxy.files(port, back_end)}
                command = ["taskset", "-c", str(first), *proxy.command(folder / proxy)]
                with serving(proxy, folder / proxy, files, command, port) as pid:
                    _agree(proxy, port)
                    yield Lab(proxy=proxy, port=port, pid=pid)
    finally:
        os.sched_setaffinity(0, allowed)


def connect(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    """A client's connection, after its handshake."""
    plain = socket.create_connection((HOST, port), timeout=CONNECT_TIMEOUT_S)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname=HOSTNAME)


@cache
def client_context() -> ssl.SSLContext:
    """A client that trusts the proxies' certificate."""
    return ssl.create_default_context(cadata=_certificates().authority.decode())


@contextmanager
def _back_end(folder: Path) -> Iterator[int]:
    port = free_port()
    (folder / "files").mkdir(parents=True)
    for name, size in SIZES.items():
        (folder / "files" / name).write_bytes(os.urandom(size))
    text = _BACK_END.format(host=HOST, port=port, small="x" * SMALL_BYTES, files=2 * MAX_CONNECTIONS)
    with serving("the back end", folder, {"nginx.conf": text}, nginx_command(folder), port):
        yield port


@contextmanager
def serving(what: str, folder: Path, files: dict[str, str], command: Sequence[str], port: int) -> Iterator[int]:
    """A process that listens when the block begins; yields its id."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        path = folder / name
        path.touch(mode=0o600)  # some are secret
        path.write_text(text)
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        except FileNotFoundError as error:
            raise HostError("bench", f"not installed: {error.filename}") from None
        try:

            def listens() -> bool:
                if process.poll() is not None:
                    log.seek(0)
                    said = " ".join(log.read().decode(errors="replace").split()[-40:])
                    raise HostError(what, f"ended with status {process.returncode}: {said}")
                with socket.socket() as client:
                    return client.connect_ex((HOST, port)) == 0

            wait_until(f"{what} takes connections", listens)
            yield process.pid
        finally:
            stop(process)


def _agree(proxy: Proxy, port: int) -> None:
    with connect(client_context(), port) as client:
        cipher = client.cipher()
        if cipher is None or cipher[0] != SUITE:
            raise HostError(proxy, f"agrees on {cipher}, not on {SUITE}: the rows would compare ciphers")


@cache
def _certificates() -> Certificates:
    return make_certificates([HOSTNAME])


def _certificate_files() -> dict[str, str]:
    chain, key = _certificates().chain.decode(), _certificates().key.decode()
    return {CHAIN: chain, KEY: key, CHAIN_AND_KEY: chain + key}


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    parents = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = parse_parent((entry / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
    family = [pid]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family


def _cpu_ns(pid: int) -> int:
    return sum(int((task / "schedstat").read_text().split()[0]) for task in (_PROC / str(pid) / "task").iterdir())


def parse_parent(stat: str) -> int:
    """The parent in a text in the format of /proc/PID/stat; a command's name may hold blanks and brackets."""
    return int(stat.rpartition(")")[2].split()[1])


def parse_pss_kib(rollup: str) -> int:
    """The proportional set size in a text in the format of /proc/PID/smaps_rollup."""
    for line in rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise HostError("bench", "the kernel does not say how much memory a process has (smaps_rollup)")
