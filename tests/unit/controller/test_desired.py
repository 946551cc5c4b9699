"""What a switch holds for VIPs of both families."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from controller.addresses import check_macs, probe_mac, vip_mac
from controller.desired import announced_in, fixed_entries, vip_keys
from controller.entries import Entry, Key, Kind
from pentaflow.config import Configuration
from pentaflow.errors import ConfigurationError
from support.configurations import small_document, with_ipv6

VIP, VIP_V6 = IPv4Address("10.0.0.100"), IPv6Address("2001:db8::100")
PROBE, PROBE_V6 = IPv4Address("10.0.0.254"), IPv6Address("2001:db8::fe01")
CONFIGURATION = Configuration.model_validate(with_ipv6(small_document()))
HASH_KEYS = {1: 11, 2: 22}


def entries(*announced: IPv4Address | IPv6Address) -> dict[Key, Entry]:
    return fixed_entries(CONFIGURATION, CONFIGURATION.switches[0], HASH_KEYS, set(announced))


def test_each_family_has_its_tables() -> None:
    found = entries(VIP, VIP_V6)
    assert found[Key(Kind.VSERVER, (int(VIP), 6, 443))] == Entry((1, 4095, 1, 11, 0))
    assert found[Key(Kind.VSERVER_V6, (int(VIP_V6), 6, 443))] == Entry((2, 4095, 1, 22, 0))
    assert found[Key(Kind.ARP, (0, int(VIP)))] == Entry((vip_mac(VIP),))
    assert found[Key(Kind.ND, (0, int(VIP_V6)))] == Entry((vip_mac(VIP_V6),))
    for vip in (VIP, VIP_V6):
        assert found[Key(Kind.ADMIT, (0, vip_mac(vip)))] == Entry()


def test_probe_addresses_of_both_families_are_answered_for_and_lead_to_the_controller() -> None:
    found = entries()
    assert found[Key(Kind.ARP, (0, int(PROBE)))] == Entry((probe_mac(PROBE),))
    assert found[Key(Kind.ND, (0, int(PROBE_V6)))] == Entry((probe_mac(PROBE_V6),))
    for address in (PROBE, PROBE_V6):
        assert found[Key(Kind.DMAC, (0, probe_mac(address)))] == Entry((510,))


def test_a_vip_that_another_switch_has_leaves_only_its_vserver() -> None:
    gone = entries(VIP, VIP_V6).keys() - entries(VIP).keys()
    assert gone == set(vip_keys(VIP_V6)) == {Key(Kind.ND, (0, int(VIP_V6))), Key(Kind.ADMIT, (0, vip_mac(VIP_V6)))}


@pytest.mark.parametrize("kind", [Kind.ND, Kind.ADMIT])
def test_a_switch_that_is_found_with_any_of_a_vips_entries_announces_it(kind: Kind) -> None:
    found = entries(VIP_V6)
    (left,) = [key for key in vip_keys(VIP_V6) if key.kind is kind]
    assert announced_in({left: found[left]}, CONFIGURATION) == [VIP_V6]
    assert announced_in(entries(), CONFIGURATION) == []


def test_macs_are_local_unicast_and_differ_between_families_and_uses() -> None:
    macs = [mac(address) for mac in (vip_mac, probe_mac) for address in (VIP, VIP_V6)]
    assert [mac >> 32 for mac in macs] == [0x0250, 0x0252, 0x0251, 0x0253]
    neighbours = {vip_mac(VIP_V6 + n) for n in range(5000)}
    assert len(neighbours) == 5000


def test_two_vips_that_would_have_one_mac_are_refused() -> None:
    check_macs(CONFIGURATION, "array.yaml")
    # CRC-32 is linear: adding its polynomial (least significant bit first) anywhere changes nothing.
    polynomial = int.from_bytes(0x1_DB71_0641.to_bytes(5, "little"), "big")
    twin = IPv6Address(int(VIP_V6) ^ polynomial << 40)
    assert vip_mac(twin) == vip_mac(VIP_V6)
    document = with_ipv6(small_document())
    document["vservers"].append(document["vservers"][1] | {"name": "twin", "id": 3, "vip": str(twin)})
    with pytest.raises(ConfigurationError) as caught:
        check_macs(Configuration.model_validate(document), "array.yaml")
    assert str(caught.value) == f"array.yaml: {VIP_V6} and {twin} would have the same MAC; take another address"
