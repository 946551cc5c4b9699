"""What the controller keeps, on a store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from controller import repository as module
from controller.intents import Intent
from controller.repository import Answer, AuditEntry, Repository, StoredDocumentError
from controller.store.base import Conflict, Fenced, Put, Store
from controller.store.opening import MEMORY, open_store
from pentaflow.config import NodeState
from pentaflow.errors import ConfigurationError


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    found = open_store(MEMORY)
    yield found
    await found.close()


@pytest.fixture
async def repository(store: Store) -> Repository:
    campaign = await store.campaign(name="a", address="", lease_s=60, unix_s=1)
    return Repository(store, campaign.leader.epoch)


async def push(repository: Repository, text: str) -> int:
    current = await repository.current()
    expected = current[1] if current else 0
    return (await repository.push(text, who="ann", at_s=5.0, comment="why", expected=expected)).number


async def test_versions_are_kept_and_one_is_in_force(repository: Repository) -> None:
    assert await repository.current() is None
    assert [await push(repository, text) for text in ("one: 1\n", "two: ü\n")] == [1, 2]
    assert [(v.number, v.who, v.at_s, v.comment) for v in await repository.versions()] == [
        (1, "ann", 5.0, "why"),
        (2, "ann", 5.0, "why"),
    ]
    assert [await repository.text(number) for number in (1, 2, 3)] == ["one: 1\n", "two: ü\n", None]
    current = await repository.current()
    assert current
    assert current[0].number == 2
    await repository.select(1, who="bob", at_s=6.0, expected=current[1])
    again = await repository.current()
    assert again
    assert (again[0].number, again[0].who) == (1, "bob")
    assert again[1] > current[1]
    assert await push(repository, "three") == 3


async def test_a_stale_push_changes_nothing(repository: Repository) -> None:
    await push(repository, "one")
    with pytest.raises(Conflict):
        await repository.push("two", who="bob", at_s=6.0, comment="", expected=0)
    with pytest.raises(Conflict):
        await repository.select(1, who="bob", at_s=6.0, expected=0)
    assert [v.number for v in await repository.versions()] == [1]
    assert await repository.text(2) is None


async def test_versions_that_cannot_be(repository: Repository) -> None:
    with pytest.raises(ConfigurationError, match=r"^configuration: version 9 is not kept$"):
        await repository.select(9, who="bob", at_s=6.0, expected=0)
    with pytest.raises(ConfigurationError, match=r"^configuration: is longer than 1000000 octets$"):
        await push(repository, "ü" * 500_001)
    assert await push(repository, "ü" * 500_000) == 1


async def test_old_versions_go_but_never_the_one_in_force(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "VERSIONS_KEPT", 3)
    for number in range(1, 4):
        await push(repository, str(number))
    current = await repository.current()
    assert current
    await repository.select(1, who="bob", at_s=6.0, expected=current[1])
    for number in range(4, 7):
        await push(repository, str(number))
        assert len(await repository.versions()) == 3
    assert [v.number for v in await repository.versions()] == [4, 5, 6]
    assert [await repository.text(number) for number in (1, 3, 4, 6)] == [None, None, "4", "6"]


async def test_intents(repository: Repository) -> None:
    drained = Intent(state=NodeState.DRAINING, since_ms=1500, deadline_ms=9000, who="ann", reason="new disks")
    idle = Intent(state=NodeState.MAINTENANCE, since_ms=2, who="bob")
    await repository.set_intent("n1", drained)
    await repository.set_intent("n2", idle)
    assert await repository.intents() == {"n1": drained, "n2": idle}
    await repository.set_intent("n1", None)
    assert await repository.intents() == {"n2": idle}


async def test_hash_keys_are_written_only_when_they_change(repository: Repository, store: Store) -> None:
    keys = {f"v{i}": i << 40 for i in range(120)}
    await repository.keep_hash_keys(keys)
    assert await repository.hash_keys() == keys
    before = await store.list("hash-keys/")
    await repository.keep_hash_keys({"v3": 7, "v4": keys["v4"]})
    after = await store.list("hash-keys/")
    assert [key for key in after if after[key] != before[key]] == ["hash-keys/v3"]
    assert await repository.hash_keys() == keys | {"v3": 7}


def answer(at_s: float) -> Answer:
    return Answer(fingerprint="f", status=200, body="{}", headers={"etag": '"1"'}, at_s=at_s)


async def test_answers_are_bounded_by_age_and_number(
    repository: Repository, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDEMPOTENCY_KEPT", 3)
    await repository.keep_answer("a", answer(0))
    assert await repository.maybe_answer("a", now_s=86_399) == answer(0)
    assert await repository.maybe_answer("a", now_s=86_400) is None
    assert await repository.maybe_answer("b", now_s=0) is None
    for at_s, key in enumerate("bcde", start=1):
        await repository.keep_answer(key, answer(at_s))
    assert [key[-1] for key in await store.list("idempotency/")] == ["c", "d", "e"]
    await repository.keep_answer("f", answer(4 + 86_400))
    assert [key[-1] for key in await store.list("idempotency/")] == ["f"]


async def test_a_new_leader_goes_on_with_the_answers_of_the_last(
    repository: Repository, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDEMPOTENCY_KEPT", 2)
    for at_s, key in enumerate("ab"):
        await repository.keep_answer(key, answer(at_s))
    leader = await store.leader()
    assert leader
    await Repository(store, leader.epoch).keep_answer("c", answer(2))
    assert [key[-1] for key in await store.list("idempotency/")] == ["b", "c"]


async def test_the_audit_log_is_bounded_and_paged(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AUDIT_KEPT", 5)
    entries = [
        AuditEntry(at_s=i, who="ann", role="admin", address="", method="PUT", path=f"/{i}", status=200)
        for i in range(1, 9)
    ]
    assert [await repository.append_audit(entry) for entry in entries] == list(range(1, 9))
    assert await repository.audit(limit=100) == {i: entries[i - 1] for i in range(4, 9)}
    assert list(await repository.audit(after=5, limit=2)) == [6, 7]
    assert await repository.audit(after=8, limit=2) == {}


async def test_who_does_not_lead_may_only_read(repository: Repository, store: Store) -> None:
    await push(repository, "one")
    reader = Repository(store, 0)
    assert await reader.text(1) == "one"
    with pytest.raises(Fenced):
        await push(reader, "two")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b'{"schema_version": 2, "a": 1}', "is of version 2; this controller reads version 1"),
        (b'{"state": "asleep"}', "is no Intent: state: Input should be 'active', 'draining' or 'maintenance'"),
        (b"\xff", "is no Intent: : Invalid JSON"),
    ],
)
async def test_documents_that_cannot_be_read(repository: Repository, store: Store, value: bytes, message: str) -> None:
    leader = await store.leader()
    assert leader
    await store.commit(leader.epoch, [Put("intents/n1", value)])
    with pytest.raises(StoredDocumentError) as caught:
        await repository.intents()
    assert str(caught.value).startswith(f"store, key intents/n1: {message}")
