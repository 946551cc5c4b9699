"""What the configuration schema takes, and the place and sentence that wrong input gets."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from pentaflow.config import Configuration, HostPort, Policy, Pool, VserverTls, format_mac, parse_mac
from pentaflow.errors import ConfigurationError
from pentaflow.hash import HashKeyKind
from pentaflow.parsing import parse
from support.configurations import small_document, with_ipv6


def parse_document(document: dict[str, Any]) -> Configuration:
    return parse(yaml.safe_dump(document), "array.yaml")


def error_of(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(dedent(text).lstrip("\n"), "array.yaml")
    return str(caught.value)


def change(path: str, value: object) -> dict[str, Any]:
    """The small document with `value` at a dotted path (numbers index lists)."""
    document: Any = small_document()
    node = document
    *parents, last = path.split(".")
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    node[last] = value
    result: dict[str, Any] = document
    return result


def test_a_small_configuration_with_its_defaults() -> None:
    configuration = parse_document(small_document())
    (switch,), (vserver,), (pool,) = configuration.switches, configuration.vservers, configuration.pools
    assert switch.grpc == HostPort(host="127.0.0.1", port=9559)
    assert switch.device_id == 1
    assert switch.probe_address == IPv4Address("10.0.0.254")
    assert [node.weight for node in configuration.nodes] == [1, 1]
    assert (vserver.protocol, vserver.port, vserver.buckets, vserver.hash) == ("tcp", 443, 4096, HashKeyKind.SRC_PORT)
    assert vserver.hash_key is None
    assert vserver.persistence.cookie
    assert vserver.persistence.cookie.server_cookie == "SpServer"
    assert pool.policy is Policy.ROUND_ROBIN
    assert str(pool.servers[1].address) == "10.0.0.32:80"
    assert configuration.controller.health.fall == 3


def test_relative_paths_are_taken_from_the_base_folder_and_absolute_ones_kept() -> None:
    document = change("vservers.0.tls", {"certificate": "certificates/web.pem", "key": "/etc/keys/web.key"})
    (vserver,) = parse(yaml.safe_dump(document), "array.yaml", base=Path("/srv/array")).vservers
    assert vserver.tls is not None
    assert vserver.tls.certificate == Path("/srv/array/certificates/web.pem")
    assert vserver.tls.key == Path("/etc/keys/web.key")
    assert vserver.persistence.cookie
    assert vserver.persistence.cookie.secret_file == Path("/srv/array/cookie.secret")


def test_the_tls_of_a_vserver_with_all_its_files() -> None:
    tls = {
        "certificate": "web.pem",
        "key": "web.key",
        "ocsp": "web.ocsp",
        "more": [{"certificate": "rsa.pem", "key": "/keys/rsa.key", "ocsp": "rsa.ocsp"}],
        "policy": "modern",
        "clients": {"ca": "clients.pem", "crl": "clients.crl", "required": False},
    }
    document = change("vservers.0.tls", tls)
    (vserver,) = parse(yaml.safe_dump(document), "array.yaml", base=Path("/srv")).vservers
    found = vserver.tls
    assert found is not None
    assert found.clients is not None
    assert (found.ocsp, found.more[0].key, found.more[0].ocsp) == (
        Path("/srv/web.ocsp"),
        Path("/keys/rsa.key"),
        Path("/srv/rsa.ocsp"),
    )
    assert (found.policy, found.clients.ca, found.clients.crl) == (
        "modern",
        Path("/srv/clients.pem"),
        Path("/srv/clients.crl"),
    )
    assert VserverTls.model_validate_json(found.model_dump_json()) == found
    plain = parse_document(small_document()).vservers[0].tls
    assert plain is not None
    assert (plain.ocsp, plain.more, plain.policy, plain.clients) == (None, (), "intermediate", None)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("policy", "old", "vservers[0].tls.policy: Input should be 'intermediate' or 'modern'"),
        ("clients", {"crl": "a"}, "vservers[0].tls.clients.ca: required key is missing"),
        ("more", [{"certificate": "a"}], "vservers[0].tls.more[0].key: required key is missing"),
        ("more", [{"certificate": "a", "key": "b", "oscp": "c"}], "unknown key; did you mean 'ocsp'?"),
    ],
)
def test_tls_that_cannot_be_is_refused(path: str, value: object, expected: str) -> None:
    document = small_document()
    document["vservers"][0]["tls"][path] = value
    assert expected in error_of(yaml.safe_dump(document))


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(parse_document(small_document()).vservers[0], "port", 80)  # noqa: B010 - mypy refuses the plain form


def test_a_hash_key_is_read_and_never_shown() -> None:
    configuration = parse_document(change("vservers.0.hash_key", "0123456789abcDEF"))
    key = configuration.vservers[0].hash_key
    assert key
    assert key.get_secret_value() == "0123456789abcDEF"
    assert "0123456789abcDEF" not in repr(configuration) + configuration.model_dump_json()


def test_unknown_key_gets_a_suggestion_and_its_line() -> None:
    text = """
        controller:
          rest: 127.0.0.1:8080
          helth: {fall: 2}
        """
    assert error_of(text) == "array.yaml:3: controller.helth: unknown key; did you mean 'health'?"


def test_unknown_key_in_a_list_gets_the_names_there_are_when_none_is_near() -> None:
    text = """
        pools:
          - name: servers
            servers:
              - {name: w1, id: 1, address: "10.0.0.31:80"}
              - name: w2
                id: 2
                colour: red
                address: "10.0.0.32:80"
        """
    names = "'name', 'id', 'address', 'weight', 'max_connections'"
    expected = f"array.yaml:7: pools[0].servers[1].colour: unknown key; there is {names}"
    assert error_of(text) == expected


def test_missing_key_is_named_with_the_line_of_what_lacks_it() -> None:
    text = """
        switches:
          - name: s1
            ports: [1, 2]
            probe_address: 10.0.0.254
        """
    assert error_of(text) == "array.yaml:2: switches[0].grpc: required key is missing"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("vservers.0.buckets", 1000, "vservers[0].buckets: 1000 is not a power of two"),
        ("vservers.0.buckets", 128, "vservers[0].buckets: Input should be greater than or equal to 256"),
        ("vservers.0.hash", "crc", "vservers[0].hash: 'crc' is not one of src, src_port, 5tuple"),
        ("vservers.0.hash_key", "not-a-key", "vservers[0].hash_key: expected 16 hexadecimal digits"),
        ("vservers.0.protocol", "udp", "vservers[0].protocol: mode https is tcp only"),
        ("vservers.0.vip", "10.0.0.256", "vservers[0].vip: '10.0.0.256' is not an IPv4 or IPv6 address"),
        ("vservers.0.persistence.cookie.session_cookie", "a b", "vservers[0].persistence.cookie.session_cookie: "),
        ("vservers.0.persistence.cookie.secret_file", None, "mode authenticated needs a secret_file"),
        ("vservers.0.persistence.cookie.server_cookie", "session", "session_cookie and server_cookie must differ"),
        ("vservers.0.persistence", {"ticket": {"lifetime_s": 604801}}, "less than or equal to 604800"),
        ("vservers.0.persistence", {"ticket": {"servers": 5}}, "vservers[0].persistence.ticket.servers: "),
        ("vservers.0.idle_timeout_s", 60, "idle_timeout_s (60) must exceed timeouts.keepalive_s (60)"),
        ("vservers.0.timeouts", {"response_s": 90}, "idle_timeout_s (90) must exceed timeouts.response_s (90)"),
        ("vservers.0.id", True, "vservers[0].id: Input should be a valid integer"),
        ("vservers.0.vip", 167772260, "vservers[0].vip: 167772260 is not an IPv4 or IPv6 address"),
        ("nodes.0.mac", "02:00:00:00:01", "nodes[0].mac: '02:00:00:00:01' is not a MAC address like "),
        ("nodes.0.mac", "-1:00:00:00:00:01", "nodes[0].mac: '-1:00:00:00:00:01' is not a MAC address like "),
        ("nodes.0.mac", "01:00:5e:00:00:01", "nodes[0].mac: 01:00:5e:00:00:01 is not a unicast MAC address"),
        ("nodes.0.management", "localhost", "nodes[0].management: 'localhost' is not host:port"),
        ("nodes.0.management", "localhost:99999", "nodes[0].management.port: Input should be less than or equal to"),
        ("nodes.0.name", "n 1", "nodes[0].name: String should match pattern"),
        ("nodes.0.ports", {"s1": 2, "a b": 1}, "nodes[0].ports.a b: String should match pattern"),
        ("switches.0.ports", [1, 510], "switches[0].ports[1]: Input should be less than or equal to 509"),
        ("switches.0.ports", [], "switches[0].ports: Tuple should have at least 1 item"),
        ("pools.0.servers", [], "pools[0].servers: Tuple should have at least 1 item"),
        ("controller.health", {"fall": 0}, "controller.health.fall: Input should be greater than or equal to 1"),
    ],
)
def test_wrong_value_is_named_with_its_path(path: str, value: object, expected: str) -> None:
    message = error_of(yaml.safe_dump(change(path, value)))
    assert message.startswith("array.yaml:")
    assert expected in message


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("nodes.1.name", "n1", "nodes[1].name: n1 is used twice"),
        ("nodes.1.id", 1, "nodes[1].id: 1 is used twice"),
        ("nodes.1.mac", "02:00:00:00:01:01", "nodes[1].mac: 02:00:00:00:01:01 is used twice"),
        ("pools.0.servers.1.id", 1, "pools[0].servers[1].id: 1 is used twice"),
        ("pools.0.servers.1.name", "w1", "pools[0].servers[1].name: w1 is used twice"),
        ("vservers.0.pool", "server", "vservers[0].pool: no pool 'server'; did you mean 'servers'?"),
        ("nodes.0.ports", {"s1a": 2}, "nodes[0].ports.s1a: no switch 's1a'; did you mean 's1'?"),
        ("nodes.0.ports", {"core": 2}, "nodes[0].ports.core: no switch 'core'; there is 's1'"),
        ("nodes.0.ports", {"s1": 9}, "nodes[0].ports.s1: switch s1 has no port 9"),
        ("switches.0.probe_address", "10.0.0.100", "switches[0].probe_address: 10.0.0.100 is a VIP; probes need"),
    ],
)
def test_duplicates_and_names_that_nothing_has(path: str, value: object, expected: str) -> None:
    text = yaml.safe_dump(change(path, value), sort_keys=False)
    message = error_of(text)
    found = re.match(r"array\.yaml:(\d+): (.*)", message)
    assert found is not None, message
    assert found[2].startswith(expected)
    key = re.split(r"[.:]", expected.split(": ")[0])[-1]
    assert f"{key}:" in text.splitlines()[int(found[1]) - 1]


@pytest.mark.parametrize("what", ["switches", "vservers", "pools"])
def test_two_of_one_name(what: str) -> None:
    document = small_document()
    document[what] = [*document[what], *document[what]]
    name = document[what][0]["name"]
    assert error_of(yaml.safe_dump(document)).endswith(f": {what}[1].name: {name} is used twice")


def test_two_vservers_at_one_address_and_port() -> None:
    document = small_document()
    document["vservers"].append(document["vservers"][0] | {"name": "shop", "id": 2})
    assert error_of(yaml.safe_dump(document)).endswith("vservers[1].vip: 10.0.0.100:443/tcp is used twice")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "array.yaml: expected a mapping with the keys controller, store, switches, nodes, vservers, pools"),
        ("- 1", "array.yaml: expected a mapping with the keys controller, store, switches, nodes, vservers, pools"),
        ("controller:\n  rest: 'a", "array.yaml:2: not YAML: found unexpected end of stream"),
        ("pools: []\npools: []", "array.yaml:2: not YAML: key 'pools' is given twice"),
        ("pools: 2001-99-99", "array.yaml:1: not YAML: '2001-99-99' is no timestamp"),
        ("pools: !!python/object:os.system x", "array.yaml:1: not YAML: could not determine a constructor"),
        ("pools: []\n---\npools: []", "array.yaml:2: not YAML: but found another document"),
        ("pools: \0", "array.yaml: not YAML: unacceptable character #x0000"),
        ("[" * 5000, "array.yaml: not a configuration: nested too deeply"),
        ("1: 2", "array.yaml:1: [1]: Keys should be strings"),
        ('"a\\nb": 2', "array.yaml:1: 'a\\nb': unknown key"),
    ],
)
def test_what_is_no_configuration_at_all(text: str, expected: str) -> None:
    message = error_of(text)
    assert message.startswith(expected)
    assert "\n" not in message


def test_merge_keys_and_anchors_work_and_lines_point_at_what_counts() -> None:
    text = """
        pools:
          - name: servers
            servers:
              - &first {name: w1, id: 1, address: "10.0.0.31:80", weight: 5}
              - <<: *first
                name: w2
                id: 0
        """
    assert error_of(text) == "array.yaml:7: pools[0].servers[1].id: Input should be greater than or equal to 1"


@pytest.mark.parametrize("text", ["02:00:00:00:00:01", "FE:dc:BA:98:76:54"])
def test_mac_addresses_both_ways(text: str) -> None:
    assert format_mac(parse_mac(text)) == text.lower()


@pytest.mark.parametrize("text", ["02-00-00-00-00-01", "0_:00:00:00:00:01", "00:00:00:00:00:00", "02:00:00:00:00:0g"])
def test_what_is_no_mac_address(text: str) -> None:
    with pytest.raises(ValueError, match="MAC address"):
        parse_mac(text)


def test_health_has_a_guard_damping_and_a_management_check() -> None:
    health = parse_document(small_document()).controller.health
    assert (health.guard.share, health.guard.hold_s, health.vip_withdrawal) == (0.5, 10, True)
    assert (health.damping.suppress, health.management.protocol) == (2.5, "http")
    forever = parse_document(change("controller.health.guard", {"hold_s": None}))
    assert forever.controller.health.guard.hold_s is None


def test_the_files_of_the_rest_api_are_taken_from_the_base_folder() -> None:
    document = change("controller", {"tokens": "tokens.yaml", "tls": {"certificate": "c.pem", "key": "c.key"}})
    controller = parse(yaml.safe_dump(document), "array.yaml", base=Path("/srv/array")).controller
    assert controller.tokens == Path("/srv/array/tokens.yaml")
    assert controller.tls is not None
    assert (controller.tls.certificate, controller.tls.key) == (Path("/srv/array/c.pem"), Path("/srv/array/c.key"))


def test_the_authority_of_management_addresses_is_taken_from_the_base_folder() -> None:
    document = change("controller.health.management", {"protocol": "https", "ca": "nodes.pem"})
    configuration = parse(yaml.safe_dump(document), "array.yaml", base=Path("/srv/array"))
    assert configuration.controller.health.management.ca == Path("/srv/array/nodes.pem")


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("controller.health.damping", {"reuse": 3}, "reuse (3) must be less than suppress (2.5)"),
        (
            "controller.health.damping",
            {"suppress": 4, "max_hold_s": 50},
            "no penalty reaches suppress: max_hold_s is too short for half_life_s",
        ),
        ("controller.health.management", {"protocol": "https"}, "ca goes with protocol https, and https with ca"),
        ("nodes.0.state", "drained", "Input should be 'active', 'draining' or 'maintenance'"),
    ],
)
def test_health_and_state_that_cannot_be_are_refused(path: str, value: object, sentence: str) -> None:
    assert error_of(yaml.safe_dump(change(path, value))).endswith(sentence)


def test_an_ipv6_vserver_stands_beside_an_ipv4_one_with_the_same_pool() -> None:
    configuration = parse_document(with_ipv6(small_document()))
    (switch,), (web, web6) = configuration.switches, configuration.vservers
    assert switch.probe_addresses == (IPv4Address("10.0.0.254"), IPv6Address("2001:db8::fe01"))
    assert switch.probe_address_for(web.vip) == IPv4Address("10.0.0.254")
    assert switch.probe_address_for(web6.vip) == IPv6Address("2001:db8::fe01")
    assert web.pool == web6.pool


@pytest.mark.parametrize("text", ["2001:DB8::100", "2001:0db8:0:0:0::0100", "2001:db8::0.0.1.0"])
def test_any_spelling_is_the_same_vip(text: str) -> None:
    document = with_ipv6(small_document())
    document["vservers"].append(document["vservers"][1] | {"name": "shop", "id": 3, "vip": text})
    assert error_of(yaml.safe_dump(document)).endswith("vservers[2].vip: [2001:db8::100]:443/tcp is used twice")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("fe80::1", "fe80::1 is a link-local address; connections need a unicast address that routers know"),
        ("169.254.0.1", "169.254.0.1 is a link-local address; connections need a unicast address that routers know"),
        ("ff02::1", "ff02::1 is a group address; connections need a unicast address that routers know"),
        ("224.0.0.1", "224.0.0.1 is a group address; connections need a unicast address that routers know"),
        ("255.255.255.255", "255.255.255.255 is a group address; connections need a unicast address that routers know"),
        ("::", ":: is the unspecified address; connections need a unicast address that routers know"),
        ("0.0.0.0", "0.0.0.0 is the unspecified address; connections need a unicast address that routers know"),
        (
            "::ffff:192.0.2.1",
            "::ffff:192.0.2.1 is an IPv4 address in IPv6 clothes (::ffff:0:0/96); write 192.0.2.1",
        ),
        ("2001:db8::1%eth0", "2001:db8::1%eth0 names an interface; give an address that is the same everywhere"),
        ("2001:db8::/64", "'2001:db8::/64' is not an IPv4 or IPv6 address"),
    ],
)
def test_an_address_that_can_be_no_vip_is_refused_with_the_reason(value: str, sentence: str) -> None:
    message = error_of(yaml.safe_dump(change("vservers.0.vip", value)))
    assert message.partition(" vservers[0].vip: ")[2] == sentence


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"probe_address_v6": None}, "probe_address_v6 is missing: vserver web6 at 2001:db8::100 is probed from it"),
        ({"probe_address": None}, "probe_address is missing: vserver web at 10.0.0.100 is probed from it"),
        (
            {"probe_address": None, "probe_address_v6": None},
            "probe_address (IPv4), probe_address_v6 or both are needed: what probes come from",
        ),
        ({"probe_address_v6": "2001:DB8::100"}, "2001:db8::100 is a VIP; probes need an address of their own"),
        ({"probe_address": "2001:db8::1"}, "2001:db8::1 is not an IPv4 address; probe_address_v6 takes it"),
        ({"probe_address_v6": "10.0.0.254"}, "10.0.0.254 is not an IPv6 address; probe_address takes it"),
        ({"probe_address_v6": "fe80::1"}, "fe80::1 is a link-local address; connections need a unicast address that"),
    ],
)
def test_probes_come_from_an_address_of_each_vips_family(changes: dict[str, Any], sentence: str) -> None:
    document = with_ipv6(small_document())
    document["switches"][0] |= changes
    message = error_of(yaml.safe_dump(document, sort_keys=False))
    assert ": switches[0]" in message
    assert sentence in message


def test_two_switches_with_one_probe_address_of_either_family() -> None:
    document = with_ipv6(small_document())
    document["switches"].append(document["switches"][0] | {"name": "s2", "probe_address": "10.0.0.253"})
    assert error_of(yaml.safe_dump(document)).endswith("switches[1].probe_address_v6: 2001:db8::fe01 is used twice")


@pytest.mark.parametrize("text", ["198.51.100.7:9100", "[2001:db8::7]:9100", "node-1.example:9100"])
def test_end_points_are_written_as_they_are_read(text: str) -> None:
    assert str(parse_document(change("nodes.0.management", text)).nodes[0].management) == text


def test_a_pool_with_its_defaults() -> None:
    (pool,) = parse_document(small_document()).pools
    assert (pool.policy, pool.retries, pool.slow_start_s) == (Policy.ROUND_ROBIN, 3, 0)
    assert pool.eject is not None
    assert (pool.eject.after, pool.eject.base_s, pool.eject.max_s, pool.eject.max_share) == (5, 10, 300, 0.5)
    assert pool.servers[0].max_connections is None
    assert parse_document(change("pools.0.eject", None)).pools[0].eject is None


def test_checks_of_a_pool() -> None:
    check = {
        "protocol": "https",
        "path": "/up",
        "host": "shop.example",
        "status": [204, "300-399"],
        "ca": "servers.pem",
    }
    document = change("pools.0.check", check)
    document["pools"][0]["agent_check"] = {"port": 9000}
    configuration = parse(yaml.safe_dump(document), "array.yaml", base=Path("/srv/array"))
    (pool,) = configuration.pools
    assert Pool.model_validate_json(pool.model_dump_json()) == pool
    assert pool.check is not None
    assert pool.check.status is not None
    assert [(wanted.first, wanted.last) for wanted in pool.check.status] == [(204, 204), (300, 399)]
    assert pool.check.ca == Path("/srv/array/servers.pem")
    assert (pool.check.interval_ms, pool.check.timeout_ms, pool.check.rise, pool.check.fall) == (2000, 1000, 2, 3)
    assert pool.agent_check is not None
    assert (pool.agent_check.port, pool.agent_check.interval_ms) == (9000, 2000)
    plain = parse_document(change("pools.0.check", {})).pools[0].check
    assert plain is not None
    assert plain.protocol == "tcp"


def test_tls_to_the_servers_of_a_pool() -> None:
    document = change(
        "pools.0.tls", {"ca": "ca.pem", "server_name": "10.0.0.9", "certificate": "n.pem", "key": "n.key"}
    )
    document["pools"][0]["proxy_protocol"] = True
    (pool,) = parse(yaml.safe_dump(document), "array.yaml", base=Path("/srv")).pools
    assert pool.proxy_protocol
    assert pool.tls is not None
    assert (pool.tls.ca, pool.tls.certificate, pool.tls.key) == (
        Path("/srv/ca.pem"),
        Path("/srv/n.pem"),
        Path("/srv/n.key"),
    )
    assert pool.tls.server_name == "10.0.0.9"
    (plain,) = parse_document(small_document()).pools
    assert (plain.tls, plain.proxy_protocol) == (None, False)


def test_a_plain_check_of_a_server_that_speaks_tls_needs_another_port() -> None:
    document = change("pools.0.tls", {"ca": "ca.pem"})
    document["pools"][0]["check"] = {"protocol": "http"}
    assert "a check of protocol http needs a port of its own; expected https" in error_of(yaml.safe_dump(document))
    document["pools"][0]["check"]["port"] = 8080
    assert parse_document(document).pools[0].check is not None


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("pools.0.check", {"path": "/up"}, "pools[0].check: path goes with protocol http or https"),
        ("pools.0.check", {"status": [200]}, "pools[0].check: status goes with protocol http or https"),
        ("pools.0.check", {"protocol": "http", "ca": "a.pem"}, "pools[0].check: ca goes with protocol https"),
        ("pools.0.check", {"protocol": "https", "ca": "a"}, "ca needs host, the name that the certificate is for"),
        (
            "pools.0.check",
            {"protocol": "http", "status": ["2xx"]},
            "'2xx' is neither a status like 204 nor a range like 200-399",
        ),
        ("pools.0.check", {"protocol": "http", "status": ["399-200"]}, "399-200 ends before it begins"),
        ("pools.0.check", {"protocol": "http", "path": "up"}, "String should match pattern '^/[!-~]*$'"),
        ("pools.0.check", {"protocol": "icmp"}, "Input should be 'tcp', 'http' or 'https'"),
        ("pools.0.check", {"fall": 0}, "Input should be greater than or equal to 1"),
        ("pools.0.tls", {}, "pools[0].tls.ca: required key is missing"),
        ("pools.0.tls", {"ca": "a", "key": "b"}, "pools[0].tls: certificate and key go together"),
        ("pools.0.tls", {"ca": "a", "server_name": "a..b"}, "is neither a host name nor an IP address"),
        ("pools.0.tls", {"ca": "a", "server_name": ".a"}, "is neither a host name nor an IP address"),
        ("pools.0.proxy_protocol", 2, "Input should be a valid boolean, unable to interpret input"),
        ("pools.0.agent_check", {}, "pools[0].agent_check.port: required key is missing"),
        ("pools.0.url_hash", {"query": True}, "pools[0]: url_hash goes with policy url_hash"),
        ("pools.0.eject", {"base_s": 20, "max_s": 10}, "pools[0].eject: max_s (10) must not be less than base_s (20)"),
        ("pools.0.eject", {"errors": "all"}, "pools[0].eject.errors: Input should be 'gateway' or 'any_5xx'"),
        ("pools.0.servers.0.max_connections", 0, "max_connections: Input should be greater than or equal to 1"),
        (
            "pools.0.policy",
            "random",
            "Input should be 'round_robin', 'least_connections', 'response_time', 'power_of_two', 'url_hash' or "
            "'source_hash'",
        ),
    ],
)
def test_pools_that_cannot_be_are_refused(path: str, value: object, sentence: str) -> None:
    assert error_of(yaml.safe_dump(change(path, value))).endswith(sentence)
