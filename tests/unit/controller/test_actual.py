"""What a switch holds: a mapping like any other, with buckets in arrays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.actual import Actual
from controller.entries import SPLIT_SLOT, Entry, Key, Kind

keys = st.builds(
    Key, st.just(Kind.BUCKET), st.tuples(st.integers(1, 3), st.integers(0, 5) | st.integers(0, 65_535))
) | st.builds(Key, st.just(Kind.SLOT), st.tuples(st.integers(0, 3)))
slots = st.integers(0, 65_535)
entries = st.builds(Entry, st.tuples(slots), st.integers(0, 2**63 - 1), st.just("")) | st.builds(
    Entry, st.tuples(slots, slots, st.integers(0, 2**32 - 1)), st.integers(0, 2**63 - 1), st.just(SPLIT_SLOT)
)


@given(steps=st.lists(st.tuples(keys, entries | st.none())))
def test_it_is_as_a_dict_would_be(steps: list[tuple[Key, Entry | None]]) -> None:
    actual, expected = Actual({1: 4, 2: 256}), dict[Key, Entry]()
    for key, entry in steps:
        if entry is not None:
            actual[key] = expected[key] = entry
        else:
            assert actual.pop(key, None) == expected.pop(key, None)
        assert actual.get(key) == expected.get(key)
    assert actual == expected
    assert len(actual) == len(expected)
    assert set(actual) == set(expected)


def test_what_is_not_there_cannot_be_deleted() -> None:
    for key in (Key(Kind.BUCKET, (1, 0)), Key(Kind.BUCKET, (9, 0)), Key(Kind.SLOT, (1,))):
        with pytest.raises(KeyError):
            del Actual({1: 4})[key]


def test_split_buckets_are_listed() -> None:
    actual = Actual({1: 4})
    actual[Key(Kind.BUCKET, (1, 2))] = Entry((16, 0, 9), 5, SPLIT_SLOT)
    actual[Key(Kind.BUCKET, (1, 3))] = Entry((16,), 5)
    assert actual.splits() == {(1, 2): 0}


def test_other_vservers_keep_every_entry() -> None:
    actual = Actual({1: 4, 2: 4})
    entries = {
        Key(Kind.BUCKET, (1, 0)): Entry((16,), 5),
        Key(Kind.BUCKET, (2, 3)): Entry((16, 17, 9), 5, SPLIT_SLOT),
        Key(Kind.BUCKET, (3, 3)): Entry((18,), 5),
        Key(Kind.BUCKET, (3, 9)): Entry((18,), 5),
        Key(Kind.SLOT, (16,)): Entry((1, 2, 3)),
    }
    actual.update(entries)
    for sizes, foreign in (({1: 4, 3: 8}, 3), ({}, 5), ({1: 4, 2: 4, 3: 16}, 1), ({1: 4, 2: 4}, 3)):
        actual.resize(sizes)
        assert dict(actual) == entries
        assert len(actual.others) == foreign
        assert {vserver_id: len(found) for vserver_id, found in actual.buckets.items()} == sizes
