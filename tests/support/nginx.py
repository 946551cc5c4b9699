"""A real nginx as a back end, with everything it writes in a folder of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from support.ports import free_port

_FIELDS = (
    "cookie",
    "host",
    "x_forwarded_for",
    "x_forwarded_proto",
    "x_forwarded_host",
    "via",
    "forwarded",
    "x_request_id",
    "connection",
    "te",
)

_CONFIGURATION = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    keepalive_requests 100000000;
    default_type text/plain;
    server {{
        listen {address}:{port} backlog=1024 {options};
        {directives}
        root {folder}/files;
        location = / {{
            if (-f {folder}/files/failing) {{ return 500 "{name} fails\\n"; }}
            return 200 "{name}\\n";
        }}
        location = /fields {{
            return 200 "{fields}";
        }}
        location = /connection {{
            return 200 "$proxy_protocol_addr $proxy_protocol_server_port $connection {tls}";
        }}
        location = /login {{
            add_header Set-Cookie "SESSION=s-{name}; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=3600";
            return 200 "{name}\\n";
        }}
        location = /logout {{
            add_header Set-Cookie "SESSION=; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=0";
            return 200 "{name}\\n";
        }}
        location = /moved {{ return 302 /; }}
        location = /empty {{ return 204; }}
        location = /connections {{ stub_status; }}
        location /files/ {{
            alias {folder}/files/;
            dav_methods PUT;
            gzip on;
            gzip_min_length 1;
            gzip_proxied any;
            gzip_types *;
        }}
        location /plain/ {{ alias {folder}/files/; }}
    }}
}}
"""


class Nginx:
    """One nginx process that listens on a loopback address; a context manager.

    Args:
        name: what `GET /` answers.
        folder: where its configuration, logs and files go.
        address: loopback address to listen on.
        port: 0 for a free one.
        options: of its `listen`, such as `ssl`.
        directives: more of its `server` block.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        options: str = "",
        directives: str = "",
    ) -> None:
        self.name = name
        self.folder = folder
        self.address = address
        self.port = port or free_port(address)
        self._options = options
        self._directives = directives
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def files(self) -> Path:
        """What it serves under /files/ (compressed when asked) and /plain/; with a file `failing` `GET /` is a 500."""
        return self.folder / "files"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.files.mkdir(parents=True, exist_ok=True)
        # nginx's workers may drop root; what it writes has to stay writable.
        for path in (self.folder, self.files):
            path.chmod(0o777)
        configuration = self.folder / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                folder=self.folder,
                address=self.address,
                port=self.port,
                name=self.name,
                options=self._options,
                tls="$ssl_session_reused $ssl_server_name",
                directives=self._directives,
                fields="".join(f"{field}=$http_{field}\\n" for field in _FIELDS),
            )
        )
        self._process = subprocess.Popen(
            ["/usr/sbin/nginx", "-p", str(self.folder), "-c", str(configuration), "-e", f"{self.folder}/error.log"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = (self.folder / "error.log").read_text()
                self.stop()
                raise RuntimeError(f"nginx {self.name} did not start: {log}")
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    stop = kill

    def accepted(self) -> int:
        """How many connections it has accepted, with the one that asks."""
        with urllib.request.urlopen(f"http://{self.address}:{self.port}/connections", timeout=30) as answer:
            return int(answer.read().split()[7])  # below "server accepts handled requests"

    def _answers(self) -> bool:
        try:
            socket.create_connection((self.address, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
