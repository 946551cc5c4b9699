"""The match engine against the definition: of all entries that match, one of the greatest rank."""

from __future__ import annotations

from typing import assert_never

from hypothesis import given
from hypothesis import strategies as st

from softswitch.tables import Entry, EntryExists, EntryNotFound, Field, MatchKind, MatchValue, Table

WIDTH = 4
VALUES = st.integers(0, 2**WIDTH - 1)
MATCHES: dict[MatchKind, st.SearchStrategy[MatchValue]] = {
    MatchKind.EXACT: VALUES,
    MatchKind.LPM: st.tuples(VALUES, st.integers(0, WIDTH)),
    MatchKind.TERNARY: st.tuples(VALUES, VALUES),
    MatchKind.RANGE: st.tuples(VALUES, VALUES).map(lambda pair: (min(pair), max(pair))),
    MatchKind.OPTIONAL: st.one_of(VALUES, st.none()),
}
KINDS = st.lists(st.sampled_from(MatchKind), min_size=1, max_size=3).filter(
    lambda kinds: kinds.count(MatchKind.LPM) <= 1
)


def matches(kind: MatchKind, match: MatchValue, value: int) -> bool:
    """P4Runtime 9.1.1, word for word."""
    if match is None:
        return True
    if isinstance(match, int):
        return value == match
    first, second = match
    match kind:
        case MatchKind.LPM:
            return value >> WIDTH - second == first >> WIDTH - second
        case MatchKind.TERNARY:
            return value & second == first & second
        case MatchKind.RANGE:
            return first <= value <= second
        case MatchKind.EXACT | MatchKind.OPTIONAL:
            raise AssertionError(match)
        case _:
            assert_never(kind)


def prefix_length(match: tuple[MatchValue, ...]) -> int:
    return sum(value[1] for value in match if isinstance(value, tuple))


@given(st.data())
def test_lookup_is_the_definition(data: st.DataObject) -> None:
    kinds = data.draw(KINDS)
    needs_priority = not set(kinds) <= {MatchKind.EXACT, MatchKind.LPM}
    table = Table(
        name="t",
        fields=tuple(Field(name=f"f{i}", width=WIDTH, kind=kind) for i, kind in enumerate(kinds)),
        actions={"go": ()},
        size=1000,
        default=Entry(match=(), action="go", params=()),
    )
    priorities = st.integers(1, 5) if needs_priority else st.just(0)
    operations = st.tuples(st.booleans(), st.tuples(*(MATCHES[kind] for kind in kinds)), priorities)
    model: list[Entry] = []
    for is_insert, match, priority in data.draw(st.lists(operations, max_size=30)):
        if is_insert:
            entry = Entry(match=match, action="go", params=(), priority=priority)
            try:
                table.insert(entry, now_ns=0)
            except EntryExists:
                assert table.find(match, priority) in model
            else:
                model.append(entry)
        else:
            try:
                found = table.find(match, priority)
            except EntryNotFound:
                continue
            table.delete(match, priority)
            model.remove(found)
    assert len(table) == len(model)
    assert set(map(id, table)) == set(map(id, model))
    for key in data.draw(st.lists(st.tuples(*(VALUES for _ in kinds)), max_size=20)):
        fitting = [e for e in model if all(map(matches, kinds, e.match, key))]
        found_entry = table.lookup(key)
        if not fitting:
            assert found_entry is None
            continue
        assert found_entry in fitting
        if needs_priority:
            assert found_entry.priority == max(e.priority for e in fitting)
        else:
            assert prefix_length(found_entry.match) == max(prefix_length(e.match) for e in fitting)
