"""P4Runtime 1.5, "Write RPC", "TableEntry" and the other entities, as far as they are written."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from finsy.proto import p4r

from softswitch.p4runtime.status import Code
from support.p4rt import (
    DELETE,
    DEVICE_ID,
    INSERT,
    MODIFY,
    Client,
    action,
    batch_errors,
    between,
    clone_session,
    counter,
    departs,
    digest_config,
    entry,
    exact,
    exact_one,
    group,
    lpm,
    optional,
    refused,
    register,
    replica,
    status_of,
    table,
    ternary,
    uint128,
    update_refused,
)

REASON = action("reason", 1)
ALL_ONES = (1 << 128) - 1


async def wrote(primary: Client, entity: p4r.Entity) -> None:
    """Insert an entry and read the very same message back (P4Runtime 1.5, "Read-Write Symmetry")."""
    await primary.insert(entity)
    query = p4r.Entity()
    query.CopyFrom(entity)
    query.table_entry.ClearField("action")
    assert await primary.read(query) == [entity]


# Before the updates.


@departs("looks at the election first")
async def test_another_device_is_not_found(primary: Client) -> None:
    with refused(Code.NOT_FOUND, str(DEVICE_ID + 1)):
        await primary.write(device_id=DEVICE_ID + 1)


async def test_another_election_id_is_denied(primary: Client) -> None:
    with refused(Code.PERMISSION_DENIED):
        await primary.write(election_id=uint128(2))
    with refused(Code.PERMISSION_DENIED):
        await primary.write(election_id=None)


@pytest.mark.parametrize("atomicity", [p4r.WriteRequest.ROLLBACK_ON_ERROR, p4r.WriteRequest.DATAPLANE_ATOMIC])
async def test_other_atomicities_are_unimplemented(
    primary: Client, atomicity: p4r.WriteRequest.Atomicity.ValueType
) -> None:
    with refused(Code.UNIMPLEMENTED, "CONTINUE_ON_ERROR"):
        await primary.write(p4r.Update(type=INSERT, entity=exact_one(1)), atomicity=atomicity)
    assert await primary.read(entry("exact_one")) == []


# Batches.


async def test_each_update_of_a_batch_gets_its_own_error_in_order(primary: Client) -> None:
    await primary.insert(exact_one(1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await primary.write(
            p4r.Update(type=INSERT, entity=exact_one(1)),
            p4r.Update(type=INSERT, entity=exact_one(2)),
            p4r.Update(type=DELETE, entity=exact_one(3)),
            p4r.Update(type=MODIFY, entity=exact_one(4)),
        )
    codes = [error.canonical_code for error in batch_errors(caught.value)]
    assert codes == [Code.ALREADY_EXISTS, Code.OK, Code.NOT_FOUND, Code.NOT_FOUND]
    assert status_of(caught.value).code == Code.UNKNOWN
    assert len(await primary.read(entry("exact_one"))) == 2


@departs("takes an empty update for success or an internal error")
async def test_an_update_must_say_what_and_how(primary: Client) -> None:
    with update_refused(Code.INVALID_ARGUMENT, "no entity"):
        await primary.insert(p4r.Entity())
    with update_refused(Code.INVALID_ARGUMENT, "INSERT, MODIFY or DELETE"):
        await primary.write(p4r.Update(entity=exact_one(1)))


@departs("names other codes for what the program does not have")
async def test_entities_that_are_not_supported_are_unimplemented_by_name(primary: Client) -> None:
    for entity in (
        p4r.Entity(action_profile_member=p4r.ActionProfileMember(action_profile_id=1)),
        p4r.Entity(action_profile_group=p4r.ActionProfileGroup(action_profile_id=1)),
        p4r.Entity(meter_entry=p4r.MeterEntry(meter_id=1)),
        p4r.Entity(direct_meter_entry=p4r.DirectMeterEntry()),
        p4r.Entity(value_set_entry=p4r.ValueSetEntry(value_set_id=1)),
        p4r.Entity(extern_entry=p4r.ExternEntry(extern_type_id=1)),
    ):
        with update_refused(Code.UNIMPLEMENTED, str(entity.WhichOneof("entity"))):
            await primary.insert(entity)


# Table entries: what is written is what is read.


async def test_exact_entries(primary: Client) -> None:
    await wrote(primary, exact_one(0x0A0B0C0D0E0F, action=action("two", 3, 0x1234)))
    await wrote(primary, entry("exact_two", exact(1, 1), exact(2, ALL_ONES), action=action("forward", 2)))


async def test_lpm_entries(primary: Client) -> None:
    await wrote(primary, entry("longest", lpm(1, ALL_ONES, 128), action=REASON))
    await wrote(primary, entry("longest", lpm(1, 0x20010DB8 << 96, 32), action=REASON))


async def test_ternary_entries(primary: Client) -> None:
    await wrote(primary, entry("ternary_two", ternary(1, 0x0800, 0xFF00), priority=5, action=REASON))
    both = (ternary(1, 0, 1), ternary(2, 2, 0xF))
    await wrote(primary, entry("ternary_two", *both, priority=6, action=REASON))


async def test_range_and_optional_entries(primary: Client) -> None:
    await wrote(primary, entry("mixed", between(1, 1, 9), exact(3, 1), priority=1, action=REASON))
    await wrote(primary, entry("mixed", optional(2, 510), exact(3, 1), priority=2, action=REASON))


async def test_an_entry_may_match_everything(primary: Client) -> None:
    """Don't-care matches are omitted, so the entry has none."""
    everything = entry("ternary_two", priority=1, action=REASON)
    await wrote(primary, everything)
    with update_refused(Code.ALREADY_EXISTS):
        await primary.insert(everything)


