"""P4Runtime 1.5, "SetForwardingPipelineConfig RPC": RECONCILE_AND_COMMIT to another program."""

from __future__ import annotations

from typing import Any

import pytest
from finsy.proto import p4i, p4r
from google.protobuf import text_format

from softswitch.p4runtime.status import Code
from support.p4rt import (
    CLONE,
    LOOKUP,
    P4INFO,
    PROGRAM,
    Client,
    SetConfig,
    Target,
    action,
    between,
    clone_session,
    config,
    counter,
    departs,
    digest_config,
    entry,
    exact,
    exact_one,
    frame,
    group,
    lpm,
    packet_out,
    refused,
    register,
    replica,
    table,
    ternary,
)

NEXT_INFO = text_format.Parse((PROGRAM / "next.p4info.txtpb").read_text(), p4i.P4Info())
NEXT = config(p4info=NEXT_INFO, p4_device_config=(PROGRAM / "next.json").read_bytes())
COUNT = p4r.CounterData(packet_count=3, byte_count=300)
HOUR_NS = 3600 * 10**9


# PI writes back what it reads from all tables, constant entries included, which BMv2 refuses.
fails = departs("tries to write the program's constant entries, too, and fails with UNKNOWN")


async def reconcile(client: Client, to: Any = NEXT) -> None:
    await client.set_config(SetConfig.RECONCILE_AND_COMMIT, to)


def value(number: int) -> Any:
    """A register's value."""
    return {"bitstring": bytes([number])}


@fails
async def test_entries_are_kept(primary: Client) -> None:
    entries = [
        exact_one(1),
        exact_one(2, action=action("drop")),
        entry("longest", lpm(1, 0x20 << 120, 8), action=action("reason", 5)),
        entry("mixed", between(1, 3, 9), exact(3, 1), priority=4, action=action("forward", 7)),
    ]
    await primary.insert(*entries)
    await reconcile(primary)
    assert (await primary.get_config()).config.p4info == NEXT_INFO
    kept = [kept for alias in ("exact_one", "longest", "mixed") for kept in await primary.read(entry(alias))]
    assert sorted(map(str, kept)) == sorted(map(str, entries))


@fails
async def test_what_the_client_keeps_with_an_entry_is_kept(primary: Client) -> None:
    kept = exact_one(1, metadata=b"mine", idle_timeout_ns=HOUR_NS)
    await primary.insert(kept)
    await reconcile(primary)
    assert await primary.read(entry("exact_one")) == [kept]


@fails
async def test_packets_find_the_entries(primary: Client) -> None:
    await primary.insert(exact_one(1, port=510))
    await reconcile(primary)
    await primary.send(packet=packet_out(frame(dst=1), act=LOOKUP))
    assert (await primary.receive("packet")).payload == frame(dst=1)


@fails
async def test_idle_timers_go_on(primary: Client) -> None:
    await primary.insert(exact_one(1, idle_timeout_ns=HOUR_NS))
    while (before := await _idle_ns(primary)) < 100_000_000:
        pass
    await reconcile(primary)
    assert await _idle_ns(primary) > before


async def _idle_ns(client: Client) -> int:
    query = entry("exact_one", time_since_last_hit=p4r.TableEntry.IdleTimeout())
    [read] = await client.read(query)
    return read.table_entry.time_since_last_hit.elapsed_ns


@fails
async def test_direct_counters_go_on(primary: Client) -> None:
    await primary.insert(exact_one(1, counter_data=COUNT))
    await reconcile(primary)
    [kept] = await primary.read(entry("exact_one", counter_data=p4r.CounterData()))
    assert kept.table_entry.counter_data == COUNT


@fails
async def test_default_entries_of_the_client_are_kept(primary: Client) -> None:
    mine = entry("keyless", is_default_action=True, action=action("reason", 9))
    await primary.modify(mine)
    await reconcile(primary)
    assert await primary.read(entry("keyless", is_default_action=True)) == [mine]


@fails
async def test_what_the_program_gives_is_the_new_programs(primary: Client) -> None:
    await reconcile(primary)
    [default] = await primary.read(entry("exact_two", is_default_action=True))
    assert default.table_entry.action == action("reason", 8)
    fixed = {
        kept.table_entry.match[0].exact.value: kept.table_entry.action for kept in await primary.read(entry("fixed"))
    }
    assert fixed == {b"\x08\0": action("reason", 5), b"\x86\xdd": action("reason", 6)}


@fails
async def test_counters_and_registers_are_kept(primary: Client) -> None:
    await primary.modify(counter(3, data=COUNT), register(2, data=value(7)))
    await reconcile(primary)
    [kept] = await primary.read(counter(3))
    assert kept.counter_entry.data == COUNT
    [kept] = await primary.read(register(2))
    assert kept.register_entry.data.bitstring == b"\7"
    assert len(await primary.read(register())) == 8


@fails
async def test_clone_sessions_are_kept(primary: Client) -> None:
    kept = clone_session(9, replica(510, 1), replica(510, 2))
    await primary.insert(kept)
    await reconcile(primary)
    assert await primary.read(clone_session(0)) == [kept]
    await primary.send(packet=packet_out(frame(), act=CLONE, port=9))
    assert [(await primary.receive("packet")).payload for _ in range(2)] == [frame(), frame()]


