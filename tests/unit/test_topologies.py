"""Declared topologies: what they hold, what is refused, and the configuration made of them."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest

from pentaflow.errors import ConfigurationError
from pentaflow.parsing import parse
from topologies.catalogue import TOPOLOGIES
from topologies.configuration import configuration_yaml
from topologies.inline import INLINE
from topologies.model import Host, Role

HASH_KEY = "0123456789abcdef"


def with_first_host(**changes: Any) -> tuple[Host, ...]:
    return (replace(INLINE.hosts[0], **changes), *INLINE.hosts[1:])


def test_inline_is_what_the_readme_draws() -> None:
    assert [h.name for h in INLINE.of(Role.CLIENT)] == ["c1", "c2"]
    assert [h.name for h in INLINE.of(Role.NODE)] == ["n1", "n2", "n3"]
    assert [h.name for h in INLINE.of(Role.SERVER)] == ["w1", "w2", "w3"]
    assert INLINE.ports("s1") == (1, 2, 3, 4, 5, 6, 7, 8)
    assert INLINE.vips[0].vip == IPv4Address("10.0.0.100")
    assert INLINE.schedulers[0].probe_address == IPv4Address("10.0.0.254")


def test_only_what_the_controller_talks_to_is_on_the_management_network() -> None:
    assert {h.name for h in INLINE.hosts if h.management} == {"n1", "n2", "n3"}


def test_a_host_has_a_unicast_mac_address_of_its_own() -> None:
    macs = [h.mac for h in INLINE.hosts]
    assert len(set(macs)) == len(macs)
    assert INLINE.hosts[0].mac == "02:00:0a:00:00:01"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hosts": with_first_host(name="s1")}, "name s1 is used twice"),
        ({"hosts": with_first_host(address=IPv4Interface("10.0.0.100/24"))}, "address 10.0.0.100 is used twice"),
        ({"hosts": with_first_host(management=IPv4Interface("10.255.0.1/24"))}, "address 10.255.0.1 is used twice"),
        ({"hosts": with_first_host(port=8)}, "switch port 8 of s1 is used twice"),
        ({"hosts": with_first_host(number=2)}, "host number 2 of role client is used twice"),
        ({"hosts": with_first_host(switch="s9")}, "host c1 is on switch 's9', which is not there"),
        ({"hosts": with_first_host(role=Role.NODE, number=9)}, "node c1 has no management address"),
    ],
)
def test_a_contradiction_is_refused_by_name(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        replace(INLINE, **changes)
    assert str(raised.value) == f"topology inline: {sentence}"


@pytest.mark.parametrize("name", sorted(TOPOLOGIES))
def test_every_topology_makes_a_configuration_that_is_accepted(name: str) -> None:
    topology = TOPOLOGIES[name]
    configuration = parse(configuration_yaml(topology, hash_key=HASH_KEY), "generated")
    assert [n.name for n in configuration.nodes] == [h.name for h in topology.of(Role.NODE)]
    assert [(n.mac, dict(n.ports)) for n in configuration.nodes] == [
        (h.mac, topology.ports_to(h)) for h in topology.of(Role.NODE)
    ]
    assert {s.name: s.ports for s in configuration.switches} == {
        s.name: topology.ports(s.name) for s in topology.schedulers
    }
    assert [v.vip for v in configuration.vservers] == [v.vip for v in topology.vips]
    pool = configuration.pools[0]
    assert [s.address.host for s in pool.servers] == [str(h.address.ip) for h in topology.of(Role.SERVER)]


def test_the_configuration_carries_the_hash_key_and_names_the_files() -> None:
    vserver = parse(configuration_yaml(INLINE, hash_key=HASH_KEY), "generated").vservers[0]
    assert vserver.hash_key is not None
    assert vserver.hash_key.get_secret_value() == HASH_KEY
    assert vserver.tls
    assert str(vserver.tls.certificate) == "server.pem"
    assert vserver.persistence.cookie is not None
    assert vserver.persistence.cookie.session_cookie == "session"


@pytest.mark.parametrize(("name", "single"), [("inline-dual", "inline"), ("redundant-dual", "redundant")])
def test_a_dual_stack_topology_is_the_other_one_with_ipv6_beside(name: str, single: str) -> None:
    topology, plain = TOPOLOGIES[name], TOPOLOGIES[single]
    assert [str(h.address_v6) for h in topology.of(Role.NODE)] == [f"2001:db8::{n}/64" for n in (11, 12, 13)]
    assert [str(v.vip) for v in topology.vips] == ["10.0.0.100", "2001:db8::100"]
    configuration = parse(configuration_yaml(topology, hash_key=HASH_KEY), "generated")
    for switch, scheduler in zip(configuration.switches, plain.schedulers, strict=True):
        last = scheduler.probe_address.packed[-1]
        assert [str(a) for a in switch.probe_addresses] == [str(scheduler.probe_address), f"2001:db8::{last}"]
    assert len({v.pool for v in configuration.vservers}) == 1
    assert [h.address_v6 for h in plain.hosts] == [None] * len(plain.hosts)
