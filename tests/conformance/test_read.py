"""P4Runtime 1.5, "Read RPC" and "TableEntry: Wildcard Reads"."""

from __future__ import annotations

import grpc
import pytest
from finsy.proto import p4r

from softswitch.p4runtime.service import RESPONSE_OCTETS
from softswitch.p4runtime.status import Code
from support.p4rt import (
    DEVICE_ID,
    INSERT,
    P4INFO,
    Client,
    Target,
    action,
    batch_errors,
    counter,
    departs,
    entry,
    exact,
    exact_one,
    group,
    refused,
    register,
    replica,
    ternary,
    update_refused,
)

ALL_TABLES = p4r.Entity(table_entry=p4r.TableEntry())
REASON = action("reason", 1)


def keys(entities: list[p4r.Entity]) -> set[int]:
    """The first match value of each entry."""
    return {int.from_bytes(entity.table_entry.match[0].exact.value) for entity in entities}


async def test_a_backup_may_read_without_a_stream(primary: Client, target: Target) -> None:
    await primary.insert(exact_one(1))
    async with Client(target) as reader:
        assert await reader.read(entry("exact_one")) == [exact_one(1)]


@departs("looks for the pipeline first")
async def test_another_device_is_not_found(primary: Client) -> None:
    with refused(Code.NOT_FOUND):
        await primary.read(ALL_TABLES, device_id=DEVICE_ID + 1)


async def test_an_empty_table_gives_nothing(primary: Client) -> None:
    assert await primary.read(entry("exact_one")) == []
    assert await primary.read(exact_one(1, action=None)) == []


async def test_table_id_zero_reads_all_tables(primary: Client) -> None:
    await primary.insert(exact_one(1), entry("ternary_two", ternary(1, 1, 1), priority=1, action=REASON))
    aliases = {table.preamble.id: table.preamble.alias for table in P4INFO.tables}
    read = [aliases[entity.table_entry.table_id] for entity in await primary.read(ALL_TABLES)]
    assert sorted(read) == ["exact_one", "fixed", "fixed", "ternary_two"]


@departs("PI applies the filter to every table")
@pytest.mark.parametrize(
    "query",
    [
        p4r.TableEntry(priority=1),
        p4r.TableEntry(match=[exact(1, 1)]),
        p4r.TableEntry(action=action("drop")),
        p4r.TableEntry(metadata=b"m"),
        p4r.TableEntry(controller_metadata=1),
        p4r.TableEntry(is_default_action=True),
    ],
)
async def test_table_id_zero_takes_no_other_filter(primary: Client, query: p4r.TableEntry) -> None:
    with update_refused(Code.INVALID_ARGUMENT, "no other filter"):
        await primary.read(p4r.Entity(table_entry=query))


async def test_a_match_selects_at_most_one_entry(primary: Client) -> None:
    await primary.insert(exact_one(1), exact_one(2), exact_one(3))
    assert await primary.read(exact_one(2, action=None)) == [exact_one(2)]


@departs("does not filter by priority, action and metadata")
async def test_other_fields_filter(primary: Client) -> None:
    rows = [
        entry("ternary_two", ternary(1, 1, 1), priority=1, action=REASON, metadata=b"a"),
        entry("ternary_two", ternary(1, 1, 3), priority=2, action=action("forward", 1)),
        entry("ternary_two", ternary(1, 1, 1), priority=2, action=REASON, controller_metadata=4),
    ]
    await primary.insert(*rows)
    by_action = p4r.TableAction(action=p4r.Action(action_id=REASON.action.action_id))
    assert await primary.read(entry("ternary_two", priority=2)) == rows[1:]
    assert await primary.read(entry("ternary_two", action=by_action)) == [rows[0], rows[2]]
    assert await primary.read(entry("ternary_two", metadata=b"a")) == rows[:1]
    assert await primary.read(entry("ternary_two", controller_metadata=4)) == rows[2:]
    assert await primary.read(entry("ternary_two", ternary(1, 1, 1))) == [rows[0], rows[2]]
    assert await primary.read(entry("ternary_two", ternary(1, 1, 1), priority=2, action=by_action)) == rows[2:]


