"""Vservers of mode `direct` and their nodes: what goes together, and the sentence for what does not [B11]."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pentaflow.errors import ConfigurationError
from pentaflow.modes import NodeKind, Protocol, VserverMode
from pentaflow.node_configuration import NodeConfiguration, vservers_of_nodes
from pentaflow.parsing import parse
from support.configurations import direct_document


def error_of(document: dict[str, Any]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(yaml.safe_dump(document), "array.yaml")
    return str(caught.value)


def test_a_direct_vserver_has_its_own_nodes_and_https_vservers_the_others() -> None:
    configuration = parse(yaml.safe_dump(direct_document()), "array.yaml")
    web, plain, dns = configuration.vservers
    assert [node.name for node in configuration.serving(web)] == ["n1", "n2"]
    assert [node.name for node in configuration.serving(plain)] == ["d1", "d2", "d3"]
    assert (dns.mode, dns.protocol, dns.probe.payload) == (VserverMode.DIRECT, Protocol.UDP, "00ff")
    assert configuration.nodes[2].kind is NodeKind.DIRECT
    assert configuration.nodes[2].management is None
    assert plain.idle_timeout_s < plain.timeouts.keepalive_s, "a proxy's timeouts say nothing about it"


@pytest.mark.parametrize(
    ("vserver", "change", "expected"),
    [
        (0, {"protocol": "udp"}, "vservers[0].protocol: mode https is tcp only; udp needs mode direct"),
        (0, {"tls": None}, "vservers[0].tls: mode https needs it: certificate and key"),
        (0, {"pool": None}, "vservers[0].pool: mode https needs it: the name of a pool"),
        (0, {"nodes": ["d1"]}, "vservers[0].nodes: belongs to mode direct; the mode of web is https"),
        (1, {"nodes": None}, "vservers[1].nodes: mode direct needs it: names of nodes of kind direct"),
        (1, {"nodes": []}, "vservers[1].nodes: Tuple should have at least 1 item"),
        (1, {"pool": "servers"}, "vservers[1].pool: belongs to mode https, http or passthrough; the mode of plain"),
        (1, {"tls": {"certificate": "a", "key": "b"}}, "vservers[1].tls: belongs to mode https"),
        (1, {"timeouts": {"keepalive_s": 5}}, "vservers[1].timeouts: belongs to mode https"),
        (1, {"persistence": {"cookie": {"session_cookie": "s", "mode": "plain"}}}, "vservers[1].persistence: belongs"),
        (1, {"probe": {"payload": "00"}}, "vservers[1].probe: belongs to protocol udp; tcp is probed with a SYN"),
        (1, {"nodes": ["d1", "d9"]}, "vservers[1].nodes[1]: no node 'd9'; there is 'd1', 'd2', 'd3'"),
        (1, {"nodes": ["n1"]}, "vservers[1].nodes[0]: n1 is a node of kind tls; expected one of kind direct"),
        (1, {"nodes": ["d1", "d1"]}, "vservers[1].nodes[1]: d1 is named twice"),
        (2, {"nodes": ["d2"]}, "vservers[2].nodes[0]: d2 also serves plain, whose nodes are others: expected the same"),
        (2, {"probe": {"payload": "0"}}, "vservers[2].probe.payload: '0' is not up to 1,024 bytes"),
        (2, {"probe": {"payload": 1234}}, "vservers[2].probe.payload: expected hexadecimal digits in quotes"),
        (2, {"mode": "tcp"}, "vservers[2].mode: Input should be 'https', 'http', 'passthrough' or 'direct'"),
        (1, {"redirect": {"to": "https"}}, "vservers[1].redirect: belongs to mode http; the mode of plain is direct"),
    ],
)
def test_what_does_not_go_together_is_refused_with_its_place(
    vserver: int, change: dict[str, Any], expected: str
) -> None:
    document = direct_document()
    document["vservers"][vserver] |= change
    assert expected in error_of(document)


def test_a_tls_node_needs_a_management_address() -> None:
    document = direct_document()
    del document["nodes"][0]["management"]
    assert "nodes[0].management: a node of kind tls needs it: host:port" in error_of(document)


def http_document(**vserver: Any) -> dict[str, Any]:
    document = direct_document()
    document["vservers"] = [{"name": "web", "id": 1, "mode": "http", "vip": "10.0.0.100"} | vserver]
    return document


def test_an_http_vserver_has_a_pool_or_redirects() -> None:
    for given in ({"pool": "servers"}, {"redirect": {"to": "https"}}):
        configuration = parse(yaml.safe_dump(http_document(**given)), "array.yaml")
        (vserver,) = configuration.vservers
        assert vserver.mode.is_proxied
        assert vserver.port == 80
        assert [node.name for node in configuration.serving(vserver)] == ["n1", "n2"]
        assert vservers_of_nodes(configuration) == (vserver,)
    assert parse(yaml.safe_dump(http_document(pool="servers", port=8080)), "array.yaml").vservers[0].port == 8080
    assert parse(yaml.safe_dump(direct_document()), "array.yaml").vservers[0].port == 443


@pytest.mark.parametrize(
    ("vserver", "expected"),
    [
        ({}, "vservers[0].pool: mode http needs it: the name of a pool, or redirect"),
        ({"pool": "servers", "protocol": "udp"}, "vservers[0].protocol: mode http is tcp only; udp needs mode direct"),
        ({"pool": "servers", "tls": {"certificate": "a", "key": "b"}}, "vservers[0].tls: belongs to mode https; the"),
        ({"pool": "servers", "nodes": ["d1"]}, "vservers[0].nodes: belongs to mode direct; the mode of web is http"),
        ({"pool": "servers", "persistence": {"ticket": {}}}, "vservers[0].persistence.ticket: belongs to mode https"),
        (
            {"tls": {"certificate": "a", "key": "b"}, "mode": "https", "pool": "servers"}
            | {"persistence": {"tls_session_ids": {"secret_file": "a"}}},
            "vservers[0].persistence.tls_session_ids: needs a store, where all workers find what one",
        ),
        (
            {"pool": "servers", "persistence": {"tls_session_ids": {"secret_file": "a"}}},
            "vservers[0].persistence.tls_session_ids: belongs to mode https",
        ),
        ({"pool": "servers", "timeouts": {"keepalive_s": 90}}, "vservers[0]: idle_timeout_s (90) must exceed timeouts"),
        ({"redirect": {"to": "https"}, "pool": "servers"}, "vservers[0].pool: a vserver that redirects has no servers"),
        (
            {"redirect": {"to": "https"}, "persistence": {"cookie": {"session_cookie": "s", "mode": "plain"}}},
            "vservers[0].persistence: a vserver that redirects has no servers",
        ),
        (
            {"redirect": {"to": "https"}, "forwarding": {"request_id": True}},
            "vservers[0].forwarding: a vserver that redirects has no servers",
        ),
        (
            {"pool": "servers", "forwarding": {"trusted_proxies": ["192.0.2.1/24"]}},
            "trusted_proxies[0]: '192.0.2.1/24' is not a network like 192.0.2.0/24: 192.0.2.1/24 has host bits set",
        ),
        ({"pool": "servers", "forwarding": {"trusted_proxies": [1]}}, "trusted_proxies[0]: 1 is not a network like"),
        ({"redirect": {}}, "vservers[0].redirect.to: "),
        ({"redirect": {"to": "https", "status": 303}}, "vservers[0].redirect.status: Input should be 301, 302, 307"),
        ({"redirect": {"to": "https", "port": 0}}, "vservers[0].redirect.port: Input should be greater than or equal"),
    ],
)
def test_what_an_http_vserver_cannot_have(vserver: dict[str, Any], expected: str) -> None:
    assert expected in error_of(http_document(**vserver))


def passthrough_document(**vserver: Any) -> dict[str, Any]:
    document = direct_document()
    document["pools"] += [
        document["pools"][0] | {"name": "shop"},
        document["pools"][0] | {"name": "by-url", "policy": "url_hash"},
    ]
    document["vservers"] = [
        {"name": "web", "id": 1, "mode": "passthrough", "vip": "10.0.0.100", "pool": "servers"} | vserver
    ]
    return document


def route(*names: str, pool: str = "shop") -> dict[str, Any]:
    return {"names": list(names), "pool": pool}


def test_a_passthrough_vserver_has_a_pool_and_routes_to_others() -> None:
    given = passthrough_document(routes=[route("A.example", "*.a.example"), route("b.example", pool="servers")])
    configuration = parse(yaml.safe_dump(given), "array.yaml")
    (vserver,) = configuration.vservers
    assert (vserver.mode.is_proxied, vserver.port) == (True, 443)
    assert [found.names for found in vserver.routes] == [("a.example", "*.a.example"), ("b.example",)]
    assert [node.name for node in configuration.serving(vserver)] == ["n1", "n2"]
    node = NodeConfiguration.of(configuration, "n1", {}, version=1)
    assert [pool.name for pool in node.pools_of(vserver)] == ["servers", "shop"]


@pytest.mark.parametrize(
    ("vserver", "expected"),
    [
        ({"pool": None}, "vservers[0].pool: mode passthrough needs it: the name of a pool"),
        ({"protocol": "udp"}, "vservers[0].protocol: mode passthrough is tcp only; udp needs mode direct"),
        ({"tls": {"certificate": "a", "key": "b"}}, "vservers[0].tls: belongs to mode https; the mode of web is pass"),
        ({"redirect": {"to": "https"}}, "vservers[0].redirect: belongs to mode http; the mode of web is passthrough"),
        ({"forwarding": {"request_id": True}}, "vservers[0].forwarding: belongs to mode https or http; the mode of"),
        (
            {"persistence": {"cookie": {"session_cookie": "s", "mode": "plain"}}},
            "vservers[0].persistence.cookie: belongs to other modes; web, of mode passthrough, decrypts nothing",
        ),
        ({"timeouts": {"header_s": 5}}, "vservers[0].timeouts.header_s: belongs to other modes"),
        ({"limits": {"max_requests": 5}}, "vservers[0].limits.max_requests: belongs to other modes"),
        (
            {"persistence": {"ticket": {}}},
            "vservers[0].persistence.ticket: belongs to mode https; the mode of web is",
        ),
        (
            {"persistence": {"learn": {}}},
            "vservers[0].persistence.learn: needs a store, where all workers find what one",
        ),
        (
            {"mode": "http", "persistence": {"learn": {}}},
            "vservers[0].persistence.learn: belongs to mode passthrough; the mode of web is http",
        ),
        (
            {"mode": "http", "persistence": {"session_ids": {}}},
            "vservers[0].persistence.session_ids: belongs to mode passthrough; the mode of web is http",
        ),
        (
            {"persistence": {"session_ids": {"default_server": "w9"}}},
            "vservers[0].persistence.session_ids.default_server: pool servers has no server 'w9'",
        ),
        (
            {"persistence": {"session_ids": {"shared": [["w1", "w8"]]}}},
            "vservers[0].persistence.session_ids.shared[0][1]: pool servers has no server 'w8'",
        ),
        ({"pool": "by-url"}, "vservers[0].pool: the policy of by-url is url_hash, and web sees no URLs"),
        ({"routes": [route("a.b", pool="by-url")]}, "vservers[0].pool: the policy of by-url is url_hash"),
        ({"routes": [route("a.b", pool="shap")]}, "vservers[0].routes[0].pool: no pool 'shap'; did you mean 'shop'?"),
        ({"routes": [route("a.b"), route("c", "A.b")]}, "vservers[0].routes[1].names[1]: a.b is used twice"),
        ({"routes": [route("*")]}, "vservers[0].routes[0].names[0]: '*' is neither a host name nor one like *.example"),
        ({"routes": [route("a.*.b")]}, "vservers[0].routes[0].names[0]: 'a.*.b' is neither"),
        ({"routes": [route()]}, "vservers[0].routes[0].names: Tuple should have at least 1 item"),
        ({"mode": "https", "routes": [route("a.b")]}, "vservers[0].tls: mode https needs it"),
        (
            {"mode": "http", "routes": [route("a.b")]},
            "vservers[0].routes: belongs to mode passthrough; the mode of web",
        ),
    ],
)
def test_what_does_not_go_with_passthrough_is_refused_with_its_place(vserver: dict[str, Any], expected: str) -> None:
    assert expected in error_of(passthrough_document(**vserver))
