"""From a graph of jumps to nested blocks: post-dominators of a control block's graph, order of a parser's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from softswitch.program.ir import Apply, Block, Branch

Graph = Mapping[str, Sequence[str | None]]
"""Successors by node; None is the end."""


class Loop(Exception):
    """The graph comes back to a node, which the message names."""


class Tangle(Exception):
    """A node, which the message names, is reached from branches that do not meet in front of it."""


def topological_order(graph: Graph, start: str) -> list[str]:
    """Nodes reachable from `start`, each in front of its successors.

    Raises:
        Loop: there is none.
    """
    finished: dict[str, None] = {}
    open_nodes: set[str] = set()
    stack: list[tuple[str, bool]] = [(start, False)]
    while stack:
        node, is_done = stack.pop()
        if is_done:
            open_nodes.discard(node)
            finished[node] = None
        elif node in open_nodes:
            raise Loop(node)
        elif node not in finished:
            open_nodes.add(node)
            stack.append((node, True))
            stack += [(after, False) for after in reversed(graph[node]) if after is not None]
    return list(reversed(finished))


def joins(graph: Graph, start: str) -> dict[str, str | None]:
    """Immediate post-dominators: where the branches of each node meet again, None for the end.

    Raises:
        Loop: the graph has one.
    """
    join: dict[str | None, str | None] = {}
    depth: dict[str | None, int] = {None: 0}
    for node in reversed(topological_order(graph, start)):
        meet, *others = graph[node]
        for other in others:
            while meet != other:
                if depth[meet] > depth[other]:
                    meet = join[meet]
                else:
                    other = join[other]
        join[node] = meet
        depth[node] = depth[meet] + 1
    return {node: after for node, after in join.items() if node is not None}


def nest(graph: Graph, start: str | None, make: Callable[[str, list[Block]], Apply | Branch]) -> Block:
    """The nodes from `start` to the end as blocks; `make` gets a node and the block of each of its successors.

    Raises:
        Loop: the graph has one.
        Tangle: its branches cross, as no program with structured control flow does.
    """
    if start is None:
        return ()
    join = joins(graph, start)
    seen: set[str] = set()

    def block(node: str | None, end: str | None) -> Block:
        made = []
        while node is not None and node != end:
            if node in seen:
                raise Tangle(node)
            seen.add(node)
            after = join[node]
            made.append(make(node, _each_once(graph[node], after, block)))
            node = after
        return tuple(made)

    return block(start, None)


def _each_once(
    successors: Sequence[str | None], end: str | None, block: Callable[[str | None, str | None], Block]
) -> list[Block]:
    """The block of each successor; one that several labels share is made once."""
    blocks: dict[str | None, Block] = {}
    for successor in successors:
        if successor not in blocks:
            blocks[successor] = block(successor, end)
    return [blocks[successor] for successor in successors]