@departs("does not filter by action")
async def test_a_filter_by_parameters_is_invalid(primary: Client) -> None:
    with update_refused(Code.INVALID_ARGUMENT, "action ids"):
        await primary.read(entry("ternary_two", action=REASON))


async def test_constant_entries_are_read(primary: Client) -> None:
    entries = await primary.read(entry("fixed"))
    assert keys(entries) == {0x0800, 0x86DD}


@departs("does not set is_const")
async def test_constant_entries_say_so(primary: Client) -> None:
    assert {entity.table_entry.is_const for entity in await primary.read(entry("fixed"))} == {True}
    await primary.insert(exact_one(1))
    assert {entity.table_entry.is_const for entity in await primary.read(entry("exact_one"))} == {False}


async def test_counter_data_are_there_when_asked_for(primary: Client) -> None:
    await primary.insert(exact_one(1))
    [without] = await primary.read(entry("exact_one"))
    assert not without.table_entry.HasField("counter_data")
    [with_data] = await primary.read(entry("exact_one", counter_data=p4r.CounterData()))
    assert with_data.table_entry.HasField("counter_data")


async def test_time_since_last_hit_is_there_when_asked_for(primary: Client) -> None:
    await primary.insert(exact_one(1, idle_timeout_ns=3_600_000_000_000))
    [without] = await primary.read(entry("exact_one"))
    assert not without.table_entry.HasField("time_since_last_hit")
    query = entry("exact_one", time_since_last_hit=p4r.TableEntry.IdleTimeout())
    [first] = await primary.read(query)
    assert 0 <= first.table_entry.time_since_last_hit.elapsed_ns < 3_600_000_000_000


@departs("the time reads 0 when the timeout is 0")
async def test_time_since_last_hit_needs_no_timeout(primary: Client) -> None:
    await primary.insert(exact_one(1))
    query = entry("exact_one", time_since_last_hit=p4r.TableEntry.IdleTimeout())
    [first] = await primary.read(query)
    [second] = await primary.read(query)
    elapsed = [entity.table_entry.time_since_last_hit.elapsed_ns for entity in (first, second)]
    assert 0 < elapsed[0] < elapsed[1]


@departs("PI ignores what the table does not have")
@pytest.mark.parametrize(
    "query",
    [
        entry("longest", counter_data=p4r.CounterData()),
        entry("longest", time_since_last_hit=p4r.TableEntry.IdleTimeout()),
        entry("exact_one", meter_config=p4r.MeterConfig()),
        entry("exact_one", exact(2, 1)),
        entry("exact_one", is_default_action=True, priority=1),
        p4r.Entity(table_entry=p4r.TableEntry(table_id=7)),
        p4r.Entity(counter_entry=p4r.CounterEntry(counter_id=7)),
        p4r.Entity(register_entry=p4r.RegisterEntry(register_id=7)),
        p4r.Entity(digest_entry=p4r.DigestEntry(digest_id=7)),
        p4r.Entity(),
    ],
)
async def test_queries_that_make_no_sense_are_invalid(primary: Client, query: p4r.Entity) -> None:
    with update_refused(Code.INVALID_ARGUMENT):
        await primary.read(query)


