"""What a node's workers say of themselves, made into what the node says (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_KEYS = ("id", "name")
"""What tells the items of a list apart."""
_MEANS = ("average_", "recent_")
_SAME = frozenset({*_KEYS, "address", "weight", "effective_weight", "pool"})
"""What is the same for all workers."""


def merge_statuses(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One document of several that are alike.

    Numbers are added up, but for averages, which count as often as there were `hits`; what is true for one is true;
    words that differ are all said; lists are merged item by item, by their id or name.
    """
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for document in documents for name in document):
        having = [document for document in documents if name in document]
        if name.startswith(_MEANS):
            merged[name] = _average([(document[name], document.get("hits", 1)) for document in having])
        elif name in _SAME:
            merged[name] = having[0][name]
        else:
            merged[name] = _merge([document[name] for document in having])
    return merged


def _merge(values: Sequence[Any]) -> Any:
    first = next((value for value in values if value is not None), None)
    match first:
        case bool():
            return any(values)
        case int() | float():
            return sum(value for value in values if value is not None)
        case dict():
            return merge_statuses(values)
        case list():
            return _merge_lists(values)
        case str():
            return "; ".join(dict.fromkeys(values))
        case _:
            return first


def _merge_lists(lists: Sequence[list[Any]]) -> list[Any]:
    items: dict[Any, list[Mapping[str, Any]]] = {}
    for item in (item for values in lists for item in values):
        items.setdefault(next(item[key] for key in _KEYS if key in item), []).append(item)
    return [merge_statuses(alike) for alike in items.values()]


def _average(values: Sequence[tuple[float | None, int]]) -> float | None:
    known = [(value, weight) for value, weight in values if value is not None and weight]
    weights = sum(weight for _, weight in known)
    return round(sum(value * weight for value, weight in known) / weights, 3) if weights else None


def merge_open(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One answer about open connections of those of all workers (`tlsnodes.open_connections.count_by_bucket`)."""
    return {name: _merge([answer[name] for answer in answers if name in answer]) for name in _names(answers)}


def _names(answers: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for answer in answers for name in answer))
