"""What would move under another configuration, or with other intents: the plan, before anything changes [B9]."""

from __future__ import annotations

from collections.abc import Mapping

from controller.buckets import BucketMap, Reason
from controller.health import Health, NodeHealth
from controller.intents import Intents, serving_weights
from controller.node_sets import members, node_sets
from controller.plan import Plan
from controller.planner import make_plan
from pentaflow.config import Configuration, NodeState
from pentaflow.errors import ConfigurationError


def preview(
    bucket_map: BucketMap,
    configuration: Configuration,
    intents: Intents,
    states: Mapping[int, NodeState],
    observed: Mapping[int, NodeHealth],
) -> Plan:
    """
    Args:
        bucket_map: as it is.
        configuration: the other one, or the one in force.
        intents: what operators have set.
        states: node id → what they would set.
        observed: node id → health.

    Raises:
        ConfigurationError: nobody would serve.
    """
    nodes = {node.id: node for node in configuration.nodes}
    wanted = Intents(configuration.nodes, intents.overrides()).states() | dict(states)
    health = {n: observed[n].state if n in observed else Health.UNKNOWN for n in nodes}
    weights = serving_weights(nodes, wanted, health)
    sets = node_sets(configuration)
    for its in sets:
        if not any(weights.get(node_id) for node_id in its.node_ids):
            names = ", ".join(v.name for v in configuration.vservers if v.id in its.vserver_ids)
            raise ConfigurationError("nodes", f"no node would be left to serve {names}")
    kept = {vserver.id for vserver in configuration.vservers}
    remaining = BucketMap(
        buckets={vserver_id: found for vserver_id, found in bucket_map.buckets.items() if vserver_id in kept},
        slots=bucket_map.slots,
        splits={key: slot for key, slot in bucket_map.splits.items() if key[0] in kept},
        version=bucket_map.version,
    )
    is_drain = any(state is not NodeState.ACTIVE for state in states.values())
    return make_plan(remaining, weights, Reason.DRAIN if is_drain else Reason.WEIGHTS, members(sets))