@departs("can not read those of all tables")
async def test_direct_counters_of_one_entry_a_table_and_all_tables(primary: Client) -> None:
    await primary.insert(exact_one(1, counter_data=p4r.CounterData(packet_count=1)), exact_one(2))

    def query(table_entry: p4r.TableEntry) -> p4r.Entity:
        return p4r.Entity(direct_counter_entry=p4r.DirectCounterEntry(table_entry=table_entry))

    [one] = await primary.read(query(exact_one(1, action=None).table_entry))
    assert one.direct_counter_entry.data.packet_count == 1
    for wildcard in (entry("exact_one").table_entry, p4r.TableEntry()):
        read = await primary.read(query(wildcard))
        counts = {e.direct_counter_entry.table_entry.match[0].exact.value: e.direct_counter_entry.data for e in read}
        assert {key: data.packet_count for key, data in counts.items()} == {b"\1": 1, b"\2": 0}


@departs("answers otherwise")
async def test_the_direct_counter_of_no_entry_is_not_found(primary: Client) -> None:
    key = exact_one(9, action=None).table_entry
    with update_refused(Code.NOT_FOUND, "exact_one"):
        await primary.read(p4r.Entity(direct_counter_entry=p4r.DirectCounterEntry(table_entry=key)))


async def test_counters_one_cell_one_counter_all_counters(primary: Client) -> None:
    assert await primary.read(counter(3)) == [counter(3, data=p4r.CounterData())]
    all_cells = await primary.read(counter())
    assert [entity.counter_entry.index.index for entity in all_cells] == list(range(8))
    assert await primary.read(p4r.Entity(counter_entry=p4r.CounterEntry())) == all_cells


@departs("no register access through P4Runtime")
async def test_registers_all(primary: Client) -> None:
    read = await primary.read(p4r.Entity(register_entry=p4r.RegisterEntry()))
    assert read == [register(cell, data={"bitstring": b"\0"}) for cell in range(4)]


@departs("answers UNIMPLEMENTED for some wildcards")
async def test_wildcards_of_what_the_program_lacks_are_empty(primary: Client) -> None:
    for query in (
        p4r.Entity(action_profile_member=p4r.ActionProfileMember()),
        p4r.Entity(action_profile_group=p4r.ActionProfileGroup()),
        p4r.Entity(meter_entry=p4r.MeterEntry()),
        p4r.Entity(value_set_entry=p4r.ValueSetEntry()),
        p4r.Entity(
            packet_replication_engine_entry=p4r.PacketReplicationEngineEntry(
                clone_session_entry=p4r.CloneSessionEntry()
            )
        ),
        p4r.Entity(digest_entry=p4r.DigestEntry()),
    ):
        assert await primary.read(query) == []


@departs("stops at the first query that fails")
async def test_a_batch_of_queries_answers_what_it_can_and_names_the_rest(primary: Client) -> None:
    """P4Runtime 1.5, "Read RPC: Batch Processing"."""
    await primary.insert(exact_one(1), group(1, replica(1)))
    bad = p4r.Entity(table_entry=p4r.TableEntry(table_id=7))
    request = p4r.ReadRequest(device_id=DEVICE_ID, entities=[entry("exact_one"), bad, group(0), p4r.Entity()])
    responses = primary.stub.Read(request)
    answers = [*(await responses.read()).entities]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await responses.read()
    assert answers == [exact_one(1), group(1, replica(1))]
    codes = [error.canonical_code for error in batch_errors(caught.value)]
    assert codes == [Code.OK, Code.INVALID_ARGUMENT, Code.OK, Code.INVALID_ARGUMENT]


@departs("answers in one message, which may be too large")
async def test_a_large_table_is_answered_in_bounded_messages(primary: Client) -> None:
    note = bytes(4000)
    updates = [p4r.Update(type=INSERT, entity=exact_one(mac, metadata=note)) for mac in range(1, 1001)]
    for start in range(0, len(updates), 200):
        await primary.write(*updates[start : start + 200])
    request = p4r.ReadRequest(device_id=DEVICE_ID, entities=[entry("exact_one")])
    responses = [response async for response in primary.stub.Read(request)]
    assert keys([entity for response in responses for entity in response.entities]) == set(range(1, 1001))
    assert max(response.ByteSize() for response in responses) < 2 * RESPONSE_OCTETS
