"""Which VIPs are announced."""

from __future__ import annotations

from ipaddress import IPv4Address

from controller.withdrawal import announced_vips
from pentaflow.config import Configuration
from support.configurations import small_document

VSERVERS = Configuration.model_validate(small_document()).vservers
VIP = IPv4Address("10.0.0.100")


def test_a_vip_is_withdrawn_when_nobody_serves_it_and_given_back() -> None:
    assert announced_vips(VSERVERS, {1}, before={VIP}, withdraws=True, is_held=False) == {VIP}
    assert announced_vips(VSERVERS, set(), before={VIP}, withdraws=True, is_held=False) == set()
    assert announced_vips(VSERVERS, {1}, before=frozenset(), withdraws=True, is_held=False) == {VIP}


def test_one_vserver_that_is_served_keeps_the_vip_that_it_shares() -> None:
    both = (*VSERVERS, VSERVERS[0].model_copy(update={"id": 2}))
    assert announced_vips(both, {2}, before={VIP}, withdraws=True, is_held=False) == {VIP}
    assert announced_vips(both, set(), before={VIP}, withdraws=True, is_held=False) == set()


def test_the_guard_keeps_it_as_it_was() -> None:
    assert announced_vips(VSERVERS, set(), before={VIP}, withdraws=True, is_held=True) == {VIP}
    assert announced_vips(VSERVERS, set(), before=frozenset(), withdraws=True, is_held=True) == set()


def test_without_withdrawal_it_always_stays() -> None:
    assert announced_vips(VSERVERS, set(), before=frozenset(), withdraws=False, is_held=False) == {VIP}
