"""The files that a topology runs on: certificates, secrets, configuration, nginx and curl settings, logs."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from pentaflow.demo.certificates import Authority
from topologies import configuration
from topologies.model import SERVER_PORT, Role, Topology

HASH_KEY_BYTES = 8
SECRET_BYTES = 32
CLIENTS_CA = "ca.pem"


@dataclass(frozen=True, slots=True)
class Files:
    """Where everything is; `folder` is absolute."""

    folder: Path

    @property
    def configuration(self) -> Path:
        """What controller and nodes read."""
        return self.folder / "pentaflow.yaml"

    @property
    def curlrc(self) -> Path:
        """Makes curl trust the throw-away authority and find the vservers' names."""
        return self.folder / ".curlrc"

    @property
    def logs(self) -> Path:
        """One file for each process."""
        return self.folder / "logs"

    @property
    def hosts(self) -> Path:
        """One file for each running host and switch, with the pid that holds its namespaces."""
        return self.folder / "hosts"

    def log(self, name: str) -> Path:
        """What the process of host `name` prints."""
        return self.logs / f"{name}.log"

    def nginx_prefix(self, name: str) -> Path:
        """nginx's own folder of server `name`."""
        return self.folder / "nginx" / name


def prepare(topology: Topology, folder: Path) -> Files:
    """Write all files for `topology` below `folder`, with fresh keys; what an earlier run left there is removed."""
    files = Files(folder)
    for old in (files.logs, files.hosts, folder / "nginx"):
        shutil.rmtree(old, ignore_errors=True)
    files.logs.mkdir(parents=True)
    files.hosts.mkdir()
    clients, management = Authority(), Authority()
    (folder / CLIENTS_CA).write_bytes(clients.certificate)
    (folder / configuration.MANAGEMENT_CA).write_bytes(management.certificate)
    addresses = [node.management.ip for node in topology.of(Role.NODE) if node.management]
    for certificate, key, pair in (
        (configuration.CERTIFICATE, configuration.KEY, clients.issue([vip.hostname for vip in topology.vips])),
        (configuration.NODE_CERTIFICATE, configuration.NODE_KEY, management.issue(["nodes"], addresses)),
        (configuration.CONTROLLER_CERTIFICATE, configuration.CONTROLLER_KEY, management.issue(["controller"])),
    ):
        (folder / certificate).write_bytes(pair.certificate)
        _write_secret(folder / key, pair.key)
    for secret in (configuration.COOKIE_SECRET, configuration.TICKET_SECRET):
        _write_secret(folder / secret, secrets.token_hex(SECRET_BYTES).encode() + b"\n")
    hash_key = secrets.token_hex(HASH_KEY_BYTES)
    files.configuration.write_text(configuration.configuration_yaml(topology, hash_key=hash_key))
    files.curlrc.write_text(curlrc(topology, folder))
    for server in topology.of(Role.SERVER):
        prefix = files.nginx_prefix(server.name)
        prefix.mkdir(parents=True)
        (prefix / "nginx.conf").write_text(nginx_conf(server.name, f"{server.address.ip}:{SERVER_PORT}"))
    return files


def _write_secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_bytes(content)


def curlrc(topology: Topology, folder: Path) -> str:
    """curl's settings on a client of `topology`."""
    resolve = "".join(f'resolve = "{v.hostname}:{v.port}:{v.vip}"\n' for v in topology.vips)
    return f'cacert = "{folder / CLIENTS_CA}"\n{resolve}'


def nginx_conf(name: str, listen: str) -> str:
    """A back end that answers every request with its name, and sets a session cookie at `/login`.

    Args:
        name: the server's name, in the body and in `X-Server`.
        listen: address and port.
    """
    temporary = "\n".join(
        f"    {what}_temp_path tmp_{what};" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    session = configuration.SESSION_COOKIE
    return f"""\
daemon off;
worker_processes 1;
user nobody nogroup;
pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
{temporary}
    access_log off;
    default_type text/plain;
    add_header X-Server {name} always;
    server {{
        listen {listen};
        location / {{
            return 200 "{name}\\n";
        }}
        location /login {{
            add_header X-Server {name} always;
            add_header Set-Cookie "{session}=$request_id; Path=/; HttpOnly; Secure";
            return 200 "logged in at {name}\\n";
        }}
    }}
}}
"""
