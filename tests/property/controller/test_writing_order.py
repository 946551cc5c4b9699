"""At every moment of a change each bucket is served by the node that it had or the node that it gets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.diff import batches, diff
from controller.entries import Entry, Key, Kind

NODES = st.integers(1, 3)
SLOTS = st.integers(0, 5)
slot_tables = st.fixed_dictionaries(dict.fromkeys(range(6), NODES))
bucket_tables = st.lists(SLOTS, min_size=8, max_size=8)


def entries(slots: dict[int, int], buckets: list[int]) -> dict[Key, Entry]:
    found = {Key(Kind.SLOT, (slot,)): Entry((node,)) for slot, node in slots.items()}
    return found | {Key(Kind.BUCKET, (1, bucket)): Entry((slot,)) for bucket, slot in enumerate(buckets)}


def owner(state: dict[Key, Entry], bucket: int) -> int:
    (slot,) = state[Key(Kind.BUCKET, (1, bucket))].params
    return state[Key(Kind.SLOT, (slot,))].params[0]


@given(slots=slot_tables, before=bucket_tables, after=bucket_tables, data=st.data())
def test_buckets_leave_before_their_slot_changes(
    slots: dict[int, int], before: list[int], after: list[int], data: st.DataObject
) -> None:
    """Slots that the buckets left may point anywhere afterwards; those in use stay: as in tidying and rebalancing."""
    unused = set(range(6)) - set(after)
    new_slots = {slot: data.draw(NODES) if slot in unused else node for slot, node in slots.items()}
    state, desired = entries(slots, before), entries(new_slots, after)
    olds, news = ([owner(table, bucket) for bucket in range(8)] for table in (state, desired))
    updates = {update.key: update for update in diff(desired, desired.get, state)}
    for batch in batches(updates.values(), lambda slot: slot in after, size=3):
        # A switch may carry a batch out in any order.
        for key in data.draw(st.permutations(batch)):
            entry = updates[key].entry
            assert entry is not None
            state[key] = entry
            for bucket in range(8):
                assert owner(state, bucket) in (olds[bucket], news[bucket])
    assert state == desired


@given(desired=bucket_tables, actual=bucket_tables, slots=slot_tables, size=st.integers(1, 5))
def test_a_diff_that_was_carried_out_leaves_none(
    desired: list[int], actual: list[int], slots: dict[int, int], size: int
) -> None:
    wanted, found = entries(slots, desired), entries({0: 1, 7: 2}, actual[:4])
    keys = list(dict.fromkeys([*wanted, *found]))
    updates = {update.key: update for update in diff(keys, wanted.get, found)}
    for batch in batches(updates.values(), lambda slot: slot in desired, size=size):
        assert len(batch) <= size
        for key in batch:
            entry = updates[key].entry
            if entry is None:
                del found[key]
            else:
                found[key] = entry
    assert found == wanted
    assert diff(keys, wanted.get, found) == []
