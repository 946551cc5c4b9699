"""Announcements of a VIP; scapy is the oracle."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from controller.announcements import announcement, gratuitous_arp, unsolicited_advertisement

VIP, MAC, MAC_TEXT = IPv4Address("10.0.0.100"), 0x02500A000064, "02:50:0a:00:00:64"


def test_gratuitous_arp_is_a_request_and_a_reply_from_the_vip_to_itself() -> None:
    def expected(operation: int, target: str) -> bytes:
        body = ARP(op=operation, hwsrc=MAC_TEXT, psrc=str(VIP), hwdst=target, pdst=str(VIP))
        return bytes(Ether(src=MAC_TEXT, dst="ff:ff:ff:ff:ff:ff") / body)

    request, reply = gratuitous_arp(VIP, MAC)
    assert request == expected(1, "00:00:00:00:00:00")
    assert reply == expected(2, "ff:ff:ff:ff:ff:ff")


@pytest.mark.parametrize("address", ["2001:db8::64", "fe80::ffff:ffff:ffff:ffff", "::1"])
def test_an_unsolicited_advertisement_goes_to_all_nodes_and_overrides(address: str) -> None:
    expected = (
        Ether(src=MAC_TEXT, dst="33:33:00:00:00:01")
        / IPv6(src=address, dst="ff02::1", hlim=255)
        / ICMPv6ND_NA(R=0, S=0, O=1, tgt=address)
        / ICMPv6NDOptDstLLAddr(lladdr=MAC_TEXT)
    )
    assert unsolicited_advertisement(IPv6Address(address), MAC) == bytes(expected)


def test_each_family_is_announced_in_its_own_way() -> None:
    assert announcement(VIP, MAC) == gratuitous_arp(VIP, MAC)
    vip_v6 = IPv6Address("2001:db8::64")
    assert announcement(vip_v6, MAC) == (unsolicited_advertisement(vip_v6, MAC),)
