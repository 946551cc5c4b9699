"""Session ids of TLS 1.2 and what is shared under them, without TLS."""

from __future__ import annotations

import asyncio
import os

import pytest

from tlsnodes.persistence.affinity import Affinity, AffinityCodec, name_digest
from tlsnodes.persistence.session_ids import ID_SIZE, Issuer, SessionIds
from tlsnodes.statistics import SessionOutcome
from tlsnodes.store.cached import CachedStore
from tlsnodes.store.store import MAX_KEY_BYTES
from tlsnodes.store.tls_sessions import SharedSessions

SECRET = bytes(range(32))
US = Issuer(7, 1)
NAME = name_digest(b"www.example.test")


def session_ids(*, secret: bytes = SECRET, vserver_id: int = 1, vserver_name: str = "web") -> SessionIds:
    return SessionIds(secret=secret, vserver_id=vserver_id, vserver_name=vserver_name, random=os.urandom)


STRANGERS = [
    session_ids(secret=SECRET + b"x"),
    session_ids(vserver_id=2),
    session_ids(vserver_name="other"),
]


def test_an_id_tells_who_has_issued_it_to_those_with_the_secret() -> None:
    ids = session_ids()
    made = {ids.make(Issuer(4095, 65_535)) for _ in range(100)}
    assert len(made) == 100
    for session_id in made:
        assert len(session_id) == ID_SIZE
        assert session_ids().maybe_issuer(session_id) == Issuer(4095, 65_535)
        assert [stranger.maybe_issuer(session_id) for stranger in STRANGERS] == [None] * 3


def test_an_id_that_was_changed_is_nobody_s() -> None:
    ids = session_ids()
    session_id = ids.make(US)
    for at in range(ID_SIZE):
        changed = bytearray(session_id)
        changed[at] ^= 1
        assert ids.maybe_issuer(bytes(changed)) is None
    for wrong in (b"", session_id[:-1], session_id + b"\0", bytes(ID_SIZE)):
        assert ids.maybe_issuer(wrong) is None


def test_a_session_is_sealed_for_its_id() -> None:
    ids = session_ids()
    first, second = ids.make(US), ids.make(US)
    sealed = ids.seal(first, b"affinity", b"session")
    assert ids.maybe_unseal(first, sealed) == (b"affinity", b"session")
    assert ids.seal(first, b"affinity", b"session") != sealed
    assert b"session" not in sealed
    assert ids.maybe_unseal(second, sealed) is None
    assert [stranger.maybe_unseal(first, sealed) for stranger in STRANGERS] == [None] * 3
    for at in range(len(sealed)):
        assert ids.maybe_unseal(first, sealed[:at]) is None
        assert ids.maybe_unseal(first, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]) is None
    key = ids.key_of(first)
    assert len(key) <= MAX_KEY_BYTES
    assert first[:4] not in key
    assert key not in {ids.key_of(second), *(stranger.key_of(first) for stranger in STRANGERS)}


class Worker:
    """One worker's shared sessions; without a store it has only its own."""

    def __init__(self, *, reuse_limit: int | None = None) -> None:
        self.ids = session_ids()
        self.store = CachedStore()
        self.counts = [0] * len(SessionOutcome)
        self.codec = AffinityCodec(1, {1: 11, 2: 22}.get)
        self.sessions = SharedSessions(
            ids=self.ids,
            issuer=US,
            store=self.store,
            codec=self.codec,
            counts=self.counts,
            lifetime_s=60,
            reuse_limit=reuse_limit,
        )

    @property
    def counted(self) -> dict[str, int]:
        return {SessionOutcome(i).name: count for i, count in enumerate(self.counts) if count}


@pytest.fixture
async def worker() -> Worker:
    return Worker()


def never() -> None:
    raise AssertionError("nobody waits")


