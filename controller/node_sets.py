"""Which nodes serve which vservers: sets that have no node in common, so that a node's slots fail over as a whole."""

from __future__ import annotations

from dataclasses import dataclass

from pentaflow.config import Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSet:
    """Nodes that serve the same vservers, and these."""

    node_ids: frozenset[int]
    vserver_ids: tuple[int, ...]


def node_sets(configuration: Configuration) -> tuple[NodeSet, ...]:
    """All sets, in the order of their first vservers; a node that serves nothing is in none."""
    found: dict[frozenset[int], list[int]] = {}
    for vserver in configuration.vservers:
        nodes = frozenset(node.id for node in configuration.serving(vserver))
        found.setdefault(nodes, []).append(vserver.id)
    return tuple(NodeSet(node_ids=nodes, vserver_ids=tuple(ids)) for nodes, ids in found.items())


def members(sets: tuple[NodeSet, ...]) -> dict[int, frozenset[int]]:
    """Vserver id → the nodes that may serve it."""
    return {vserver_id: its.node_ids for its in sets for vserver_id in its.vserver_ids}
