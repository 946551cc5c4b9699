"""How busy vservers are, from what nodes say of themselves: what the transit filter has to be spared (`transit`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controller.transit import Load

_NS_PER_S = 1_000_000_000
# A rate falls no faster than to this share in a second: a short lull is no reason to split more.
_DECAY_PER_S = 0.9


@dataclass(frozen=True, slots=True)
class _Seen:
    total: int
    open_connections: int
    new_per_s: float | None
    at_ns: int


class Loads:
    """The vservers of all nodes, as their status documents say."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], _Seen] = {}

    def take(self, node_id: int, document: Mapping[str, Any], at_ns: int) -> None:
        """A node's status document; parts that are not as they should be are passed over, as is one taken before."""
        rows = document.get("vservers")
        for row in rows if isinstance(rows, list) else ():
            match row:
                case {"name": str(name), "connections": int(total), "open_connections": int(open_connections)}:
                    self._count(node_id, name, total, open_connections, at_ns)

    def _count(self, node_id: int, name: str, total: int, open_connections: int, at_ns: int) -> None:
        before, rate = self._seen.get((node_id, name)), None
        if before is not None and at_ns <= before.at_ns:
            return
        if before is not None:
            seconds = (at_ns - before.at_ns) / _NS_PER_S
            # A node that has started anew counts from 0.
            new = total - before.total if total >= before.total else total
            rate = max(new / seconds, (before.new_per_s or 0.0) * _DECAY_PER_S**seconds)
        self._seen[node_id, name] = _Seen(total, open_connections, rate, at_ns)

    def of_nodes(self, name: str) -> tuple[dict[int, int], dict[int, int]]:
        """Of one vserver: node id → connections so far, and node id → connections that are open."""
        seen = {node_id: found for (node_id, vserver), found in self._seen.items() if vserver == name}
        return (
            {node_id: found.total for node_id, found in seen.items()},
            {node_id: found.open_connections for node_id, found in seen.items()},
        )

    def of(self, names: Mapping[int, str], node_ids: Iterable[int]) -> dict[int, Load]:
        """The loads of vservers over some nodes; those that none of them has told of twice are left out.

        Args:
            names: vserver id → name.
            node_ids: nodes that serve.
        """
        nodes = list(node_ids)
        result = {}
        for vserver_id, name in names.items():
            seen = [found for node_id in nodes if (found := self._seen.get((node_id, name)))]
            rates = [found.new_per_s for found in seen if found.new_per_s is not None]
            if rates:
                result[vserver_id] = Load(
                    open_connections=sum(found.open_connections for found in seen),
                    new_per_s=sum(rates),
                )
        return result
