"""What is learnt of sessions in passing, and what is not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tlsnodes.passthrough.client_hello import ClientHello
from tlsnodes.passthrough.learning import LearntSessions
from tlsnodes.passthrough.server_flight import NewSession
from tlsnodes.persistence.affinity import Affinity, AffinityCodec, AffinityRefusal, ChosenBy
from tlsnodes.store.cached import CachedStore

NOW_S = 1_000_000


def hello(*, session_id: bytes = b"", ticket: bytes | None = None, name: str = "a.example") -> ClientHello:
    return ClientHello(
        legacy_version=0x0303, session_id=session_id, server_name=name, alpn=(), ticket=ticket, versions=()
    )


def session(*, session_id: bytes = b"", ticket: bytes = b"", lifetime_s: int = 0) -> NewSession:
    return NewSession(session_id=session_id, ticket=ticket, lifetime_s=lifetime_s)


@pytest.fixture
async def learnt() -> AsyncIterator[LearntSessions]:
    store = CachedStore()
    codec = AffinityCodec(1, {1: 11, 2: 22}.get)
    yield LearntSessions(store, vserver_id=1, lifetime_s=7200, codecs={"servers": codec})
    await store.close()


def known(learnt: LearntSessions, wanted: ClientHello) -> Affinity | AffinityRefusal | None:
    key = learnt.maybe_key(wanted)
    record = learnt.store.maybe_copy(key[0]) if key else None
    return learnt.read(record, "servers", wanted, NOW_S) if record else None


async def test_a_ticket_is_known_by_whoever_shows_it_and_asks_for_the_same_name(learnt: LearntSessions) -> None:
    await learnt.learn(session(ticket=b"t1"), "servers", 2, hello(ticket=b""), NOW_S)
    assert known(learnt, hello(ticket=b"t1", session_id=b"made up")) == Affinity((2,), NOW_S + 7200)
    assert known(learnt, hello(ticket=b"t1", name="b.example")) is AffinityRefusal.FOREIGN_NAME
    assert known(learnt, hello(ticket=b"t2")) is None
    assert known(learnt, hello(session_id=b"t1")) is None, "a ticket is no session id"


async def test_a_session_id_is_known_where_there_is_no_ticket(learnt: LearntSessions) -> None:
    await learnt.learn(session(session_id=b"s1"), "servers", 1, hello(session_id=b"s0"), NOW_S)
    assert known(learnt, hello(session_id=b"s1", ticket=b"")) == Affinity((1,), NOW_S + 7200)
    assert learnt.maybe_key(hello()) is None


async def test_an_id_that_the_client_made_up_is_not_learnt(learnt: LearntSessions) -> None:
    await learnt.learn(session(session_id=b"s1"), "servers", 1, hello(session_id=b"s1", ticket=b"t1"), NOW_S)
    assert known(learnt, hello(session_id=b"s1")) is None


async def test_the_first_who_learns_is_right_and_lifetimes_are_the_shorter_ones(learnt: LearntSessions) -> None:
    for server_id in (1, 2):
        await learnt.learn(session(ticket=b"t1", lifetime_s=300), "servers", server_id, hello(ticket=b""), NOW_S)
    assert known(learnt, hello(ticket=b"t1")) == Affinity((1,), NOW_S + 300)
    await learnt.learn(session(ticket=b"t2", lifetime_s=100_000), "servers", 1, hello(ticket=b""), NOW_S)
    assert known(learnt, hello(ticket=b"t2")) == Affinity((1,), NOW_S + 7200)


async def test_what_binds_is_said(learnt: LearntSessions) -> None:
    by_ticket = learnt.maybe_key(hello(ticket=b"t", session_id=b"s"))
    by_id = learnt.maybe_key(hello(session_id=b"s"))
    assert by_ticket is not None
    assert by_id is not None
    assert (by_ticket[1], by_id[1]) == (ChosenBy.TICKET, ChosenBy.SESSION_ID)