async def test_the_same_match_may_be_there_with_two_priorities(primary: Client) -> None:
    for priority in (1, 2):
        await primary.insert(entry("ternary_two", ternary(1, 1, 1), priority=priority, action=REASON))
    await primary.delete(entry("ternary_two", ternary(1, 1, 1), priority=1))
    [left] = await primary.read(entry("ternary_two"))
    assert left.table_entry.priority == 2


async def test_metadata_are_kept(primary: Client) -> None:
    await wrote(primary, exact_one(1, metadata=b"\0opaque\xff"))


async def test_controller_metadata_are_kept(primary: Client) -> None:
    await wrote(primary, exact_one(1, controller_metadata=(1 << 64) - 1, metadata=b"m"))


async def test_an_idle_timeout_is_kept(primary: Client) -> None:
    await wrote(primary, exact_one(1, idle_timeout_ns=60_000_000_000))


async def test_leading_zeros_are_accepted_and_read_back_without(primary: Client) -> None:
    """P4Runtime 1.5, "Bytestrings": the receiver accepts any length, the canonical form is the shortest."""
    await primary.insert(exact_one(bytes(10) + b"\x05", port=b"\0\0\3"))
    [got] = await primary.read(exact_one(5, action=None))
    assert got == exact_one(5, port=3)


# Table entries: what is refused.


@departs("PI answers INVALID_ARGUMENT")
@pytest.mark.parametrize(
    "entity",
    [
        exact_one(b""),
        exact_one(1 << 48),
        exact_one(1, port=b""),
        exact_one(1, port=1 << 9),
        entry("exact_two", exact(1, 2), exact(2, 1), action=action("forward", 1)),
        entry("longest", lpm(1, 1 << 128, 128), action=REASON),
        entry("ternary_two", ternary(1, 1, 1 << 16), priority=1, action=REASON),
        entry("mixed", between(1, 0, 1 << 16), exact(3, 1), priority=1, action=REASON),
        entry("mixed", optional(2, 1 << 9), exact(3, 1), priority=1, action=REASON),
    ],
)
async def test_byte_strings_that_do_not_fit_are_out_of_range(primary: Client, entity: p4r.Entity) -> None:
    with update_refused(Code.OUT_OF_RANGE):
        await primary.insert(entity)


