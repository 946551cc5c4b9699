"""A small valid configuration document to start from in tests."""

from __future__ import annotations

from typing import Any


def small_document() -> dict[str, Any]:
    """One switch, two nodes, one vserver, two servers, as the YAML file has them."""
    return {
        "switches": [
            {"name": "s1", "grpc": "127.0.0.1:9559", "ports": [1, 2, 3], "probe_address": "10.0.0.254"},
        ],
        "nodes": [
            {"name": "n1", "id": 1, "mac": "02:00:00:00:01:01", "ports": {"s1": 2}, "management": "10.255.0.1:8081"},
            {"name": "n2", "id": 2, "mac": "02:00:00:00:01:02", "ports": {"s1": 3}, "management": "10.255.0.2:8081"},
        ],
        "vservers": [
            {
                "name": "web",
                "id": 1,
                "vip": "10.0.0.100",
                "tls": {"certificate": "web.pem", "key": "web.key"},
                "pool": "servers",
                "persistence": {"cookie": {"session_cookie": "session", "secret_file": "cookie.secret"}},
            }
        ],
        "pools": [
            {
                "name": "servers",
                "servers": [
                    {"name": "w1", "id": 1, "address": "10.0.0.31:80"},
                    {"name": "w2", "id": 2, "address": "10.0.0.32:80"},
                ],
            }
        ],
    }


def with_ipv6(document: dict[str, Any]) -> dict[str, Any]:
    """The same with an IPv6 vserver `web6`, id 2, like the first one beside it, and probes of that family."""
    for number, switch in enumerate(document["switches"], start=1):
        switch["probe_address_v6"] = f"2001:db8::fe0{number}"
    document["vservers"].append(document["vservers"][0] | {"name": "web6", "id": 2, "vip": "2001:db8::100"})
    return document


def direct_document() -> dict[str, Any]:
    """The small document, three direct servers and two vservers of theirs: `plain` over TCP, `dns` over UDP."""
    document = small_document()
    document["switches"][0]["ports"] = [1, 2, 3, 4, 5, 6]
    document["nodes"] += [
        {"name": f"d{i}", "id": 10 + i, "kind": "direct", "mac": f"02:00:00:00:02:0{i}", "ports": {"s1": 3 + i}}
        for i in (1, 2, 3)
    ]
    of_both = {"mode": "direct", "vip": "10.0.0.101", "nodes": ["d1", "d2", "d3"], "buckets": 256, "idle_timeout_s": 30}
    document["vservers"] += [
        {"name": "plain", "id": 2, "port": 80} | of_both,
        {"name": "dns", "id": 3, "port": 53, "protocol": "udp", "probe": {"payload": "00FF"}} | of_both,
    ]
    return document


def redundant_document() -> dict[str, Any]:
    """Two schedulers with one arm each, s1 of the higher priority."""
    document = small_document()
    document["switches"] = [
        {
            "name": f"s{number}",
            "grpc": f"127.0.0.1:{9558 + number}",
            "ports": [1],
            "probe_address": f"10.0.0.{255 - number}",
            "priority": 300 - 100 * number,
        }
        for number in (1, 2)
    ]
    for node in document["nodes"]:
        node["ports"] = {"s1": 1, "s2": 1}
    return document
