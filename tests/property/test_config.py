"""Configuration: what is valid survives a round trip, and no text gives anything but a configuration or its error."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pentaflow.addresses import parse_service_address
from pentaflow.config import Configuration, Policy
from pentaflow.errors import ConfigurationError
from pentaflow.parsing import parse
from support.configurations import small_document

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,12}", fullmatch=True).map(lambda name: f"n{name}")
host_ports = st.tuples(st.sampled_from(["127.0.0.1", "node-1.example", "::1"]), st.integers(0, 65535))
endpoints = host_ports.map(lambda end: f"{end[0]}:{end[1]}")


def is_usable(text: str) -> bool:
    try:
        return bool(parse_service_address(text))
    except ValueError:
        return False


addresses_v4 = st.ip_addresses(v=4).map(str).filter(is_usable)
addresses_v6 = st.ip_addresses(v=6).map(str).filter(is_usable)
macs = st.integers(0, 2**40 - 1).map(lambda value: (0x02 << 40 | value).to_bytes(6, "big").hex(":"))


def unique_by(*keys: str) -> Any:
    return tuple((lambda item, key=key: item[key]) for key in keys)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A valid document: names and ids unique, references kept."""
    switch: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {
            "name": names,
            "grpc": endpoints,
            "ports": st.lists(st.integers(1, 509), min_size=1, max_size=6, unique=True),
            "probe_address": addresses_v4,
            "probe_address_v6": addresses_v6,
        },
        optional={"device_id": st.integers(0, 2**63), "mac_ageing_s": st.floats(0.001, 86_400)},
    )
    switches: list[dict[str, Any]] = draw(
        st.lists(switch, max_size=2, unique_by=unique_by("name", "probe_address", "probe_address_v6"))
    )
    ports = st.fixed_dictionaries(
        {}, optional={item["name"]: st.sampled_from(item["ports"]) for item in switches}
    ).filter(bool)
    node = st.fixed_dictionaries(
        {"name": names, "id": st.integers(1, 4095), "mac": macs, "ports": ports, "management": endpoints},
        optional={"weight": st.integers(0, 1000)},
    )
    nodes = draw(st.lists(node, max_size=3, unique_by=unique_by("name", "id", "mac"))) if switches else []
    server = st.fixed_dictionaries({"name": names, "id": st.integers(1, 65535), "address": endpoints})
    pool: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {"name": names, "servers": st.lists(server, min_size=1, max_size=3, unique_by=unique_by("name", "id"))},
        optional={
            "policy": st.sampled_from([policy.value for policy in Policy]),
            "slow_start_s": st.floats(0, 3600),
            "eject": st.sampled_from([None, {"after": 2}]),
            "check": st.sampled_from([{"protocol": "http", "path": "/up"}, {"protocol": "tcp"}]),
            "agent_check": st.just({"port": 9000}),
        },
    )
    pools: list[dict[str, Any]] = draw(st.lists(pool, min_size=1, max_size=2, unique_by=unique_by("name")))
    vserver = st.fixed_dictionaries(
        {
            "name": names,
            "id": st.integers(1, 65535),
            "vip": addresses_v4 | addresses_v6,
            "tls": st.just({"certificate": "web.pem", "key": "web.key"}),
            "pool": st.sampled_from([item["name"] for item in pools]),
        },
        optional={
            "buckets": st.integers(8, 16).map(lambda bits: 1 << bits),
            "hash": st.sampled_from(["src", "src_port", "5tuple"]),
            "hash_key": st.integers(0, 2**64 - 1).map(lambda key: f"{key:016x}"),
            "persistence": st.sampled_from(
                [
                    {"cookie": {"session_cookie": "sid", "mode": "plain"}},
                    {"ticket": {"lifetime_s": 60, "renew": False, "servers": 2}, "source": True},
                ]
            ),
        },
    )
    probes = {item[name] for item in switches for name in ("probe_address", "probe_address_v6")}
    vserver = vserver.filter(lambda item: item["vip"] not in probes)
    vservers = draw(st.lists(vserver, max_size=2, unique_by=unique_by("name", "id", "vip")))
    return {"switches": switches, "nodes": nodes, "vservers": vservers, "pools": pools}