FORWARD_TWICE = action("forward", 1)
FORWARD_TWICE.action.params.add(param_id=1, value=b"\2")
UNKNOWN_PARAMETER = action("forward", 1)
UNKNOWN_PARAMETER.action.params.add(param_id=9, value=b"\2")
NO_PARAMETER = action("forward", 1)
del NO_PARAMETER.action.params[:]


@pytest.mark.parametrize(
    ("entity", "words"),
    [
        (p4r.Entity(table_entry=p4r.TableEntry(table_id=7)), ["no table with id 7"]),
        (entry("exact_one", action=action("drop")), ["hdr.ethernet.dst", "missing"]),
        (entry("exact_one", exact(1, 1), exact(1, 2), action=action("drop")), ["twice"]),
        (entry("exact_one", exact(2, 1), action=action("drop")), ["no field 2"]),
        (entry("exact_one", lpm(1, 1, 48), action=action("drop")), ["exact", "lpm"]),
        (entry("exact_one", p4r.FieldMatch(field_id=1), action=action("drop")), ["nothing"]),
        (exact_one(1, priority=1), ["no priority"]),
        (entry("ternary_two", ternary(1, 1, 1), action=REASON), ["needs a priority"]),
        (entry("ternary_two", ternary(1, 1, 1), priority=-1, action=REASON), ["needs a priority"]),
        (entry("ternary_two", ternary(1, 0, 0), priority=1, action=REASON), ["empty mask", "omit"]),
        (entry("ternary_two", ternary(1, 3, 1), priority=1, action=REASON), ["mask leaves out"]),
        (entry("longest", lpm(1, 0, 0), action=REASON), ["prefix length 0", "omit"]),
        (entry("longest", lpm(1, 0, 129), action=REASON), ["prefix length 129"]),
        (entry("longest", lpm(1, 1, 127), action=REASON), ["bits set after its prefix"]),
        (entry("mixed", between(1, 2, 1), exact(3, 1), priority=1, action=REASON), ["range from 2 to 1"]),
        (entry("mixed", between(1, 0, 65535), exact(3, 1), priority=1, action=REASON), ["all values", "omit"]),
        (exact_one(1, action=None), ["needs an action"]),
        (exact_one(1, action=p4r.TableAction(action_profile_member_id=1)), ["action_profile_member_id"]),
        (exact_one(1, action=action("reason", 1)), ["no action"]),
        (exact_one(1, action=FORWARD_TWICE), ["twice"]),
        (exact_one(1, action=UNKNOWN_PARAMETER), ["no parameter 9"]),
        (exact_one(1, action=NO_PARAMETER), ["'port'", "missing"]),
        (exact_one(1, idle_timeout_ns=-1), ["in the past"]),
        (entry("longest", lpm(1, 1, 128), action=REASON, idle_timeout_ns=1), ["no idle timeouts"]),
        (exact_one(1, time_since_last_hit=p4r.TableEntry.IdleTimeout()), ["for reading only"]),
        (entry("longest", lpm(1, 1, 128), action=REASON, counter_data=p4r.CounterData()), ["no direct counter"]),
        (exact_one(1, counter_data=p4r.CounterData(packet_count=-1)), ["-1"]),
        (exact_one(1, meter_config=p4r.MeterConfig()), ["no direct meter"]),
        (exact_one(1, is_const=True), ["is_const"]),
        (entry("keyless", action=REASON), ["no key"]),
    ],
)
@departs("PI checks less, or names another code", partly=True)
async def test_malformed_entries_are_invalid(primary: Client, entity: p4r.Entity, words: list[str]) -> None:
    with update_refused(Code.INVALID_ARGUMENT, *words):
        await primary.insert(entity)


@departs("answers UNKNOWN")
async def test_a_full_table_says_so(primary: Client) -> None:
    """`exact_two` is declared with a size of 4."""
    for value in range(4):
        await primary.insert(entry("exact_two", exact(1, 1), exact(2, value), action=action("forward", 1)))
    fifth = entry("exact_two", exact(1, 1), exact(2, 4), action=action("forward", 1))
    with update_refused(Code.RESOURCE_EXHAUSTED, "exact_two", "4"):
        await primary.insert(fifth)
    await primary.delete(entry("exact_two", exact(1, 1), exact(2, 0)))
    await primary.insert(fifth)


