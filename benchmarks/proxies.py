"""The TLS proxies that are measured against each other: how each is configured and started (pure)."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path

from benchmarks.figures import Better
from benchmarks.harness import Benchmark, Peer, Profile

HOST = "127.0.0.1"
CHAIN, KEY, CHAIN_AND_KEY = "web.pem", "web.key", "web.both.pem"
VSERVER, VSERVER_ID, SERVER_ID = "web", 1, 1
SESSION_COOKIE = "session"
SECRET, COOKIE_SECRET = "cookie.key", bytes(32)
MAX_CONNECTIONS = 8000
"""Of clients; a proxy may have as many to the back end again."""

# Mozilla's intermediate policy, as the node has it, with the server's preference.
_CIPHERS = ":".join(
    f"ECDHE-{key}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for key in ("ECDSA", "RSA")
)
_SUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_CURVES = "X25519:prime256v1:secp384r1"

_HAPROXY = """\
global
    nbthread 1
    maxconn {connections}
    ssl-default-bind-options ssl-min-ver TLSv1.2
    ssl-default-bind-ciphers {ciphers}
    ssl-default-bind-ciphersuites {suites}
    ssl-default-bind-curves {curves}
    tune.ssl.cachesize 20000
defaults
    mode http
    option http-keep-alive
    option forwardfor
    http-reuse always
    timeout connect 3s
    timeout http-request 10s
    timeout http-keep-alive 60s
    timeout client 60s
    timeout server 60s
frontend web
    bind {host}:{port} ssl crt {chain_and_key} alpn http/1.1
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    default_backend servers
backend servers
    server w1 {host}:{back_end} pool-max-conn -1
"""

_NGINX = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid nginx.pid;
events {{ worker_connections {files}; }}
http {{
    access_log off;
    ssl_certificate {chain};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_prefer_server_ciphers on;
    ssl_ciphers {ciphers};
    ssl_conf_command Ciphersuites {suites};
    ssl_ecdh_curve {curves};
    ssl_session_cache shared:sessions:10m;
    keepalive_timeout 60s;
    keepalive_requests 1000000000;
    upstream servers {{
        server {host}:{back_end};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {host}:{port} ssl backlog=4096;
        location / {{
            proxy_pass http://servers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
            proxy_buffer_size 16k;
            proxy_buffers 8 32k;
            proxy_max_temp_file_size 0;
        }}
    }}
}}
"""


class Proxy(StrEnum):
    """What stands between the clients and the back end: one worker, one thread."""

    NODE = "node"
    NODE_WITH_COOKIES = "node-with-cookies"
    NODE_WITH_TICKETS = "node-with-tickets"
    HAPROXY = "haproxy"
    NGINX = "nginx"

    def files(self, port: int, back_end: int) -> Mapping[str, str]:
        """The configuration, then what it needs, by file name; it names the certificate's files in the same folder.

        Args:
            port: where it listens.
            back_end: the port of the only server.
        """
        match self:
            case Proxy.NODE | Proxy.NODE_WITH_COOKIES | Proxy.NODE_WITH_TICKETS:
                document = node_document(port, back_end, _PERSISTENCE.get(self, {}))
                return {"array.yaml": json.dumps(document), SECRET: f"{COOKIE_SECRET.hex()}\n"}
            case Proxy.HAPROXY | Proxy.NGINX:
                template = _HAPROXY if self is Proxy.HAPROXY else _NGINX
                text = template.format(
                    host=HOST,
                    port=port,
                    back_end=back_end,
                    connections=MAX_CONNECTIONS,
                    files=2 * MAX_CONNECTIONS,
                    ciphers=_CIPHERS,
                    suites=_SUITES,
                    curves=_CURVES,
                    chain=CHAIN,
                    key=KEY,
                    chain_and_key=CHAIN_AND_KEY,
                )
                return {f"{self}.conf": text}

    def command(self, folder: Path) -> Sequence[str]:
        """Its command line, run in the folder of its files."""
        match self:
            case Proxy.NODE | Proxy.NODE_WITH_COOKIES | Proxy.NODE_WITH_TICKETS:
                node = ("node", "array.yaml", "n1", "--workers", "1", "--vips", "external")
                return [sys.executable, "-m", "pentaflow", "--log-level", "warning", *node]
            case Proxy.HAPROXY:
                return ["haproxy", "-q", "-db", "-f", "haproxy.conf"]
            case Proxy.NGINX:
                return nginx_command(folder)

    @property
    def is_installed(self) -> bool:
        """Whether it can be measured here."""
        return self not in {Proxy.HAPROXY, Proxy.NGINX} or shutil.which(self) is not None


_PERSISTENCE: Mapping[Proxy, Mapping[str, object]] = {
    Proxy.NODE_WITH_COOKIES: {"cookie": {"session_cookie": SESSION_COOKIE, "secret_file": SECRET}},
    Proxy.NODE_WITH_TICKETS: {"ticket": {}},
}


def nginx_command(folder: Path) -> Sequence[str]:
    """How nginx is run with the `nginx.conf` of a folder."""
    return ["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]


def node_document(port: int, back_end: int, persistence: Mapping[str, object]) -> dict[str, object]:
    """The node's configuration: one vserver on loopback, one server; the array around it is not there."""
    return {
        "switches": [{"name": "s1", "grpc": f"{HOST}:1", "ports": [1], "probe_address": "10.0.0.254"}],
        "nodes": [{"name": "n1", "id": 1, "mac": "02:00:00:00:01:01", "ports": {"s1": 1}, "management": f"{HOST}:0"}],
        "pools": [{"name": "servers", "servers": [{"name": "w1", "id": SERVER_ID, "address": f"{HOST}:{back_end}"}]}],
        "vservers": [
            {
                "name": VSERVER,
                "id": VSERVER_ID,
                "vip": HOST,
                "port": port,
                "tls": {"certificate": CHAIN, "key": KEY},
                "pool": "servers",
                "persistence": persistence,
            }
        ],
    }


def against_proxies(
    *, name: str, unit: str, better: Better, sample: Callable[[Proxy, Profile], Mapping[str, float]]
) -> Benchmark:
    """A row that measures the node, and HAProxy and nginx in the same way where they are installed."""
    peers = tuple(
        Peer(name=proxy, is_installed=partial(_is_installed, proxy), sample=partial(sample, proxy))
        for proxy in (Proxy.HAPROXY, Proxy.NGINX)
    )
    return Benchmark(name=name, unit=unit, better=better, sample=partial(sample, Proxy.NODE), peers=peers)


def against_no_persistence(
    *, name: str, unit: str, proxy: Proxy, sample: Callable[[Proxy, Profile], Mapping[str, float]]
) -> Benchmark:
    """A row that measures what persistence costs a node: more is better, and 1 is nothing at all."""
    peer = Peer(name="the node without it", is_installed=lambda: True, sample=partial(sample, Proxy.NODE))
    return Benchmark(name=name, unit=unit, better=Better.MORE, sample=partial(sample, proxy), peers=(peer,))


def _is_installed(proxy: Proxy) -> bool:
    return proxy.is_installed
