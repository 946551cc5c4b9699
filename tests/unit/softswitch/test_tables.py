"""Tables: one entry's life, sizes, idle timers, and each match kind."""

from __future__ import annotations

import pytest

from softswitch.tables import Entry, EntryExists, EntryNotFound, Field, MatchKind, MatchValue, Table, TableFull

A8 = {kind: Field(name="a", width=8, kind=kind) for kind in MatchKind}
B16 = {kind: Field(name="b", width=16, kind=kind) for kind in MatchKind}


def table(*fields: Field, size: int = 8, default_is_const: bool = False) -> Table:
    return Table(
        name="t",
        fields=fields,
        actions={"drop": (), "send": (9,)},
        size=size,
        default=Entry(match=(), action="drop", params=()),
        default_is_const=default_is_const,
    )


def entry(*match: MatchValue, port: int = 1, priority: int = 0, idle_timeout_ns: int = 0) -> Entry:
    return Entry(match=match, action="send", params=(port,), priority=priority, idle_timeout_ns=idle_timeout_ns)


def test_an_entry_lives_from_insert_to_delete() -> None:
    exact = table(A8[MatchKind.EXACT])
    first = entry(1)
    exact.insert(first, now_ns=0)
    assert exact.find((1,), 0) is first
    assert exact.lookup((1,)) is first
    assert exact.lookup((2,)) is None
    assert list(exact) == [first]
    assert len(exact) == 1
    exact.delete((1,), 0)
    assert exact.lookup((1,)) is None
    assert len(exact) == 0


def test_the_same_match_twice_is_refused() -> None:
    exact = table(A8[MatchKind.EXACT], B16[MatchKind.EXACT])
    exact.insert(entry(1, 2), now_ns=0)
    with pytest.raises(EntryExists):
        exact.insert(entry(1, 2, port=5), now_ns=0)


def test_a_full_table_takes_no_more() -> None:
    exact = table(A8[MatchKind.EXACT], size=1)
    exact.insert(entry(1), now_ns=0)
    with pytest.raises(TableFull):
        exact.insert(entry(2), now_ns=0)
    exact.delete((1,), 0)
    exact.insert(entry(2), now_ns=0)


@pytest.mark.parametrize("kind", [MatchKind.EXACT, MatchKind.OPTIONAL])
def test_what_is_not_there_is_not_found(kind: MatchKind) -> None:
    empty = table(A8[kind])
    with pytest.raises(EntryNotFound):
        empty.find((1,), 1)
    with pytest.raises(EntryNotFound):
        empty.delete((1,), 1)
    with pytest.raises(EntryNotFound):
        empty.modify(entry(1, priority=1), now_ns=0)


def test_modify_keeps_the_counter_and_rearms_the_timer() -> None:
    exact = table(A8[MatchKind.EXACT])
    known = entry(1, idle_timeout_ns=10)
    exact.insert(known, now_ns=0)
    known.packets, known.octets = 3, 300
    changed = Entry(match=(1,), action="drop", params=(), idle_timeout_ns=20, controller_metadata=4, metadata=b"m")
    exact.modify(changed, now_ns=100)
    assert exact.find((1,), 0) is known
    assert (known.action, known.params, known.idle_timeout_ns) == ("drop", (), 20)
    assert (known.controller_metadata, known.metadata) == (4, b"m")
    assert (known.packets, known.octets, known.last_hit_ns) == (3, 300, 100)


def test_idle_entries_are_those_not_hit_for_their_timeout() -> None:
    exact = table(A8[MatchKind.EXACT])
    short, long, never = entry(1, idle_timeout_ns=10), entry(2, idle_timeout_ns=50), entry(3)
    for each in (short, long, never):
        exact.insert(each, now_ns=100)
    assert list(exact.idle(109)) == []
    assert list(exact.idle(110)) == [short]
    short.last_hit_ns = 145
    assert list(exact.idle(150)) == [long]