async def test_scopes_of_actions_are_respected(primary: Client) -> None:
    key = (exact(1, 1), exact(2, 1))
    with update_refused(Code.PERMISSION_DENIED, "ConformanceIngress.reason"):
        await primary.insert(entry("exact_two", *key, action=REASON))
    with update_refused(Code.PERMISSION_DENIED, "ConformanceIngress.drop"):
        await primary.modify(entry("exact_two", is_default_action=True, action=action("drop")))


# MODIFY and DELETE.


async def test_modify_replaces_action_and_attributes(primary: Client) -> None:
    await primary.insert(exact_one(1, port=1, idle_timeout_ns=60_000_000_000, metadata=b"old"))
    changed = exact_one(1, action=action("two", 2, 3), metadata=b"new")
    await primary.modify(changed)
    assert await primary.read(exact_one(1, action=None)) == [changed]


@departs("rejects a MODIFY without action")
async def test_modify_without_an_action_keeps_it(primary: Client) -> None:
    await primary.insert(exact_one(1, port=4))
    await primary.modify(exact_one(1, action=None, metadata=b"note"))
    assert await primary.read(exact_one(1, action=None)) == [exact_one(1, port=4, metadata=b"note")]


async def test_delete_looks_at_the_key_only(primary: Client) -> None:
    await primary.insert(exact_one(1))
    await primary.delete(exact_one(1, action=p4r.TableAction(action_profile_group_id=9), metadata=b"x"))
    assert await primary.read(entry("exact_one")) == []


async def test_what_is_not_there_is_not_found(primary: Client) -> None:
    with update_refused(Code.NOT_FOUND, "exact_one"):
        await primary.modify(exact_one(1))
    with update_refused(Code.NOT_FOUND, "exact_one"):
        await primary.delete(exact_one(1))


# Default entries.


async def test_a_default_entry_is_modified_and_reset(primary: Client) -> None:
    query = entry("exact_two", is_default_action=True)
    [declared] = await primary.read(query)
    assert declared.table_entry.action == action("reason", 7)
    await primary.modify(entry("exact_two", is_default_action=True, action=action("forward", 3)))
    [changed] = await primary.read(query)
    assert changed.table_entry.action == action("forward", 3)
    await primary.modify(query)
    assert await primary.read(query) == [declared]


async def test_a_default_entry_is_neither_inserted_nor_deleted(primary: Client) -> None:
    default = entry("exact_two", is_default_action=True, action=action("forward", 1))
    for write in (primary.insert, primary.delete):
        with update_refused(Code.INVALID_ARGUMENT):
            await write(default)


async def test_a_constant_default_entry_can_not_be_modified(primary: Client) -> None:
    with update_refused(Code.PERMISSION_DENIED, "constant"):
        await primary.modify(entry("exact_one", is_default_action=True, action=action("NoAction")))


@pytest.mark.parametrize(
    "fields",
    [
        {"match": [lpm(1, 1, 128)]},
        {"priority": 1},
        {"idle_timeout_ns": 1},
        {"time_since_last_hit": p4r.TableEntry.IdleTimeout()},
    ],
)
async def test_a_default_entry_has_no_key_and_no_timeout(primary: Client, fields: dict[str, Any]) -> None:
    message = p4r.TableEntry(table_id=table("longest").preamble.id, is_default_action=True, action=REASON, **fields)
    with update_refused(Code.INVALID_ARGUMENT):
        await primary.modify(p4r.Entity(table_entry=message))


# Constant entries.


@departs("answers otherwise")
async def test_constant_entries_can_not_be_changed(primary: Client) -> None:
    constant = entry("fixed", exact(1, 0x0800), action=REASON)
    for write in (primary.insert, primary.modify, primary.delete):
        with update_refused(Code.PERMISSION_DENIED, "constant"):
            await write(constant)
    await primary.modify(entry("fixed", is_default_action=True, action=REASON))


