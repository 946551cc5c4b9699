"""P4Runtime 1.5, "TableEntry: Idle-timeout" and "Table Idle Timeout Notification"."""

from __future__ import annotations

import time

from finsy.proto import p4r

from softswitch.p4runtime.status import Code
from support.p4rt import CPU_PORT, LOOKUP, Client, Target, action, departs, entry, exact_one, frame, packet_out

SHORT_NS = 20_000_000
LONG_AGO_NS = 200_000_000
MINUTE_NS = 60_000_000_000
REFLECTED = action("forward", CPU_PORT)


def key_of(entity: p4r.Entity) -> p4r.TableEntry:
    """The fields of an entry that a notification names."""
    message = p4r.TableEntry()
    message.CopyFrom(entity.table_entry)
    message.ClearField("action")
    return message


async def next_idle(client: Client) -> p4r.TableEntry:
    """The only entry of the next notification, without the fields that a client should ignore."""
    notification = await client.receive("idle_timeout_notification")
    assert notification.timestamp > 0
    [idle] = notification.table_entry
    return key_of(p4r.Entity(table_entry=idle))


@departs("leaves out the metadata")
async def test_an_idle_entry_is_reported_with_its_key_and_metadata_and_again(primary: Client) -> None:
    idle = exact_one(1, idle_timeout_ns=SHORT_NS, metadata=b"mine")
    await primary.insert(idle, exact_one(2, idle_timeout_ns=MINUTE_NS), exact_one(3))
    for _ in range(2):
        assert await next_idle(primary) == key_of(idle)
    assert len(await primary.read(entry("exact_one"))) == 3


async def test_a_hit_starts_the_time_again(primary: Client) -> None:
    # Below 2^32 ns: of longer timeouts BMv2 mixes the upper bits into the elapsed time.
    hit = exact_one(1, action=REFLECTED, idle_timeout_ns=4_000_000_000)
    query = entry("exact_one", time_since_last_hit=p4r.TableEntry.IdleTimeout())

    async def elapsed_ns() -> int:
        [found] = await primary.read(query)
        return int(found.table_entry.time_since_last_hit.elapsed_ns)

    await primary.insert(hit)
    while await elapsed_ns() < LONG_AGO_NS:
        pass
    sent_ns = time.monotonic_ns()
    await primary.send(packet=packet_out(frame(dst=1), act=LOOKUP))
    await primary.receive("packet")
    # Without the hit it would be longer by all that had passed before.
    assert await elapsed_ns() <= time.monotonic_ns() - sent_ns


async def test_modify_without_a_timeout_stops_the_notifications(primary: Client) -> None:
    await primary.insert(exact_one(1, idle_timeout_ns=SHORT_NS))
    await next_idle(primary)
    await primary.modify(exact_one(1))
    other = exact_one(2, idle_timeout_ns=SHORT_NS)
    await primary.insert(other)
    await _skip_notices_in_flight(primary, other)
    for _ in range(3):
        assert await next_idle(primary) == key_of(other)


async def test_a_deleted_entry_is_reported_no_more(primary: Client) -> None:
    await primary.insert(exact_one(1, idle_timeout_ns=SHORT_NS))
    await next_idle(primary)
    await primary.delete(exact_one(1))
    other = exact_one(2, idle_timeout_ns=SHORT_NS)
    await primary.insert(other)
    await _skip_notices_in_flight(primary, other)
    for _ in range(3):
        assert await next_idle(primary) == key_of(other)


async def _skip_notices_in_flight(client: Client, wanted: p4r.Entity) -> None:
    """Notices that were sent before the last write may still arrive before the first of `wanted`."""
    while await next_idle(client) != key_of(wanted):
        pass


async def test_modify_with_a_timeout_starts_the_notifications(primary: Client) -> None:
    await primary.insert(exact_one(1))
    changed = exact_one(1, idle_timeout_ns=SHORT_NS)
    await primary.modify(changed)
    assert await next_idle(primary) == key_of(changed)


async def test_notices_go_to_the_new_primary(primary: Client, target: Target) -> None:
    idle = exact_one(1, idle_timeout_ns=SHORT_NS)
    await primary.insert(idle)
    await next_idle(primary)
    async with Client(target) as newer:
        await newer.become(Code.OK, 2)
        assert await next_idle(newer) == key_of(idle)


async def test_a_new_pipeline_forgets_the_timers(primary: Client) -> None:
    await primary.insert(exact_one(1, idle_timeout_ns=SHORT_NS))
    await next_idle(primary)
    await primary.commit_again()
    other = exact_one(2, idle_timeout_ns=SHORT_NS)
    await primary.insert(other)
    await _skip_notices_in_flight(primary, other)
    assert await next_idle(primary) == key_of(other)
