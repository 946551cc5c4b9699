"""How many keys each server should have: even, by percentage or by stated need [P6]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controller.shares import spread
from pentaflow.pools import Pool
from pentaflow.session_id_settings import SessionIds, spare_keys
from pentaflow.session_ids import KEYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an allocation should come to. Keys that are nobody's are spare.

    Attributes:
        members: holder → the servers that share its ids, itself first.
        sizes: holder → how many keys.
    """

    members: Mapping[int, tuple[int, ...]]
    sizes: Mapping[int, int]

    @property
    def spare(self) -> int:
        """How many keys are to be nobody's."""
        return KEYS - sum(self.sizes.values())


def wanted_by(settings: SessionIds, pool: Pool) -> Wanted:
    """What the configuration asks for; all servers that it names are the pool's."""
    ids = {server.name: server.id for server in pool.servers}
    if settings.percent is not None:
        # Tiny shares of a percentage are not to add up to a key too many.
        sizes = {ids[name]: int(KEYS * percent / 100 + 1e-6) for name, percent in settings.percent.items()}
    elif settings.need is not None:
        sizes = {ids[name]: keys for name, keys in settings.need.items()}
    else:
        sizes = spread(KEYS - spare_keys(settings), dict.fromkeys(ids.values(), 1))
    shared = [tuple(ids[name] for name in names) for names in settings.shared]
    alone = set(ids.values()).difference(*shared)
    members = {group[0]: group for group in (*shared, *((server,) for server in sorted(alone)))}
    return Wanted(
        members=members,
        sizes={holder: sum(sizes.get(server, 0) for server in group) for holder, group in members.items()},
    )