# Direct and indirect counters, registers.


async def test_a_direct_counter_starts_as_the_insert_says_and_survives_modify(primary: Client) -> None:
    start = p4r.CounterData(packet_count=5, byte_count=500)
    await primary.insert(exact_one(1, counter_data=start))
    await primary.modify(exact_one(1, port=2))
    [got] = await primary.read(exact_one(1, action=None, counter_data=p4r.CounterData()))
    assert got.table_entry.counter_data == start


@departs("accepts an INSERT")
async def test_a_direct_counter_is_modified(primary: Client) -> None:
    await primary.insert(exact_one(1))
    value = p4r.CounterData(packet_count=7, byte_count=70)
    key = exact_one(1, action=None).table_entry
    direct = p4r.Entity(direct_counter_entry=p4r.DirectCounterEntry(table_entry=key, data=value))
    await primary.modify(direct)
    assert await primary.read(direct) == [direct]
    for write in (primary.insert, primary.delete):
        with update_refused(Code.INVALID_ARGUMENT):
            await write(direct)
    direct.direct_counter_entry.table_entry.match[0].exact.value = b"\x09"
    with update_refused(Code.NOT_FOUND):
        await primary.modify(direct)


@departs("can not write all cells at once")
async def test_counter_cells_are_modified_one_or_all(primary: Client) -> None:
    value = p4r.CounterData(packet_count=3, byte_count=30)
    await primary.modify(counter(2, data=value))
    packets = [entity.counter_entry.data.packet_count for entity in await primary.read(counter())]
    assert packets == [0, 0, 3, 0, 0, 0, 0, 0]
    await primary.modify(counter(data=value))
    assert {entity.counter_entry.data.byte_count for entity in await primary.read(counter())} == {30}


@departs("names other codes")
async def test_counter_cells_that_are_not_there(primary: Client) -> None:
    with update_refused(Code.INVALID_ARGUMENT, "negative"):
        await primary.modify(counter(-1, data=p4r.CounterData()))
    with update_refused(Code.OUT_OF_RANGE, "8 cells"):
        await primary.modify(counter(8, data=p4r.CounterData()))
    for write in (primary.insert, primary.delete):
        with update_refused(Code.INVALID_ARGUMENT, "only be modified"):
            await write(counter(1, data=p4r.CounterData()))


@departs("no register access through P4Runtime")
async def test_register_cells_are_modified_one_or_all(primary: Client) -> None:
    await primary.modify(register(1, data={"bitstring": b"\x12\x34"}))
    values = [entity.register_entry.data.bitstring for entity in await primary.read(register())]
    assert values == [b"\0", b"\x12\x34", b"\0", b"\0"]
    await primary.modify(register(data={"bitstring": b"\0\x01"}))
    assert await primary.read(register(3)) == [register(3, data={"bitstring": b"\1"})]
    with update_refused(Code.OUT_OF_RANGE, "bit<32>"):
        await primary.modify(register(1, data={"bitstring": b"\1\0\0\0\0"}))
    with update_refused(Code.OUT_OF_RANGE, "4 cells"):
        await primary.modify(register(4, data={"bitstring": b"\1"}))
    with update_refused(Code.INVALID_ARGUMENT, "bitstring"):
        await primary.modify(register(1, data={"bool": True}))


# Multicast groups.


@departs("returns replicas in another order")
async def test_a_multicast_group_comes_changes_and_goes(primary: Client) -> None:
    first = group(5, replica(1), replica(2, 7), metadata=b"kept")
    await primary.insert(first)
    assert await primary.read(group(5)) == [first]
    with update_refused(Code.ALREADY_EXISTS):
        await primary.insert(first)
    second = group(5, replica(3))
    await primary.modify(second)
    assert await primary.read(group(0)) == [second]
    await primary.delete(group(5))
    assert await primary.read(group(0)) == []
    for write in (primary.modify, primary.delete):
        with update_refused(Code.NOT_FOUND):
            await write(second)