def test_the_default_entry_changes_and_comes_back() -> None:
    exact = table(A8[MatchKind.EXACT])
    exact.set_default("send", (7,))
    assert (exact.default.action, exact.default.params, exact.default.code) == ("send", (7,), 1)
    exact.reset_default()
    assert (exact.default.action, exact.default.params, exact.default.code) == ("drop", (), 0)


def test_a_constant_default_entry_stays() -> None:
    with pytest.raises(ValueError, match="default action of table t is constant"):
        table(default_is_const=True).set_default("send", (7,))


def test_the_longest_prefix_wins_whatever_came_first() -> None:
    lpm = table(A8[MatchKind.EXACT], B16[MatchKind.LPM])
    everything, narrow, wide = entry(1, (0, 0)), entry(1, (0x1234, 16)), entry(1, (0x12FF, 8))
    for each in (everything, narrow, wide):
        lpm.insert(each, now_ns=0)
    assert lpm.lookup((1, 0x1234)) is narrow
    assert lpm.lookup((1, 0x1235)) is wide
    assert lpm.lookup((1, 0x9999)) is everything
    assert lpm.lookup((2, 0x1234)) is None
    lpm.delete((1, (0x1234, 16)), 0)
    assert lpm.lookup((1, 0x1234)) is wide


def test_bits_behind_a_prefix_or_mask_do_not_tell_entries_apart() -> None:
    lpm = table(A8[MatchKind.LPM])
    lpm.insert(entry((0x12, 4)), now_ns=0)
    with pytest.raises(EntryExists):
        lpm.insert(entry((0x1F, 4)), now_ns=0)
    ternary = table(A8[MatchKind.TERNARY])
    ternary.insert(entry((0x12, 0xF0), priority=1), now_ns=0)
    with pytest.raises(EntryExists):
        ternary.insert(entry((0x1F, 0xF0), priority=1), now_ns=0)
    ternary.insert(entry((0x1F, 0xF0), priority=2), now_ns=0)


def test_the_greatest_priority_wins_over_masks() -> None:
    ternary = table(A8[MatchKind.TERNARY], B16[MatchKind.TERNARY])
    low = entry((1, 0xFF), (2, 0xFFFF), priority=1)
    high = entry((0, 0), (2, 0x00FF), priority=9)
    same_masks = entry((0, 0), (2, 0x00FF), priority=12)
    for each in (low, high, same_masks):
        ternary.insert(each, now_ns=0)
    assert ternary.lookup((1, 2)) is same_masks
    ternary.delete(same_masks.match, 12)
    assert ternary.lookup((1, 2)) is high
    ternary.delete(high.match, 9)
    assert ternary.lookup((1, 2)) is low
    assert ternary.lookup((1, 3)) is None


def test_ranges_hold_both_ends() -> None:
    ranges = table(A8[MatchKind.RANGE], B16[MatchKind.LPM])
    few, many = entry((10, 20), (0, 0), priority=2), entry((0, 255), (0x1200, 8), priority=1)
    ranges.insert(many, now_ns=0)
    ranges.insert(few, now_ns=0)
    assert ranges.lookup((10, 0)) is few
    assert ranges.lookup((20, 0x1200)) is few
    assert ranges.lookup((9, 0x12FF)) is many
    assert ranges.lookup((21, 0x1300)) is None
    ranges.delete((((10, 20)), (0, 0)), 2)
    assert ranges.lookup((10, 0)) is None


def test_an_optional_field_is_a_value_or_anything() -> None:
    optional = table(A8[MatchKind.OPTIONAL], B16[MatchKind.OPTIONAL])
    anything, one = entry(None, None, priority=1), entry(None, 5, priority=2)
    optional.insert(anything, now_ns=0)
    optional.insert(one, now_ns=0)
    assert optional.lookup((7, 5)) is one
    assert optional.lookup((7, 6)) is anything
