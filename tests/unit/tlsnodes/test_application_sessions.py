"""What sessions are bound to, by their ids: made, kept alive, replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tlsnodes.persistence.affinity import AffinityCodec, ChosenBy
from tlsnodes.persistence.application_id import ApplicationId
from tlsnodes.persistence.application_sessions import ApplicationSessions
from tlsnodes.statistics import SessionIdOutcome
from tlsnodes.store.cached import CachedStore
from tlsnodes.store.sqlite import SqliteStore

NOW_S = 1_000_000.0
POLICY, COOKIE, SESSION_ID = ChosenBy.POLICY, ChosenBy.COOKIE, ChosenBy.SESSION_ID


@dataclass
class Case:
    """Sessions at servers 1 and 2, in a store of this worker's own."""

    store: CachedStore
    sessions: ApplicationSessions
    counts: list[int]
    generations: dict[int, int]

    def server_of(self, key: bytes) -> int | None:
        known = self.sessions.maybe_known(key, NOW_S)
        assert known is not None
        return known.affinity.servers[0] if known.affinity.servers else None

    def counted(self) -> dict[str, int]:
        return {outcome.name: self.counts[outcome] for outcome in SessionIdOutcome if self.counts[outcome]}


@pytest.fixture
async def case() -> AsyncIterator[Case]:
    store, counts, generations = CachedStore(), [0] * len(SessionIdOutcome), {1: 11, 2: 22}
    sessions = ApplicationSessions(
        store,
        ApplicationId(parameter="sid", header="X-Session", cookie=None),
        vserver_id=7,
        lifetime_s=600,
        codec=AffinityCodec(7, generations.get),
        random=Random(1).randbytes,
        counts=counts,
    )
    yield Case(store, sessions, counts, generations)
    await store.close()


def key_of(case: Case, session_id: bytes = b"s1") -> bytes:
    key = case.sessions.maybe_key(b"/;sid=" + session_id, b"")
    assert key is not None
    return key


async def test_keys_are_digests_under_the_vserver(case: Case) -> None:
    key = key_of(case)
    assert key.startswith(b"sid/7/")
    assert b"s1" not in key
    assert key == case.sessions.maybe_key(b"/", b"X-Session: s1\r\n")
    assert key != key_of(case, b"s2")
    assert case.sessions.maybe_key(b"/", b"") is None
    assert case.sessions.maybe_key(b"/?sid=a&sid=b", b"") is None
    assert case.counted() == {"NONE": 1, "AMBIGUOUS": 1}


async def test_who_claims_first_binds_and_the_others_are_told(case: Case) -> None:
    key = key_of(case)
    assert case.sessions.maybe_known(key, NOW_S) is None
    assert await case.sessions.look_up(key, NOW_S) is None
    first = await case.sessions.claim(key, 1, POLICY, NOW_S)
    same = await case.sessions.claim(key, 1, POLICY, NOW_S)
    other = await case.sessions.claim(key, 2, POLICY, NOW_S)
    assert [bound.affinity.servers for bound in (first, same, other)] == [(1,)] * 3
    assert [bound.by for bound in (first, same, other)] == [POLICY, SESSION_ID, SESSION_ID]
    assert case.counted() == {"LEARNT": 1}
    found = await case.sessions.look_up(key, NOW_S)
    assert found
    assert found.affinity.servers == (1,)


async def test_a_server_whose_address_was_given_to_another_is_gone(case: Case) -> None:
    key = key_of(case)
    await case.sessions.claim(key, 1, POLICY, NOW_S)
    case.generations[1] = 12
    assert case.server_of(key) is None
    before = case.sessions.maybe_known(key, NOW_S)
    assert before
    after = await case.sessions.replace(key, before, 2, NOW_S)
    assert after.affinity.servers == (2,)
    assert case.server_of(key) == 2
    assert case.counted() == {"LEARNT": 1, "REPLACED": 1}


async def test_a_record_that_is_none_binds_nobody(case: Case) -> None:
    key = key_of(case)
    for value in (b"", b"x", b"x" * 100):
        case.store.put(key, value, 60)
        assert case.server_of(key) is None


async def test_who_answers_for_a_server_that_was_tried_in_vain_takes_its_place(case: Case) -> None:
    key = key_of(case)
    await case.sessions.claim(key, 1, POLICY, NOW_S)
    assert case.sessions.answered(key, 2, COOKIE, (), NOW_S) is None
    assert case.sessions.answered(key, 2, POLICY, (3,), NOW_S) is None
    more = case.sessions.answered(key, 2, POLICY, (3, 1), NOW_S)
    assert more
    await more
    assert case.server_of(key) == 2
    new = key_of(case, b"new")
    assert case.sessions.answered(new, 1, POLICY, (), NOW_S) is None
    more = case.sessions.answered(new, 1, COOKIE, (), NOW_S)
    assert more
    await more
    assert case.server_of(new) == 1


async def test_a_response_binds_to_the_server_that_it_comes_from(case: Case) -> None:
    case.sessions.note_response(b"X-Session: s1\r\n", (), 2, NOW_S)
    case.sessions.note_response(b"X-Session: s1\r\n", (), 2, NOW_S)
    assert case.server_of(key_of(case)) == 2
    assert case.counted() == {"LEARNT_FROM_RESPONSE": 1}
    case.sessions.note_response(b"X-Session: s1\r\n", (), 1, NOW_S)
    assert case.server_of(key_of(case)) == 1
    case.sessions.note_response(b"Other: s1\r\n", (), 2, NOW_S)
    assert case.server_of(key_of(case)) == 1


async def test_use_renews_what_is_a_tenth_over_and_shares_what_only_this_worker_knows(
    case: Case, tmp_path: Path
) -> None:
    key = key_of(case)
    await case.sessions.claim(key, 1, POLICY, NOW_S)
    known = case.store.maybe_copy(key)
    assert known
    database = SqliteStore(tmp_path / "sessions.sqlite", timeout_s=20, max_bytes=1 << 20)
    case.store.use(database)
    case.store.put(key, known.value, 500)  # not written yet
    more = case.sessions.answered(key, 1, SESSION_ID, (), NOW_S)
    assert more
    await more
    found = await database.get(key)
    assert found
    assert found.value == known.value
    for left_s, renewed in ((560, False), (500, True)):
        await database.delete(key)
        await database.put(key, known.value, left_s)
        async with asyncio.timeout(20):
            while True:
                copy = await case.store.get(key)
                if copy and copy.version and left_s - 60 < copy.left_s <= left_s:
                    break
                await asyncio.sleep(0.01)
        assert case.sessions.answered(key, 1, SESSION_ID, (), NOW_S) is None
        copy = case.store.maybe_copy(key)
        assert copy
        assert (copy.left_s > 570) is renewed