def assert_contains(actual: Any, given_value: Any) -> None:
    """Every value of the document is in the configuration (which has more: the defaults)."""
    if isinstance(given_value, dict):
        for key, value in given_value.items():
            assert_contains(actual[key], value)
    elif isinstance(given_value, list):
        assert len(actual) == len(given_value)
        for have, want in zip(actual, given_value, strict=True):
            assert_contains(have, want)
    else:
        assert actual == given_value


def as_written(configuration: Configuration) -> Any:
    """The configuration in the words of a YAML file, hash keys included."""
    dumped = configuration.model_dump(mode="json")
    kinds = {0: "src", 1: "src_port", 2: "5tuple"}
    for item, vserver in zip(dumped["vservers"], configuration.vservers, strict=True):
        item["hash"] = kinds[item["hash"]]
        item["hash_key"] = vserver.hash_key.get_secret_value() if vserver.hash_key else None
    ends = [(s, "grpc") for s in dumped["switches"]] + [(n, "management") for n in dumped["nodes"]]
    ends += [(server, "address") for pool in dumped["pools"] for server in pool["servers"]]
    for item, key in [*ends, (dumped["controller"], "rest")]:
        item[key] = f"{item[key]['host']}:{item[key]['port']}"
    return dumped


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(documents())
def test_valid_configurations_round_trip(document: dict[str, Any]) -> None:
    configuration = parse(yaml.safe_dump(document), "array.yaml")
    written = as_written(configuration)
    assert_contains(written, document)
    assert parse(yaml.safe_dump(written), "array.yaml") == configuration


def parse_anything(text: str) -> None:
    message = "array.yaml: ok"
    try:
        parse(text, "array.yaml")
    except ConfigurationError as error:
        message = str(error)
    assert message.startswith("array.yaml")
    assert message.isprintable(), "one line"


@given(st.text())
def test_any_text_is_a_configuration_or_an_error(text: str) -> None:
    parse_anything(text)


scraps = st.sampled_from(
    [
        *("controller: ", "switches:", "nodes: ", "vservers: ", "pools: ", "hash_key: ", "mac: ", "\n", "\n  ", "- "),
        *("{", "}", "[", "]", "&a ", "*a", "<<: ", "? ", ": ", "'", '"', "|", "#", "---\n", "%YAML 1.1\n", "\t"),
        *(
            "!!int ",
            "!!float ",
            "!!bool ",
            "!!timestamp ",
            "!!binary ",
            "!!set ",
            "!!omap ",
            "!!null ",
            "!!str ",
            "!x ",
        ),
        *("0x", "0b_", "1:60", "1e999", ".nan", "-.inf", "2001-99-99", "~", "yes", "\\ud800", "\\0", "é", "\u2028"),
    ]
)


@given(st.lists(scraps | st.text(max_size=3), max_size=20).map("".join))
def test_scraps_of_yaml_are_a_configuration_or_an_error(text: str) -> None:
    parse_anything(text)


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5) | st.dates()
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3))


def paths(node: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, value in items for place in ((node, key), *paths(value))]


@given(st.data())
def test_mutated_documents_are_a_configuration_or_an_error(data: st.DataObject) -> None:
    document = copy.deepcopy(small_document())
    container, key = data.draw(st.sampled_from(paths(document)))
    container[key] = data.draw(values)
    parse_anything(yaml.safe_dump(document))


@given(st.data())
def test_misspelt_keys_are_never_taken_in_silence(data: st.DataObject) -> None:
    document = small_document()
    places = [(node, key) for node, key in paths(document) if isinstance(key, str) and key != "s1"]
    container, key = data.draw(st.sampled_from(places))
    wrong = data.draw(st.sampled_from([key + "s", key[1:], key[:-1], key.upper(), f"{key[0]}{key}"]))
    container[wrong] = container.pop(key)
    with pytest.raises(ConfigurationError, match=r"unknown key|required key is missing"):
        parse(yaml.safe_dump(document), "array.yaml")


@given(st.binary(max_size=200), st.integers(0, 2000), st.integers(0, 200))
def test_damaged_files_are_a_configuration_or_an_error(noise: bytes, at: int, removed: int) -> None:
    text = yaml.safe_dump(small_document()).encode()
    parse_anything((text[:at] + noise + text[at + removed :]).decode(errors="replace"))
