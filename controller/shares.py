"""How many of something each should have, and in which order they get it: arithmetic on arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

#: The level of what is given nothing: above all others, and small enough to be added up.
FULL = 1 << 40


def shares(size: int, weights: Counts, holding: Counts) -> Counts:
    """How many of `size` each should have: by weight, largest remainder.

    Equal weights differ by one at most; weight 0 gets none. Of equal remainders one that holds more than its whole
    share already comes first, so that nothing moves without need, then the first.

    Raises:
        ValueError: no weight is above 0.
    """
    total = int(weights.sum())
    if total <= 0:
        raise ValueError("no node has a weight above 0")
    result, remainders = np.divmod(size * weights, total)
    by_remainder = np.lexsort((holding <= result, -remainders))
    result[by_remainder[: size - int(result.sum())]] += 1
    return result


def spread(size: int, weights: Mapping[int, int], holding: Mapping[int, int] | None = None) -> dict[int, int]:
    """`shares` of nodes by their ids; of equal claims the lower id comes first.

    Raises:
        ValueError: no node has a weight above 0.
    """
    nodes = sorted(weights)
    held = holding or {}
    found = shares(size, np.array([weights[n] for n in nodes]), np.array([held.get(n, 0) for n in nodes]))
    return dict(zip(nodes, found.tolist(), strict=True))


def fill(levels: Counts, count: int) -> Counts:
    """Who gets each of `count` things, one after the other, the one with least always first, then the first of those.

    Args:
        levels: what each has before; not empty.
        count: how many are given away.

    Returns:
        an index into `levels` for each of them, in order.
    """
    return fill_rows(levels[np.newaxis], np.array([count]))


def fill_rows(levels: Counts, counts: Counts) -> Counts:
    """`fill` of each row of a matrix by itself: the columns, row after row.

    Args:
        levels: what each has before; `FULL`: it cannot get any. Some column of each row is not full.
        counts: how many are given away in each row.
    """
    order = np.argsort(levels, axis=1, kind="stable")
    ascending = np.take_along_axis(levels, order, axis=1)
    whole = np.arange(1, levels.shape[1] + 1)
    sums = np.cumsum(ascending, axis=1)
    # What it takes to lift all that are lower to each one's level; those that are lifted end at the same height.
    is_lifted = ascending * whole - sums <= counts[:, np.newaxis]
    lifted = is_lifted.sum(axis=1)
    total = counts + np.take_along_axis(sums, lifted[:, np.newaxis] - 1, axis=1)[:, 0]
    height, rest = np.divmod(total, lifted)
    gets = np.zeros_like(levels)
    np.put_along_axis(gets, order, np.where(is_lifted, height[:, np.newaxis] - ascending, 0), axis=1)
    lifted_here = np.zeros(levels.shape, dtype=bool)
    np.put_along_axis(lifted_here, order, is_lifted, axis=1)
    gets += lifted_here & (np.cumsum(lifted_here, axis=1) <= rest[:, np.newaxis])
    each = gets.ravel()
    takers = np.repeat(np.arange(levels.size), each)
    rows, columns = np.divmod(takers, levels.shape[1])
    return columns[np.lexsort((columns, levels.ravel()[takers] + ranks(each), rows))]


def ranks(counts: Counts) -> Counts:
    """0 … c - 1 for each count c, one after the other."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def interleave(counts: Counts) -> Counts:
    """Each index as often as its count says, spread as evenly over the whole as can be."""
    who = np.repeat(np.arange(len(counts)), counts)
    return who[np.lexsort((who, (ranks(counts) + 0.5) / counts[who]))]
