"""A declared topology as the configuration that controller and nodes read."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from topologies.model import GRPC_PORT, NODE_STATUS_PORT, REST_PORT, SERVER_PORT, Role, Topology

POOL = "servers"
SESSION_COOKIE = "session"


@dataclass(frozen=True, slots=True, kw_only=True)
class VserverFiles:
    """The files that the configuration names; relative paths are taken from its own folder."""

    certificate: str
    key: str
    cookie_secret: str


def configuration_yaml(topology: Topology, files: VserverFiles, *, hash_key: str) -> str:
    """The YAML document of `pentaflow.config` for `topology`.

    Args:
        topology: what is to run.
        files: certificate, key and cookie secret of every vserver.
        hash_key: 16 hexadecimal digits, the key of the bucket hash.
    """
    document = {
        "controller": {
            "rest": f"{topology.controller.management.ip}:{REST_PORT}",
            "rest_is_open": True,  # in namespaces of its own
        },
        "switches": [
            {
                "name": s.name,
                "grpc": f"{s.management.ip}:{GRPC_PORT}",
                "device_id": s.device_id,
                "ports": list(topology.ports(s.name)),
                "probe_address": str(s.probe_address),
                "priority": s.priority,
                **({"probe_address_v6": str(s.probe_address_v6)} if s.probe_address_v6 else {}),
            }
            for s in topology.schedulers
        ],
        "nodes": [
            {
                "name": n.name,
                "id": n.number,
                "mac": n.mac,
                "ports": topology.ports_to(n),
                "management": f"{n.management.ip}:{NODE_STATUS_PORT}",
                "management_is_open": True,  # in namespaces of its own
            }
            for n in topology.of(Role.NODE)
            if n.management
        ],
        "pools": [
            {
                "name": POOL,
                "servers": [
                    {"name": w.name, "id": w.number, "address": f"{w.address.ip}:{SERVER_PORT}"}
                    for w in topology.of(Role.SERVER)
                ],
            }
        ],
        "vservers": [
            {
                "name": v.name,
                "id": number,
                "vip": str(v.vip),
                "port": v.port,
                "hash_key": hash_key,
                "tls": {"certificate": files.certificate, "key": files.key},
                "pool": POOL,
                "persistence": {
                    "cookie": {"session_cookie": SESSION_COOKIE, "secret_file": files.cookie_secret},
                },
            }
            for number, v in enumerate(topology.vips, start=1)
        ],
    }
    return yaml.safe_dump(document, sort_keys=False)
