"""Layer-2 learning."""

from __future__ import annotations

from controller.entries import Entry, Key, Kind
from controller.stations import StationTable

AGEING_NS = 300_000_000_000
VIP_MAC = 0x02500A000064
MAC = 0x020000000011


def make(capacity: int = 10) -> StationTable:
    return StationTable(reserved=frozenset({VIP_MAC}), capacity=capacity, ageing_ns=AGEING_NS)


def entries(table: StationTable) -> dict[Key, Entry | None]:
    return {key: table.maybe_entry(key) for key in table.entry_keys()}


def test_a_station_gets_an_entry_in_both_tables() -> None:
    table = make()
    dmac, smac = Key(Kind.DMAC, (5, MAC)), Key(Kind.SMAC, (5, MAC, 3))
    assert table.learn(5, MAC, 3) == [dmac, smac]
    assert entries(table) == {dmac: Entry((3,)), smac: Entry((), AGEING_NS)}
    assert table.learn(5, MAC, 3) == [], "told again: nothing changes"


def test_vlans_are_apart() -> None:
    table = make()
    table.learn(0, MAC, 1)
    table.learn(5, MAC, 2)
    assert table.ports() == {(0, MAC): 1, (5, MAC): 2}


def test_a_station_that_moved_leaves_nothing_behind() -> None:
    table = make()
    table.learn(0, MAC, 1)
    old = Key(Kind.SMAC, (0, MAC, 1))
    assert old in table.learn(0, MAC, 2)
    assert table.maybe_entry(old) is None
    assert table.maybe_entry(Key(Kind.DMAC, (0, MAC))) == Entry((2,))


def test_ageing_removes_both_entries_but_not_a_station_that_has_moved() -> None:
    table = make()
    table.learn(0, MAC, 1)
    table.learn(0, MAC, 2)
    assert table.age(0, MAC, 1) == []
    assert set(table.age(0, MAC, 2)) == {Key(Kind.DMAC, (0, MAC)), Key(Kind.SMAC, (0, MAC, 2))}
    assert len(table) == 0


def test_reserved_and_group_addresses_are_never_learnt() -> None:
    table = make()
    for mac in (VIP_MAC, 0xFFFFFFFFFFFF, 0x01005E000001, 0):
        assert table.learn(0, mac, 1) == []
    assert len(table) == 0


def test_a_full_table_learns_no_more_but_follows_whom_it_knows() -> None:
    table = make(capacity=2)
    table.learn(0, MAC, 1)
    table.learn(0, MAC + 1, 1)
    assert table.is_full
    assert table.learn(0, MAC + 2, 1) == []
    assert table.learn(0, MAC, 2)


def test_a_switch_that_was_read_back_gives_its_stations() -> None:
    table = make()
    table.adopt([Key(Kind.SMAC, (0, MAC, 4)), Key(Kind.DMAC, (0, 9)), Key(Kind.ARP, (0, 1))])
    assert table.ports() == {(0, MAC): 4}
