"""P4Runtime 1.5, "Client Arbitration and Controller Replication" and "Client Arbitration Update"."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import pytest
from finsy.proto import p4r
from google.protobuf import any_pb2

from softswitch.p4runtime.status import Code
from support.p4rt import DEVICE_ID, Client, SetConfig, Target, config, departs, exact_one, refused, uint128


@pytest.fixture
async def clients(target: Target) -> AsyncIterator[list[Client]]:
    """Three controllers without streams."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Client(target)) for _ in range(3)]


async def expect(client: Client, code: Code, election_id: int | None) -> None:
    """The next message is a notice with this code and this highest election id."""
    notice = await client.receive("arbitration")
    assert notice.device_id == DEVICE_ID
    assert notice.status.code == code
    if election_id is None:
        assert not notice.HasField("election_id")
    else:
        assert notice.election_id == uint128(election_id)


async def may_write(client: Client) -> bool:
    """Whether the server takes the client for the primary."""
    try:
        await client.set_config(SetConfig.VERIFY, config())
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.PERMISSION_DENIED:
            raise
        return False
    return True


async def test_the_first_client_becomes_primary_and_a_lower_one_its_backup(clients: list[Client]) -> None:
    await clients[0].arbitrate(10)
    await expect(clients[0], Code.OK, 10)
    await clients[1].arbitrate(9)
    await expect(clients[1], Code.ALREADY_EXISTS, 10)
    assert [await may_write(client) for client in clients[:2]] == [True, False]


async def test_a_higher_election_id_takes_over_and_everyone_is_told(clients: list[Client]) -> None:
    await clients[0].become(Code.OK, 10)
    await clients[1].become(Code.ALREADY_EXISTS, 9)
    await clients[2].arbitrate(11)
    for client, code in zip(clients, (Code.ALREADY_EXISTS, Code.ALREADY_EXISTS, Code.OK), strict=True):
        await expect(client, code, 11)
    assert [await may_write(client) for client in clients] == [False, False, True]


async def test_election_ids_have_128_bits(clients: list[Client]) -> None:
    await clients[0].become(Code.OK, 1 << 64)
    await clients[1].become(Code.ALREADY_EXISTS, (1 << 64) - 1)
    await clients[2].arbitrate((1 << 128) - 1)
    await expect(clients[2], Code.OK, (1 << 128) - 1)


@departs("promotes the next-highest client by itself")
async def test_nobody_is_promoted_when_the_primary_goes(clients: list[Client]) -> None:
    await clients[0].become(Code.OK, 10)
    await clients[1].become(Code.ALREADY_EXISTS, 9)
    await clients[0].hang_up()
    await expect(clients[1], Code.NOT_FOUND, 10)
    assert not await may_write(clients[1])


@departs("promotes the next-highest client by itself")
async def test_a_backup_needs_the_highest_id_ever_seen_to_be_promoted(clients: list[Client]) -> None:
    await clients[0].become(Code.OK, 10)
    await clients[1].become(Code.ALREADY_EXISTS, 8)
    await clients[0].hang_up()
    await expect(clients[1], Code.NOT_FOUND, 10)
    await clients[1].become(Code.NOT_FOUND, 9)
    await clients[1].become(Code.OK, 10)
    assert await may_write(clients[1])


@departs("forgets the election ids of clients that are gone")
async def test_the_highest_id_is_remembered_when_all_clients_are_gone(clients: list[Client], target: Target) -> None:
    await clients[0].become(Code.OK, 10)
    await clients[1].become(Code.ALREADY_EXISTS, 1)
    await clients[0].hang_up()
    await expect(clients[1], Code.NOT_FOUND, 10)
    await clients[1].hang_up()
    async with Client(target) as late:
        await late.arbitrate(9)
        await expect(late, Code.NOT_FOUND, 10)


@departs("promotes the next-highest client by itself")
async def test_a_primary_that_lowers_its_id_leaves_no_primary(clients: list[Client]) -> None:
    await clients[0].become(Code.OK, 10)
    await clients[1].become(Code.ALREADY_EXISTS, 9)
    await clients[0].arbitrate(8)
    await expect(clients[0], Code.NOT_FOUND, 10)
    await expect(clients[1], Code.NOT_FOUND, 10)
    assert [await may_write(client) for client in clients[:2]] == [False, False]