@fails
async def test_groups_and_digests_are_kept(primary: Client) -> None:
    kept = [group(1, replica(1), replica(2, 3)), digest_config(max_timeout_ns=1, max_list_size=2, ack_timeout_ns=3)]
    await primary.insert(*kept)
    await reconcile(primary)
    assert await primary.read(group(1)) == kept[:1]
    assert await primary.read(digest_config()) == kept[1:]


@fails
async def test_there_is_room_for_more_afterwards(primary: Client) -> None:
    await primary.insert(*map(exact_one, range(1024)))
    await reconcile(primary)
    await primary.insert(*map(exact_one, range(1024, 2048)))
    assert len(await primary.read(entry("exact_one"))) == 2048


@departs("ends")
async def test_without_a_pipeline_it_is_a_commit(target: Target) -> None:
    async with Client(target) as client:
        await client.become(Code.OK, 1)
        await reconcile(client)
        assert (await client.get_config()).config.p4info == NEXT_INFO
        assert await client.read(entry("exact_one")) == []


@fails
async def test_an_object_without_state_may_change(primary: Client) -> None:
    """`next` has another key, parameters, sizes and names; the conformance program starts without any state."""
    await reconcile(primary)
    assert await primary.read(entry("longest")) == []
    await reconcile(primary, config())
    assert await primary.read(entry("ternary_two")) == []


LONG = 1 << 127
NOT_KEPT = {
    "a table that is gone": (
        [entry("ternary_two", ternary(1, 1, 1), priority=1, action=action("reason", 1))],
        ["ConformanceIngress.ternary_two"],
    ),
    "another key": (
        [entry("exact_two", exact(1, 1), exact(2, 1), action=action("forward", 1))],
        ["ConformanceIngress.exact_two", "fields"],
    ),
    "a table too small": (
        [entry("longest", lpm(1, number << 120, 8), action=action("reason", 1)) for number in (1, 2)],
        ["ConformanceIngress.longest", "full"],
    ),
    "an action with other parameters": (
        [exact_one(1, action=action("two", 1, 2))],
        ["ConformanceIngress.exact_one", "ConformanceIngress.two"],
    ),
}
NOT_KEPT_MODIFIED = {
    "a default entry that is constant": (
        entry("mixed", is_default_action=True, action=action("reason", 1)),
        entry("mixed", is_default_action=True),
        ["ConformanceIngress.mixed", "constant"],
    ),
    "a cell that is gone": (counter(4, data=COUNT), counter(4), ["ConformanceIngress.seen", "cell 4"]),
}


@fails
@pytest.mark.parametrize("case", list(NOT_KEPT))
async def test_what_cannot_be_kept_is_refused_and_everything_stays(primary: Client, case: str) -> None:
    entities, words = NOT_KEPT[case]
    await primary.insert(exact_one(7), *entities)
    with refused(Code.INVALID_ARGUMENT, "preserved", *words):
        await reconcile(primary)
    await _check_unchanged(primary)
    table_id = entities[0].table_entry.table_id
    kept = await primary.read(p4r.Entity(table_entry=p4r.TableEntry(table_id=table_id)))
    assert len(kept) == len(entities) + (table_id == table("exact_one").preamble.id)


@fails
@pytest.mark.parametrize("case", list(NOT_KEPT_MODIFIED))
async def test_a_value_that_cannot_be_kept_is_refused_and_everything_stays(primary: Client, case: str) -> None:
    entity, query, words = NOT_KEPT_MODIFIED[case]
    await primary.insert(exact_one(7))
    await primary.modify(entity)
    with refused(Code.INVALID_ARGUMENT, "preserved", *words):
        await reconcile(primary)
    await _check_unchanged(primary)
    assert await primary.read(query) == [entity]


@fails
async def test_an_id_that_stands_for_something_else_is_refused(primary: Client) -> None:
    """Ids decide what goes where, but an entry must not land in another table because that has got its id."""
    await primary.insert(exact_one(7))
    swapped = p4i.P4Info()
    swapped.CopyFrom(NEXT_INFO)
    first, other = (next(t for t in swapped.tables if t.preamble.alias == alias) for alias in ("exact_one", "longest"))
    first.preamble.id, other.preamble.id = other.preamble.id, first.preamble.id
    swapped.direct_counters[0].direct_table_id = first.preamble.id
    with refused(Code.INVALID_ARGUMENT, "preserved", "ConformanceIngress.exact_one", "ConformanceIngress.longest"):
        await reconcile(primary, config(p4info=swapped, p4_device_config=NEXT.p4_device_config))
    await _check_unchanged(primary)


@fails
async def test_a_program_that_cannot_run_is_refused(primary: Client) -> None:
    await primary.insert(exact_one(7))
    with refused(Code.INVALID_ARGUMENT):
        await reconcile(primary, config(p4_device_config=b"{}"))
    await _check_unchanged(primary)


@departs("answers UNKNOWN")
async def test_a_missing_config_is_invalid(primary: Client) -> None:
    with refused(Code.INVALID_ARGUMENT):
        await reconcile(primary, None)


async def _check_unchanged(client: Client) -> None:
    """The old program runs, with the entry that each of these tests has written."""
    assert (await client.get_config()).config.p4info == P4INFO
    assert exact_one(7) in await client.read(entry("exact_one"))
