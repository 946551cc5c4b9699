"""The arbitration rules, without a server; tests/conformance has them over gRPC."""

from __future__ import annotations

import pytest

from softswitch.p4runtime.arbitration import MAX_CLIENTS_PER_ROLE, MAX_ROLES, Arbitration, Notice
from softswitch.p4runtime.status import Code, RequestError


def update(arbitration: Arbitration, stream: int, election_id: int | None, role: str = "") -> list[Notice]:
    return arbitration.update(stream, device_id=1, role=role, has_role_config=False, election_id=election_id)


def codes(notices: list[Notice]) -> dict[int, Code]:
    return {notice.stream: notice.code for notice in notices}


def test_the_new_primary_is_told_last() -> None:
    """The specification: the others first, the new primary when it may write."""
    arbitration = Arbitration(1)
    update(arbitration, 1, 5)
    update(arbitration, 2, 4)
    notices = update(arbitration, 3, 6)
    assert [(notice.stream, notice.code) for notice in notices] == [
        (1, Code.ALREADY_EXISTS),
        (2, Code.ALREADY_EXISTS),
        (3, Code.OK),
    ]
    assert {notice.election_id for notice in notices} == {6}


def test_a_new_backup_is_the_only_one_told() -> None:
    arbitration = Arbitration(1)
    update(arbitration, 1, 5)
    assert codes(update(arbitration, 2, 4)) == {2: Code.ALREADY_EXISTS}


def test_a_closing_primary_is_announced_and_a_closing_backup_is_not() -> None:
    arbitration = Arbitration(1)
    update(arbitration, 1, 5)
    update(arbitration, 2, 4)
    update(arbitration, 3, 3)
    assert arbitration.close(2) == []
    assert codes(arbitration.close(1)) == {3: Code.NOT_FOUND}
    assert arbitration.close(99) == []
    assert arbitration.primaries() == []


def test_the_highest_id_outlives_every_client() -> None:
    arbitration = Arbitration(1)
    update(arbitration, 1, 5)
    arbitration.close(1)
    assert codes(update(arbitration, 2, 4)) == {2: Code.NOT_FOUND}
    assert codes(update(arbitration, 3, 5)) == {2: Code.ALREADY_EXISTS, 3: Code.OK}


def test_a_refused_update_changes_nothing() -> None:
    arbitration = Arbitration(1)
    update(arbitration, 1, 5)
    for stream in (1, 2):
        with pytest.raises(RequestError) as caught:
            arbitration.update(stream, device_id=2, role="", has_role_config=False, election_id=9)
        assert caught.value.code is (Code.FAILED_PRECONDITION if stream == 1 else Code.NOT_FOUND)
    with pytest.raises(RequestError, match="Election id 5 is already used"):
        update(arbitration, 2, 5)
    arbitration.check_writer(1, "", 5)
    assert arbitration.primaries() == [1]
    assert codes(arbitration.close(1)) == {}


def test_several_clients_may_have_no_election_id() -> None:
    arbitration = Arbitration(1)
    for stream in (1, 2):
        [notice] = update(arbitration, stream, None)
        assert notice.code is Code.NOT_FOUND
        assert notice.election_id is None
    with pytest.raises(RequestError, match="no primary"):
        arbitration.check_writer(1, "", None)


def test_only_the_primarys_device_role_and_id_may_write() -> None:
    arbitration = Arbitration(1)
    update(arbitration, 1, 5)
    update(arbitration, 2, 7, role="acl")
    arbitration.check_writer(1, "", 5)
    arbitration.check_writer(1, "acl", 7)
    for device_id, role, election_id, code in (
        (2, "", 5, Code.NOT_FOUND),
        (1, "nobody", 5, Code.NOT_FOUND),
        (1, "", 7, Code.PERMISSION_DENIED),
        (1, "acl", 5, Code.PERMISSION_DENIED),
        (1, "", None, Code.PERMISSION_DENIED),
    ):
        with pytest.raises(RequestError) as caught:
            arbitration.check_writer(device_id, role, election_id)
        assert caught.value.code is code
    assert arbitration.primaries() == [1, 2]


def test_clients_and_roles_are_bounded() -> None:
    arbitration = Arbitration(1)
    for number in range(MAX_CLIENTS_PER_ROLE):
        update(arbitration, number, number)
    with pytest.raises(RequestError) as caught:
        update(arbitration, MAX_CLIENTS_PER_ROLE, None)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    update(arbitration, 0, MAX_CLIENTS_PER_ROLE)
    for number in range(1, MAX_ROLES):
        update(arbitration, 1000 + number, 1, role=f"role {number}")
    with pytest.raises(RequestError, match="roles already"):
        update(arbitration, 2000, 1, role="one more")
