"""A declared topology as the configuration that controller and nodes read."""

from __future__ import annotations

import yaml

from topologies.model import GRPC_PORT, NODE_STATUS_PORT, REST_PORT, SERVER_PORT, Role, Topology

POOL = "servers"
SESSION_COOKIE = "session"

# What the configuration names, in its own folder.
CERTIFICATE, KEY = "server.pem", "server.key"
COOKIE_SECRET = "cookie.key"
TICKET_SECRET = "tickets.key"
MANAGEMENT_CA = "management-ca.pem"
NODE_CERTIFICATE, NODE_KEY = "nodes.pem", "nodes.key"
CONTROLLER_CERTIFICATE, CONTROLLER_KEY = "controller.pem", "controller.key"


def configuration_yaml(topology: Topology, *, hash_key: str) -> str:
    """The YAML document of `pentaflow.config` for `topology`.

    Args:
        topology: what is to run.
        hash_key: 16 hexadecimal digits, the key of the bucket hash.
    """
    document = {
        "controller": {
            "rest": f"{topology.controller.management.ip}:{REST_PORT}",
            "rest_is_open": True,  # in namespaces of its own
            "health": {
                "management": {
                    "protocol": "https",
                    "ca": MANAGEMENT_CA,
                    "certificate": CONTROLLER_CERTIFICATE,
                    "key": CONTROLLER_KEY,
                }
            },
            "ticket_keys": {"secret_file": TICKET_SECRET},
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
                "management_tls": {"ca": MANAGEMENT_CA, "certificate": NODE_CERTIFICATE, "key": NODE_KEY},
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
                "tls": {"certificate": CERTIFICATE, "key": KEY},
                "pool": POOL,
                "persistence": {
                    "cookie": {"session_cookie": SESSION_COOKIE, "secret_file": COOKIE_SECRET},
                    "ticket": {},
                },
            }
            for number, v in enumerate(topology.vips, start=1)
        ],
    }
    return yaml.safe_dump(document, sort_keys=False)
