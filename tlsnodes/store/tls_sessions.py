"""The TLS 1.2 sessions of one vserver that nodes share [P7] (shell): what `tlsnodes.tls.sessions` asks and tells."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tlsnodes.persistence.affinity import Affinity, AffinityCodec, AffinityRefusal, digest_of
from tlsnodes.persistence.session_ids import Issuer, SessionIds
from tlsnodes.statistics import SessionOutcome
from tlsnodes.store.cached import CachedStore

MAX_AGE_S = 86_400
"""No session is older than a day (RFC 5246, F.1.4)."""


class SharedSessions:
    """Called by OpenSSL's callbacks, so nothing here waits, except for whoever must wait for the store."""

    def __init__(
        self,
        *,
        ids: SessionIds,
        issuer: Issuer,
        store: CachedStore,
        codec: AffinityCodec,
        counts: list[int],
        lifetime_s: int,
        reuse_limit: int | None,
    ) -> None:
        """
        Args:
            ids: of the vserver.
            issuer: this worker.
            store: the worker's.
            codec: the packed form of what a session binds its client to, for which vserver and server name it is.
            counts: where it is counted, by `SessionOutcome`.
            lifetime_s: how long a session is kept after it was used last.
            reuse_limit: how often it may be resumed; None: until it is a day old.
        """
        self._ids = ids
        self._issuer = issuer
        self._store = store
        self._codec = codec
        self._counts = counts
        self._lifetime_s = lifetime_s
        self._reuse_limit = reuse_limit
        self._waiting: set[asyncio.Task[None]] = set()

    def make_id(self) -> bytes:
        """Of a new session."""
        return self._ids.make(self._issuer)

    def must_wait(self, session_id: bytes, go_on: Callable[[], None]) -> bool:
        """Whether a client that asks for this session must wait until it is looked up; then `go_on` is called."""
        if self._ids.maybe_issuer(session_id) is None:
            return False
        key = self._ids.key_of(session_id)
        if self._store.maybe_copy(key) is not None:
            return False
        task = asyncio.get_running_loop().create_task(self._look_up(key, go_on))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        return True

    async def _look_up(self, key: bytes, go_on: Callable[[], None]) -> None:
        try:
            await self._store.get(key)
        finally:
            go_on()

    def maybe_session(
        self, session_id: bytes, digest: bytes, serves: Callable[[Affinity], bool] | None
    ) -> tuple[Affinity, bytes] | None:
        """What is known of a session that may be resumed.

        Args:
            session_id: what the client asks for.
            digest: of the server name that it asks for.
            serves: whether one of the servers that it is bound to may be used; None: sessions do not bind.

        Returns:
            What it binds its client to, and the session (DER); None: it is to be made anew.
        """
        found = self._read(session_id, digest, serves)
        if isinstance(found, SessionOutcome):
            self._counts[found] += 1
            return None
        return found

    def _read(
        self, session_id: bytes, digest: bytes | None, serves: Callable[[Affinity], bool] | None
    ) -> tuple[Affinity, bytes] | SessionOutcome:
        if self._ids.maybe_issuer(session_id) is None:
            return SessionOutcome.FORGED
        record = self._store.maybe_copy(self._ids.key_of(session_id))
        if record is None:
            return SessionOutcome.UNKNOWN
        if not record.value:
            return SessionOutcome.REVOKED
        if self._reuse_limit is not None and record.uses >= self._reuse_limit:
            return SessionOutcome.WORN
        plain = self._ids.maybe_unseal(session_id, record.value)
        if plain is None:
            return SessionOutcome.UNREADABLE
        affinity = self._codec.decode(plain[0], digest_of(plain[0]) if digest is None else digest, time.time())
        if isinstance(affinity, AffinityRefusal):
            return SessionOutcome[affinity.name]
        if serves is not None and not serves(affinity):
            return SessionOutcome.SERVER_GONE
        return affinity, plain[1]

    async def examine(self, session_id: bytes, digest: bytes | None) -> Affinity | SessionOutcome:
        """What a session binds its client to, or why it counts as absent; nothing is counted.

        Args:
            session_id: what the client would ask for.
            digest: of the server name that it would ask for; None: of the one that the session is for.
        """
        if self._ids.maybe_issuer(session_id) is not None:
            await self._store.get(self._ids.key_of(session_id))
        found = self._read(session_id, digest, None)
        return found if isinstance(found, SessionOutcome) else found[0]

    def keep(self, session_id: bytes, servers: tuple[int, ...], digest: bytes, session: bytes) -> None:
        """Share a new session.

        Args:
            session_id: its id.
            servers: what it binds its client to, if it does.
            digest: of the server name that the client has asked for.
            session: DER.
        """
        affinity = self._codec.encode(Affinity(servers, int(time.time()) + MAX_AGE_S), digest)
        sealed = self._ids.seal(session_id, affinity, session)
        self._store.put(self._ids.key_of(session_id), sealed, self._lifetime_s)
        self._counts[SessionOutcome.ISSUED] += 1

    def used(self, session_id: bytes) -> None:
        """A session was resumed: it lives on, wherever it was made."""
        issuer = self._ids.maybe_issuer(session_id)
        if issuer is None:  # it was resumed by ticket
            return
        self._store.touch(self._ids.key_of(session_id), self._lifetime_s)
        if issuer == self._issuer:
            self._counts[SessionOutcome.RESUMED] += 1
        elif issuer.node == self._issuer.node:
            self._counts[SessionOutcome.RESUMED_OF_WORKER] += 1
        else:
            self._counts[SessionOutcome.RESUMED_OF_NODE] += 1

    def failed(self, session_id: bytes) -> None:
        """A fatal alert has ended a session that was shared: nobody may use the session any more (RFC 5246, 7.2.2)."""
        self._counts[SessionOutcome.FAILED] += 1
        self._store.revoke(self._ids.key_of(session_id), MAX_AGE_S)