@departs("PI checks less", partly=True)
@pytest.mark.parametrize(
    ("entity", "code"),
    [
        (group(0, replica(1)), Code.INVALID_ARGUMENT),
        (group(1 << 16, replica(1)), Code.INVALID_ARGUMENT),
        (group(1, replica(1), replica(1)), Code.INVALID_ARGUMENT),
        (group(1, replica(1, 1 << 16)), Code.INVALID_ARGUMENT),
        (group(1, replica(511)), Code.INVALID_ARGUMENT),
        (group(1, p4r.Replica(instance=1)), Code.INVALID_ARGUMENT),
        (group(1, replica(512)), Code.OUT_OF_RANGE),
        (group(1, replica(1, backup_replicas=[p4r.BackupReplica(port=b"\2")])), Code.UNIMPLEMENTED),
    ],
)
async def test_malformed_multicast_groups(primary: Client, entity: p4r.Entity, code: Code) -> None:
    with update_refused(code):
        await primary.insert(entity)


async def test_the_deprecated_port_field_is_read_back_as_it_was_written(primary: Client) -> None:
    old = group(6, p4r.Replica(egress_port=3, instance=1))
    await primary.insert(old)
    assert await primary.read(group(6)) == [old]


# Clone sessions.


@departs("returns replicas in another order")
async def test_a_clone_session_comes_changes_and_goes(primary: Client) -> None:
    first = clone_session(5, replica(1), replica(2, 7))
    await primary.insert(first)
    assert await primary.read(clone_session(5)) == [first]
    with update_refused(Code.ALREADY_EXISTS):
        await primary.insert(first)
    second = clone_session(5, replica(3))
    await primary.modify(second)
    assert await primary.read(clone_session(0)) == [second]
    await primary.delete(clone_session(5))
    assert await primary.read(clone_session(0)) == []
    for write in (primary.modify, primary.delete):
        with update_refused(Code.NOT_FOUND):
            await write(second)
    with update_refused(Code.NOT_FOUND):
        await primary.read(clone_session(5))


@departs("PI checks less", partly=True)
@pytest.mark.parametrize(
    ("entity", "code"),
    [
        (clone_session(0, replica(1)), Code.INVALID_ARGUMENT),
        (clone_session(1 << 15, replica(1)), Code.INVALID_ARGUMENT),
        (clone_session(1, replica(1), replica(1)), Code.INVALID_ARGUMENT),
        (clone_session(1, replica(1, 1 << 16)), Code.INVALID_ARGUMENT),
        (clone_session(1, replica(511)), Code.INVALID_ARGUMENT),
        (clone_session(1, p4r.Replica(instance=1)), Code.INVALID_ARGUMENT),
        (clone_session(1, replica(1), packet_length_bytes=-1), Code.INVALID_ARGUMENT),
        (clone_session(1, replica(1), packet_length_bytes=64), Code.UNIMPLEMENTED),
        (clone_session(1, replica(1), class_of_service=1), Code.UNIMPLEMENTED),
    ],
)
async def test_malformed_clone_sessions(primary: Client, entity: p4r.Entity, code: Code) -> None:
    with update_refused(code):
        await primary.insert(entity)


# Digests.


async def test_a_digest_is_configured_once(primary: Client) -> None:
    wanted = digest_config(max_timeout_ns=1_000_000, max_list_size=10, ack_timeout_ns=5_000_000)
    with update_refused(Code.NOT_FOUND):
        await primary.modify(wanted)
    await primary.insert(wanted)
    assert await primary.read(digest_config()) == [wanted]
    with update_refused(Code.ALREADY_EXISTS):
        await primary.insert(wanted)
    changed = digest_config(max_list_size=1)
    await primary.modify(changed)
    assert await primary.read(digest_config()) == [changed]
    await primary.delete(digest_config())
    with update_refused(Code.NOT_FOUND):
        await primary.delete(digest_config())


@departs("accepts negative parameters")
async def test_negative_digest_parameters_are_invalid(primary: Client) -> None:
    with update_refused(Code.INVALID_ARGUMENT, "ack_timeout_ns", "-1"):
        await primary.insert(digest_config(ack_timeout_ns=-1))