async def test_a_primary_may_raise_its_id(clients: list[Client]) -> None:
    await clients[0].become(Code.OK, 10)
    await clients[0].arbitrate(20)
    await expect(clients[0], Code.OK, 20)
    assert await may_write(clients[0])


@departs("takes an unset election id for 0")
async def test_an_unset_election_id_is_never_primary(clients: list[Client]) -> None:
    await clients[0].arbitrate(None)
    await expect(clients[0], Code.NOT_FOUND, None)
    assert not await may_write(clients[0])


async def test_election_id_zero_is_not_an_unset_one(clients: list[Client]) -> None:
    await clients[0].arbitrate(0)
    await expect(clients[0], Code.OK, 0)


async def test_a_duplicate_election_id_ends_the_stream(clients: list[Client]) -> None:
    await clients[0].become(Code.OK, 10)
    await clients[1].arbitrate(10)
    code, details = await clients[1].receive_end()
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "lection id" in details
    assert await may_write(clients[0])


async def test_a_live_client_that_takes_anothers_id_ends_its_stream(clients: list[Client]) -> None:
    await clients[0].become(Code.OK, 10)
    await clients[1].become(Code.ALREADY_EXISTS, 9)
    await clients[1].arbitrate(10)
    code, _ = await clients[1].receive_end()
    assert code == grpc.StatusCode.INVALID_ARGUMENT


@departs("waits for a device with this id")
async def test_an_unknown_device_ends_the_stream(clients: list[Client]) -> None:
    await clients[0].arbitrate(10, device_id=DEVICE_ID + 1)
    code, _ = await clients[0].receive_end()
    assert code == grpc.StatusCode.NOT_FOUND


async def test_a_client_may_not_change_its_device(clients: list[Client]) -> None:
    await clients[0].become(Code.OK, 10)
    await clients[0].arbitrate(10, device_id=DEVICE_ID + 1)
    code, _ = await clients[0].receive_end()
    assert code == grpc.StatusCode.FAILED_PRECONDITION


@departs("does not support roles")
async def test_a_client_may_not_change_its_role(clients: list[Client]) -> None:
    await clients[0].become(Code.OK, 10)
    await clients[0].arbitrate(10, role=p4r.Role(name="other"))
    code, _ = await clients[0].receive_end()
    assert code == grpc.StatusCode.FAILED_PRECONDITION


@departs("does not support roles")
async def test_each_role_has_its_own_primary(clients: list[Client]) -> None:
    await clients[0].become(Code.OK, 10)
    await clients[1].arbitrate(5, role=p4r.Role(name="acl"))
    notice = await clients[1].receive("arbitration")
    assert (notice.status.code, notice.role.name) == (Code.OK, "acl")
    assert [await may_write(client) for client in clients[:2]] == [True, True]
    await clients[2].arbitrate(5, role=p4r.Role(name="acl"))
    assert (await clients[2].receive_end())[0] == grpc.StatusCode.INVALID_ARGUMENT


@departs("does not support roles")
async def test_a_role_config_of_an_unknown_scheme_ends_the_stream(clients: list[Client]) -> None:
    await clients[0].arbitrate(5, role=p4r.Role(name="acl", config=any_pb2.Any(type_url="type.example/scheme")))
    assert (await clients[0].receive_end())[0] == grpc.StatusCode.INVALID_ARGUMENT


@departs("does not support roles")
async def test_a_write_for_a_role_that_nobody_has_is_not_found(clients: list[Client]) -> None:
    await clients[0].become(Code.OK, 10)
    clients[0].role = "nobody"
    with refused(Code.NOT_FOUND, "nobody"):
        await clients[0].set_config(SetConfig.VERIFY, config())


async def test_a_demoted_primary_can_write_no_more(clients: list[Client]) -> None:
    await clients[0].commit()
    await clients[1].become(Code.OK, 2)
    with refused(Code.PERMISSION_DENIED):
        await clients[0].insert(exact_one(1))
    await clients[1].insert(exact_one(1))


@departs("promotes the next-highest client by itself")
async def test_a_primary_whose_stream_broke_can_write_no_more(clients: list[Client]) -> None:
    await clients[0].commit()
    await clients[1].become(Code.ALREADY_EXISTS, 0)
    await clients[0].hang_up()
    await expect(clients[1], Code.NOT_FOUND, 1)
    with refused(Code.PERMISSION_DENIED, "no primary"):
        await clients[0].insert(exact_one(1))
