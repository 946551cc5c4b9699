"""Which configuration may follow another one while the array runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pentaflow.config import Configuration
from pentaflow.errors import ConfigurationError


def check_changeover(
    before: Configuration,
    after: Configuration,
    serving: Mapping[int, int],
    holding: Callable[[int], Mapping[int, int]],
) -> None:
    """Refuse what would break connections that a slower way spares.

    Args:
        before: the configuration in force.
        after: the one that is to be.
        serving: node id → buckets that it serves.
        holding: of a vserver's id, node id → buckets of that vserver that it serves, or keeps the connections of.

    Raises:
        ConfigurationError: with the way.
    """
    kept = {node.id for node in after.nodes}
    for node in before.nodes:
        if node.id not in kept and serving.get(node.id):
            raise ConfigurationError(
                "nodes", f"node {node.name} still serves {serving[node.id]} buckets: drain it before it is removed"
            )
    vservers = {vserver.id: vserver for vserver in before.vservers}
    for i, vserver in enumerate(after.vservers):
        old = vservers.get(vserver.id)
        if old is None:
            continue
        for name in ("buckets", "hash", "hash_key", "mode", "protocol"):
            if getattr(vserver, name) != getattr(old, name):
                raise ConfigurationError(
                    f"vservers[{i}].{name}",
                    f"is fixed when a vserver is made: give {vserver.name} another id to make it anew",
                )
        may_serve = {node.id for node in after.serving(vserver)}
        for node in before.serving(old):
            if node.id not in may_serve and (count := holding(vserver.id).get(node.id, 0)):
                raise ConfigurationError(
                    f"vservers[{i}].nodes",
                    f"node {node.name} still serves {count} buckets of {vserver.name}: drain it before it is taken out",
                )
    if before.controller.slots_per_node != after.controller.slots_per_node:
        raise ConfigurationError("controller.slots_per_node", "can't be changed while the array runs")
