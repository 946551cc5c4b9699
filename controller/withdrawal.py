"""Which VIPs the array answers for [H2]: one that no node serves is withdrawn, so that whoever chooses between sites
or arrays sees it gone instead of a black hole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Set

from pentaflow.addresses import IpAddress
from pentaflow.config import Vserver


def announced_vips(
    vservers: Iterable[Vserver],
    serving: Collection[int],
    *,
    before: Set[IpAddress],
    withdraws: bool,
    is_held: bool,
) -> frozenset[IpAddress]:
    """The VIPs that have a node to serve them, or may have one.

    Args:
        vservers: all that are configured.
        serving: nodes that are not known to be down; every node serves every vserver.
        before: the VIPs that were announced until now.
        withdraws: whether VIPs are withdrawn at all.
        is_held: whether the mass-failure guard keeps everything as it was.
    """
    vips = frozenset(vserver.vip for vserver in vservers)
    if serving or not withdraws:
        return vips
    return vips & before if is_held else frozenset()