async def test_a_session_is_found_with_what_it_binds_its_client_to(worker: Worker) -> None:
    session_id = worker.sessions.make_id()
    worker.sessions.keep(session_id, (2, 1), NAME, b"session")
    assert not worker.sessions.must_wait(session_id, never)
    found = worker.sessions.maybe_session(session_id, NAME, lambda affinity: affinity.servers == (2, 1))
    assert found
    assert (found[0].servers, found[1]) == ((2, 1), b"session")
    worker.sessions.used(session_id)
    worker.sessions.used(bytes(32))  # it was resumed by ticket
    assert worker.sessions.maybe_session(session_id, NAME, None) == found
    assert worker.counted == {"ISSUED": 1, "RESUMED": 1}


async def test_what_may_not_be_resumed_is_not_and_counted_by_reason(worker: Worker) -> None:
    sessions, store, ids = worker.sessions, worker.store, worker.ids
    made = [sessions.make_id() for _ in range(5)]
    for session_id in made:
        sessions.keep(session_id, (), NAME, b"session")
    assert sessions.maybe_session(made[0], name_digest(b"other"), None) is None
    store.put(ids.key_of(made[1]), b"nonsense", 60)
    assert sessions.maybe_session(made[1], NAME, None) is None
    affinity = AffinityCodec(2, lambda _: None).encode(Affinity((), 2**31), NAME)
    store.put(ids.key_of(made[2]), ids.seal(made[2], affinity, b"session"), 60)
    assert sessions.maybe_session(made[2], NAME, None) is None
    affinity = worker.codec.encode(Affinity((), 1000), NAME)
    store.put(ids.key_of(made[3]), ids.seal(made[3], affinity, b"session"), 60)
    assert sessions.maybe_session(made[3], NAME, None) is None
    sessions.failed(made[4])
    assert sessions.maybe_session(made[4], NAME, None) is None
    assert sessions.maybe_session(sessions.make_id(), NAME, None) is None
    for forged in (bytes(32), made[0][:16], STRANGERS[0].make(US)):
        assert not sessions.must_wait(forged, never)
        assert sessions.maybe_session(forged, NAME, None) is None
    assert worker.counted == {
        "ISSUED": 5,
        "FOREIGN_NAME": 1,
        "UNREADABLE": 1,
        "FOREIGN_VSERVER": 1,
        "EXPIRED": 1,
        "FAILED": 1,
        "REVOKED": 1,
        "UNKNOWN": 1,
        "FORGED": 3,
    }


async def test_a_session_is_resumed_no_more_often_than_allowed() -> None:
    worker = Worker(reuse_limit=2)
    session_id = worker.sessions.make_id()
    worker.sessions.keep(session_id, (), NAME, b"session")
    found = []
    for _ in range(4):
        found.append(worker.sessions.maybe_session(session_id, NAME, None) is not None)
        if found[-1]:
            worker.sessions.used(session_id)
    assert found == [True, True, False, False]
    assert worker.counted == {"ISSUED": 1, "RESUMED": 2, "WORN": 2}


async def test_a_session_whose_servers_are_gone_is_made_anew(worker: Worker) -> None:
    session_id = worker.sessions.make_id()
    worker.sessions.keep(session_id, (3, 1), NAME, b"session")
    asked: list[tuple[int, ...]] = []

    def serves(affinity: Affinity) -> bool:
        asked.append(affinity.servers)
        return False

    assert worker.sessions.maybe_session(session_id, NAME, serves) is None
    assert asked == [(1,)], "there never was a server 3"
    assert worker.counted == {"ISSUED": 1, "SERVER_GONE": 1}


async def test_who_asks_for_what_is_not_here_waits_for_the_store_and_who_forges_does_not(worker: Worker) -> None:
    gone_on = asyncio.Event()
    assert worker.sessions.must_wait(worker.ids.make(Issuer(8, 0)), gone_on.set)
    async with asyncio.timeout(20):
        await gone_on.wait()
    assert not worker.sessions.must_wait(STRANGERS[0].make(US), never)


async def test_resumptions_are_counted_by_who_has_issued_the_session(worker: Worker) -> None:
    for issuer in (US, Issuer(7, 2), Issuer(8, 1)):
        worker.sessions.used(worker.ids.make(issuer))
    assert worker.counted == {"RESUMED": 1, "RESUMED_OF_WORKER": 1, "RESUMED_OF_NODE": 1}
