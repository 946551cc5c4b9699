"""P4Runtime 1.5, "DigestEntry" and "Digest Messages"."""

from __future__ import annotations

from finsy.proto import p4d, p4r

from softswitch.p4runtime.status import Code
from support.p4rt import (
    DIGEST,
    P4INFO,
    REFLECT,
    Client,
    Target,
    departs,
    digest_config,
    encode,
    frame,
    packet_out,
)

MINUTE_NS = 60_000_000_000


def learned(src: int, port: int) -> p4d.P4Data:
    members = [p4d.P4Data(bitstring=encode(value)) for value in (src, port)]
    return p4d.P4Data(struct=p4d.P4StructLike(members=members))


async def learn(client: Client, *addresses: int) -> None:
    for address in addresses:
        await client.send(packet=packet_out(frame(src=address), act=DIGEST, port=3))


async def expect_nothing_more(client: Client) -> None:
    """Whatever the packets so far caused has arrived: a packet that comes back overtakes none of it."""
    await client.send(packet=packet_out(frame(), act=REFLECT))
    await client.receive("packet")


async def test_a_digest_that_is_not_configured_is_not_sent(primary: Client) -> None:
    await learn(primary, 5)
    await expect_nothing_more(primary)


async def test_a_list_of_one_is_sent_at_once(primary: Client) -> None:
    await primary.insert(digest_config(max_list_size=1, max_timeout_ns=MINUTE_NS, ack_timeout_ns=MINUTE_NS))
    await learn(primary, 5)
    digest_list = await primary.receive("digest")
    assert digest_list.digest_id == P4INFO.digests[0].preamble.id
    assert list(digest_list.data) == [learned(5, 3)]
    assert digest_list.timestamp > 0


@departs("waits for ever when the timeout is 0")
async def test_a_timeout_of_zero_is_sent_at_once(primary: Client) -> None:
    await primary.insert(digest_config(max_list_size=100))
    await learn(primary, 5)
    assert list((await primary.receive("digest")).data) == [learned(5, 3)]


async def test_a_list_is_sent_when_it_is_full_of_distinct_messages(primary: Client) -> None:
    await primary.insert(digest_config(max_list_size=3, max_timeout_ns=MINUTE_NS, ack_timeout_ns=MINUTE_NS))
    await learn(primary, 1, 1, 2, 1, 2)
    await expect_nothing_more(primary)
    await learn(primary, 3)
    assert list((await primary.receive("digest")).data) == [learned(1, 3), learned(2, 3), learned(3, 3)]


async def test_a_list_is_sent_when_its_oldest_message_is_old_enough(primary: Client) -> None:
    await primary.insert(digest_config(max_list_size=100, max_timeout_ns=20_000_000, ack_timeout_ns=MINUTE_NS))
    await learn(primary, 1, 2)
    assert list((await primary.receive("digest")).data) == [learned(1, 3), learned(2, 3)]


async def test_a_message_is_not_repeated_until_it_is_acknowledged(primary: Client) -> None:
    await primary.insert(digest_config(max_list_size=1, ack_timeout_ns=MINUTE_NS))
    await learn(primary, 5)
    first = await primary.receive("digest")
    await learn(primary, 5)
    await expect_nothing_more(primary)
    await primary.send(digest_ack=p4r.DigestListAck(digest_id=first.digest_id, list_id=first.list_id + 100))
    await learn(primary, 5)
    await expect_nothing_more(primary)
    await primary.send(digest_ack=p4r.DigestListAck(digest_id=first.digest_id, list_id=first.list_id))
    await learn(primary, 5)
    second = await primary.receive("digest")
    assert list(second.data) == list(first.data)
    assert second.list_id != first.list_id


@departs("rounds the timeout down to 0 ms, which is for ever")
async def test_a_message_is_repeated_after_the_ack_timeout(primary: Client) -> None:
    await primary.insert(digest_config(max_list_size=1, ack_timeout_ns=1))
    await learn(primary, 5)
    first = await primary.receive("digest")
    await learn(primary, 5)
    assert list((await primary.receive("digest")).data) == list(first.data)


@departs("keeps the cache of the old primary")
async def test_a_new_primary_has_seen_nothing_yet(primary: Client, target: Target) -> None:
    await primary.insert(digest_config(max_list_size=1, ack_timeout_ns=MINUTE_NS))
    await learn(primary, 5)
    await primary.receive("digest")
    async with Client(target) as newer:
        await newer.become(Code.OK, 2)
        await learn(newer, 5)
        assert list((await newer.receive("digest")).data) == [learned(5, 3)]


async def test_a_digest_that_was_switched_off_is_not_sent(primary: Client) -> None:
    await primary.insert(digest_config(max_list_size=2, max_timeout_ns=MINUTE_NS))
    await learn(primary, 5)
    await primary.delete(digest_config())
    await learn(primary, 6)
    await expect_nothing_more(primary)


@departs("ignores it")
async def test_an_ack_of_an_unknown_digest_is_reported(primary: Client) -> None:
    ack = p4r.DigestListAck(digest_id=7, list_id=1)
    await primary.send(digest_ack=ack)
    error = await primary.receive("error")
    assert error.canonical_code == Code.INVALID_ARGUMENT
    assert error.digest_list_ack.digest_list_ack == ack
