"""Which server an application's session is at: the store's records of session ids [P2].

    key: sid/ · vserver id, decimal · / · BLAKE2b of the id (256 bits)
    value: packed affinity, without an end · who made it (64 random bits)

A record ends by itself when its session was not used for as long as a session lives. Who made one tells its maker
from those who asked for the same at once, also when both would have chosen the same server.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from hashlib import blake2b
from typing import Any, NamedTuple

from tlsnodes.persistence.affinity import Affinity, AffinityCodec, AffinityRefusal, ChosenBy, name_digest
from tlsnodes.persistence.application_id import ApplicationId, IdRefusal
from tlsnodes.statistics import SessionIdOutcome
from tlsnodes.store.cached import CachedStore
from tlsnodes.store.store import Record

_MAKER_SIZE = 8
_ENDLESS = 2**32 - 1
_NO_NAME = name_digest(b"")
# One write of the store serves all requests of a tenth of a session's life.
_RENEW_BELOW = 0.9


class BoundSession(NamedTuple):
    """What a session is bound to.

    Attributes:
        affinity: one server; none: the server is gone, or the record can't be read.
        by: why that one: by the session id, or, if this request is its first, by what has chosen then.
        record: that says so.
    """

    affinity: Affinity
    by: ChosenBy
    record: Record


class ApplicationSessions:
    """The sessions of one vserver's application.

    Args:
        store: of the worker.
        ids: where session ids stand.
        vserver_id: whose.
        lifetime_s: how long a session that is not used is known.
        codec: of affinities to the vserver's servers.
        random: so many random bytes.
        counts: by `SessionIdOutcome`.
    """

    def __init__(
        self,
        store: CachedStore,
        ids: ApplicationId,
        *,
        vserver_id: int,
        lifetime_s: int,
        codec: AffinityCodec,
        random: Callable[[int], bytes],
        counts: list[int],
    ) -> None:
        self._store = store
        self._ids = ids
        self._prefix = b"sid/%d/" % vserver_id
        self._lifetime_s = lifetime_s
        self._codec = codec
        self._random = random
        self._counts = counts

    def maybe_key(self, target: bytes, lines: bytes) -> bytes | None:
        """What a request's session is known by; None: it shows no id that counts."""
        found = self._ids.in_request(target, lines)
        if isinstance(found, bytes):
            return self._key(found)
        outcome = SessionIdOutcome.NONE if found is None else _OUTCOMES[found]
        self._counts[outcome] += 1
        return None

    def maybe_known(self, key: bytes, now_s: float) -> BoundSession | None:
        """What this worker knows of a session without asking the store."""
        record = self._store.maybe_copy(key)
        return None if record is None else self._read(record, now_s)

    async def look_up(self, key: bytes, now_s: float) -> BoundSession | None:
        """What the store knows of a session."""
        record = await self._store.get(key)
        return None if record is None else self._read(record, now_s)

    def proposal(self, server_id: int, by: ChosenBy) -> BoundSession:
        """What a session will be bound to if nobody was faster."""
        return BoundSession(Affinity((server_id,), _ENDLESS), by, Record(value=b"", version=0, uses=0, left_s=0))

    async def claim(self, key: bytes, server_id: int, by: ChosenBy, now_s: float) -> BoundSession:
        """What a session is bound to from now on, for all nodes: this server, unless it is to another one already."""
        value = self._value(server_id)
        record = await self._store.get_or_create(key, value, self._lifetime_s)
        bound = self._read(record, now_s)
        if record.value != value:
            return bound
        self._counts[SessionIdOutcome.LEARNT] += 1
        return bound._replace(by=by)

    async def replace(self, key: bytes, before: BoundSession, server_id: int, now_s: float) -> BoundSession:
        """What a session is bound to whose server is gone: this one, unless another node was faster."""
        value = self._value(server_id)
        record = await self._store.replace(key, before.record, value, self._lifetime_s)
        if record.value == value:
            self._counts[SessionIdOutcome.REPLACED] += 1
        return self._read(record, now_s)

    def answered(
        self, key: bytes, server_id: int, by: ChosenBy, tried: tuple[int, ...], now_s: float
    ) -> Coroutine[Any, Any, BoundSession] | None:
        """A server answers a request of this session, after others that were tried in vain: the record lives on.

        Returns:
            What is yet to be done, if anything is.
        """
        known = self.maybe_known(key, now_s)
        if known is None:
            # The cookie has decided without a look at the record; whoever has no copy otherwise lost it just now.
            return self.claim(key, server_id, by, now_s) if by is ChosenBy.COOKIE else None
        if known.affinity.servers == (server_id,):
            if not known.record.version:  # the store was away: others don't know of it yet
                return self._share(key, known.record, now_s)
            self._renew(key, known.record)
        elif any(bound in tried for bound in known.affinity.servers):
            return self.replace(key, known, server_id, now_s)
        return None

    def note_response(self, lines: bytes, set_cookies: tuple[bytes, ...], server_id: int, now_s: float) -> None:
        """The session that a response gives an id to is at the server that it comes from."""
        found = self._ids.in_response(lines, set_cookies, now_s)
        if found is None:
            return
        key = self._key(found)
        known = self.maybe_known(key, now_s)
        if known is not None and known.affinity.servers == (server_id,):
            self._renew(key, known.record)
            return
        self._store.put(key, self._value(server_id), self._lifetime_s)
        self._counts[SessionIdOutcome.LEARNT_FROM_RESPONSE] += 1

    async def _share(self, key: bytes, record: Record, now_s: float) -> BoundSession:
        return self._read(await self._store.replace(key, record, record.value, self._lifetime_s), now_s)

    def _renew(self, key: bytes, record: Record) -> None:
        if record.left_s < self._lifetime_s * _RENEW_BELOW:
            self._store.touch(key, self._lifetime_s)

    def _read(self, record: Record, now_s: float) -> BoundSession:
        affinity = self._codec.decode(record.value[:-_MAKER_SIZE], _NO_NAME, now_s)
        if isinstance(affinity, AffinityRefusal):
            affinity = Affinity((), 0)
        return BoundSession(affinity, ChosenBy.SESSION_ID, record)

    def _value(self, server_id: int) -> bytes:
        return self._codec.encode(Affinity((server_id,), _ENDLESS), _NO_NAME) + self._random(_MAKER_SIZE)

    def _key(self, session_id: bytes) -> bytes:
        return self._prefix + blake2b(session_id, digest_size=32, person=b"session id").digest()


_OUTCOMES = {refusal: SessionIdOutcome[refusal.name] for refusal in IdRefusal}
