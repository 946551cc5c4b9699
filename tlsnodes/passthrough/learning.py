"""Whose a TLS session of up to 1.2 is: learnt from servers in passing, known again from clients [P5].

The store has the hash of the ticket, or of the session id, and under it a packed affinity: the server, for clients that
ask for the same name. Who comes first makes the record; it is never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

from tlsnodes.passthrough.client_hello import ClientHello
from tlsnodes.passthrough.server_flight import NewSession
from tlsnodes.persistence.affinity import Affinity, AffinityCodec, AffinityRefusal, ChosenBy, name_digest
from tlsnodes.store.cached import CachedStore
from tlsnodes.store.store import Record

_TICKET = b"ticket"
_SESSION_ID = b"id"


class LearntSessions:
    """The sessions of one vserver's servers.

    Args:
        store: of the worker.
        vserver_id: whose.
        lifetime_s: of what is learnt, unless the server gives its ticket less.
        codecs: pool's name → of affinities to its servers.
    """

    def __init__(
        self, store: CachedStore, *, vserver_id: int, lifetime_s: int, codecs: Mapping[str, AffinityCodec]
    ) -> None:
        self.store = store
        self._prefix = b"ticket/%d/" % vserver_id
        self._lifetime_s = lifetime_s
        self._codecs = codecs

    def maybe_key(self, hello: ClientHello) -> tuple[bytes, ChosenBy] | None:
        """What a session that the client wants to resume is known by; None: it wants to resume none."""
        if hello.ticket:
            return self._key(_TICKET, hello.ticket), ChosenBy.TICKET
        if hello.resumes_id:
            return self._key(_SESSION_ID, hello.resumes_id), ChosenBy.SESSION_ID
        return None

    def read(self, record: Record, pool: str, hello: ClientHello, now_s: float) -> Affinity | AffinityRefusal:
        """What a client is bound to; a revoked record is malformed."""
        return self._codecs[pool].decode(record.value, name_digest(hello.server_name.encode()), now_s)

    async def learn(self, session: NewSession, pool: str, server_id: int, hello: ClientHello, now_s: float) -> None:
        """Note that a session was agreed on with that server."""
        if session.ticket:
            key = self._key(_TICKET, session.ticket)
        elif session.session_id and (session.session_id != hello.session_id or not hello.ticket):
            key = self._key(_SESSION_ID, session.session_id)
        else:  # it was resumed by a ticket, and the id is the client's, sent back
            return
        lifetime_s = min(session.lifetime_s or self._lifetime_s, self._lifetime_s)
        affinity = Affinity((server_id,), int(now_s) + lifetime_s)
        value = self._codecs[pool].encode(affinity, name_digest(hello.server_name.encode()))
        await self.store.get_or_create(key, value, lifetime_s)

    def _key(self, kind: bytes, secret: bytes) -> bytes:
        return self._prefix + blake2b(secret, digest_size=32, person=kind).digest()
