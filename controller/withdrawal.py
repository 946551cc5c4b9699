"""Which VIPs the array answers for [H2]: one that no node serves is withdrawn, so that whoever chooses between sites
or arrays sees it gone instead of a black hole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Set

from pentaflow.addresses import IpAddress
from pentaflow.config import Vserver


def announced_vips(
    vservers: Iterable[Vserver],
    served: Collection[int],
    *,
    before: Set[IpAddress],
    withdraws: bool,
    is_held: bool,
) -> frozenset[IpAddress]:
    """The VIPs that have a vserver with a node to serve it, or that may have one.

    Args:
        vservers: all that are configured.
        served: ids of vservers that have a node that is not known to be down.
        before: the VIPs that were announced until now.
        withdraws: whether VIPs are withdrawn at all.
        is_held: whether the mass-failure guard keeps everything as it was.
    """
    vips: dict[IpAddress, bool] = {}
    for vserver in vservers:
        vips[vserver.vip] = vips.get(vserver.vip, False) or vserver.id in served
    kept = before if is_held else frozenset()
    return frozenset(vip for vip, is_served in vips.items() if is_served or not withdraws or vip in kept)
